"""What one machine is to run beside the server, and how it is reached."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, PositiveFloat, field_validator, model_validator
from pydantic import Field as Setting

from deploy.values import ImageRef, ImageValues, Secret
from switchyard.formats import Duration
from switchyard.plan_problems import wrong
from switchyard.section import Section

__all__ = ["ComposeValues", "Images", "Limits", "Part", "Ports", "bytes_of"]

Part = Literal["monitoring", "postgresql", "redis", "mlflow", "drift"]
"""What may run beside the server; `monitoring` is Prometheus, Alertmanager and Grafana."""

_MEMORY: Final = re.compile(r"(\d+)([mg])")


def bytes_of(memory: str) -> int:
    """Returns an amount of memory, such as `512m` or `4g`, in bytes."""
    found = _MEMORY.fullmatch(memory)
    return 0 if found is None else int(found[1]) << (20 if found[2] == "m" else 30)


def _memory(text: str) -> str:
    if not bytes_of(text):
        raise wrong(f"is {text!r}, but must be a number of MiB or GiB, like '512m' or '4g'")
    return text


def _port(number: int) -> int:
    if not 0 < number < 65536:
        raise wrong(f"is {number}, but a port lies between 1 and 65535")
    return number


Port = Annotated[int, AfterValidator(_port)]


class Limits(Section):
    """What the server may use.

    Attributes:
        cpus: Cores.
        memory: Memory, like `4g`.
    """

    cpus: PositiveFloat = 4
    memory: Annotated[str, AfterValidator(_memory)] = "6g"


class Ports(Section):
    """Ports of what runs beside the server, on this machine's loopback address alone.

    Attributes:
        prometheus: Of Prometheus.
        alertmanager: Of Alertmanager.
        grafana: Of Grafana.
        mlflow: Of MLflow.
    """

    prometheus: Port = 9090
    alertmanager: Port = 9093
    grafana: Port = 3001
    mlflow: Port = 5000


class Images(Section):
    """Images of what runs beside the server.

    Attributes:
        prometheus: Of Prometheus.
        alertmanager: Of Alertmanager.
        grafana: Of Grafana.
        postgresql: Of PostgreSQL, Alpine's.
        redis: Of Redis, Alpine's.
        mlflow: Of MLflow.
    """

    prometheus: ImageRef = "docker.io/prom/prometheus:v3.5.0"
    alertmanager: ImageRef = "docker.io/prom/alertmanager:v0.28.1"
    grafana: ImageRef = "docker.io/grafana/grafana:12.1.1"
    postgresql: ImageRef = "docker.io/library/postgres:17.6-alpine"
    redis: ImageRef = "docker.io/library/redis:7.4.5-alpine"
    mlflow: ImageRef = "ghcr.io/mlflow/mlflow:v3.17.2"


class ComposeValues(ImageValues):
    """What `switchyard deploy compose` asks for.

    Attributes:
        bind: Address of this machine that the server listens on.
        port: Its port.
        parts: What runs beside it.
        limits: What the server may use.
        admin_token: Variable with the bearer token of the admin routes; left out, the server makes
            one in its volume.
        database: Variable with the URL of a PostgreSQL database elsewhere.
        postgresql_password: Variable with the password of the PostgreSQL among the parts.
        grafana_password: Variable with the password of Grafana's user `admin`.
        log_store: URL of the folder of the prediction log; left out, it lies in the volume.
        alert_webhook: Variable with the URL that alerts are posted to; left out, they are only
            shown.
        drift_every: Pause between two drift reports of the part `drift`.
        ports: Ports of the parts.
        images: Images of the parts.
    """

    bind: str = "127.0.0.1"
    port: Port = 3000
    parts: list[Part] = Setting(default_factory=lambda: list[Part](("monitoring",)))
    limits: Limits = Setting(default_factory=Limits)
    admin_token: Secret | None = None
    database: Secret | None = None
    postgresql_password: Secret = "POSTGRES_PASSWORD"
    grafana_password: Secret = "GRAFANA_PASSWORD"
    log_store: str | None = None
    alert_webhook: Secret | None = None
    drift_every: Duration = 86_400.0
    ports: Ports = Setting(default_factory=Ports)
    images: Images = Setting(default_factory=Images)

    @property
    def is_public(self) -> bool:
        """Whether other machines reach the server."""
        return not ip_address(self.bind).is_loopback

    @field_validator("bind")
    @classmethod
    def _an_address(cls, bind: str) -> str:
        try:
            ip_address(bind)
        except ValueError:
            raise wrong(f"is {bind!r}, but must be an address like '127.0.0.1'") from None
        return bind

    @model_validator(mode="after")
    def _fit(self) -> ComposeValues:
        if self.database is not None and "postgresql" in self.parts:
            raise wrong("names a database, but 'parts' has one too; take one of them", "database")
        used = [self.port]
        for name, port in self.ports.model_dump().items():
            if ("mlflow" if name == "mlflow" else "monitoring") not in self.parts:
                continue
            if port in used:
                raise wrong(f"is {port}, which is taken already", "ports", name)
            used.append(port)
        return self
