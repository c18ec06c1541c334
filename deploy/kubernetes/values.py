"""What a deployment to Kubernetes may be told."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic import Field as Setting

from deploy.values import ImageRef, ImageValues, Secret
from switchyard.formats import Duration
from switchyard.plan import Framework
from switchyard.plan_problems import wrong
from switchyard.section import Section

__all__ = [
    "Address",
    "Backup",
    "Claim",
    "Gateway",
    "HostPart",
    "Ingress",
    "Jobs",
    "Keda",
    "KubernetesValues",
    "Monitoring",
    "Part",
    "Scaling",
    "Secrets",
]

_QUANTITY: Final = re.compile(r"[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti)")
_CRON: Final = re.compile(r"(\S+ ){4}\S+")
_OBJECT: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_CHARACTERS: Final = 63
OWN_VARIABLES: Final = (
    "SWITCHYARD_ADMIN_TOKEN",
    "SWITCHYARD_DATABASE_URL",
    "SWITCHYARD_HOP_TOKEN",
    "SWITCHYARD_HOME",
    "SWITCHYARD_LOG_SALT",
    "SWITCHYARD_LOG_STORE",
    "SWITCHYARD_MODE",
    "SWITCHYARD_PLAN",
)
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise wrong(f"is {text!r}, but must look like '512Mi' or '2Gi'")
    return text


def _cron(text: str) -> str:
    if not _CRON.fullmatch(text):
        raise wrong(f"is {text!r}, but must have five fields, like '17 3 * * *'")
    return text


def _object(name: str) -> str:
    if not _OBJECT.fullmatch(name):
        raise wrong(f"is {name!r}, which is no name that Kubernetes takes")
    return name


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise wrong(f"is {name!r}; take lower-case letters, digits and '-' between them")
    if len(name) > LABEL_CHARACTERS:
        raise wrong(
            f"is {name!r}, which has {len(name)} characters; Kubernetes takes {LABEL_CHARACTERS}"
        )
    return name


def _own_name(name: str) -> str:
    if not _label(name)[0].isalpha():
        raise wrong(f"is {name!r}; begin with a letter, as the names of Services do")
    return name


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise wrong(f"is {text!r}, but must look like 'https://models.example.com'")
    return text.rstrip("/")


Quantity = Annotated[str, AfterValidator(_quantity)]
Cron = Annotated[str, AfterValidator(_cron)]
ObjectName = Annotated[str, AfterValidator(_object)]
Namespace = Annotated[str, AfterValidator(_label)]
OwnName = Annotated[str, AfterValidator(_own_name)]
Address = Annotated[str, AfterValidator(_address)]
Percent = Annotated[int, Setting(ge=1, le=100)]


class Part(Section):
    """How the pods of one service are made.

    Attributes:
        replicas: Pods; with `maximum`, the fewest.
        maximum: Most pods; left out, their number stays.
        cpu: Cores that a pod asks for, and may use twice of; left out, what the Bento declares.
        memory: Memory of a pod.
    """

    replicas: PositiveInt = 1
    maximum: PositiveInt | None = None
    cpu: PositiveFloat | None = None
    memory: Quantity | None = None

    @model_validator(mode="after")
    def _room(self) -> Part:
        if self.maximum is not None and self.maximum <= self.replicas:
            raise wrong(f"is {self.maximum}, but must be more than 'replicas'", "maximum")
        return self


class HostPart(Part):
    """How the pods of a host are made.

    Attributes:
        image: Its image where it is another one, such as that with CUDA.
        gpu: GPUs of a pod; left out, what the Bento declares.
        gpu_type: Their kind, which the nodes' label says; left out, what the Bento declares.
    """

    image: ImageRef | None = None
    gpu: PositiveInt | None = None
    gpu_type: str | None = None


class Scaling(Section):
    """What the HorizontalPodAutoscalers go by; each that is null does not count.

    Attributes:
        cpu: Share of the CPU asked for, in percent.
        memory: Share of the memory asked for, in percent.
        active_requests: Requests in a router pod (`model_active_requests`). Needs the adapter.
        queue_ms: Mean wait for a batch (`model_queue_seconds`), for hosts. Needs the adapter.
    """

    cpu: Percent | None = 70
    memory: Percent | None = 85
    active_requests: PositiveInt | None = None
    queue_ms: PositiveFloat | None = None


class Keda(Section):
    """Scaling by KEDA in place of HorizontalPodAutoscalers, also to no pods at all.

    Attributes:
        prometheus: Address of Prometheus inside the cluster.
        query: Requests a second as something sees them that runs while no router does, such as
            the ingress controller.
        threshold: Requests a second for one pod.
        minimum: Fewest pods.
        idle: Seconds without requests until there are none.
    """

    prometheus: Address
    query: str
    threshold: PositiveFloat = 50.0
    minimum: NonNegativeInt = 0
    idle: Duration = 600.0


class Claim(Section):
    """A PersistentVolumeClaim that many pods write to (ReadWriteMany).

    Attributes:
        size: Its size.
        storage_class: Class of the storage; left out, the cluster's default.
    """

    size: Quantity = "20Gi"
    storage_class: ObjectName | None = None


class Secrets(Section):
    """Where the secrets come from: variables of whoever deploys, or a Secret that is there.

    Attributes:
        existing: Name of a Secret whose keys are the names of the variables in the container.
        admin_token: Variable with the token of the admin routes.
        hop_token: Variable with the token that routers and hosts share.
        log_salt: Variable with what goes into the hashes of logged keys.
        database: Variable with the URL of the PostgreSQL database.
        more: Variables of the container that hold secrets of their own, such as a log store's.
    """

    existing: ObjectName | None = None
    admin_token: Secret = "SWITCHYARD_ADMIN_TOKEN"
    hop_token: Secret = "SWITCHYARD_HOP_TOKEN"
    log_salt: Secret = "SWITCHYARD_LOG_SALT"
    database: Secret = "SWITCHYARD_DATABASE_URL"
    more: dict[str, Secret] = Setting(default_factory=dict)

    @model_validator(mode="after")
    def _variables(self) -> Secrets:
        for name in self.more:
            if not _VARIABLE.fullmatch(name):
                raise wrong("is no name of an environment variable", "more", name)
        return self


class Ingress(Section):
    """An Ingress.

    Attributes:
        host: Name that callers use; left out, every name.
        class_name: Class of the Ingress; left out, the cluster's default.
        tls: Name of the Secret with the certificate.
        annotations: Of the Ingress controller.
    """

    host: ObjectName | None = None
    class_name: ObjectName | None = None
    tls: ObjectName | None = None
    annotations: dict[str, str] = Setting(default_factory=dict)


class Gateway(Section):
    """An HTTPRoute of the Gateway API.

    Attributes:
        name: Of the Gateway.
        namespace: Its namespace; left out, that of the deployment.
        host: Name that callers use; left out, those of the Gateway.
        tls: Whether the Gateway speaks HTTPS.
    """

    name: ObjectName
    namespace: Namespace | None = None
    host: ObjectName | None = None
    tls: bool = True


class Monitoring(Section):
    """Objects of the Prometheus operator.

    Attributes:
        namespace: Where Prometheus runs; its pods may ask for metrics.
        labels: What its selectors ask of ServiceMonitors and PrometheusRules.
    """

    namespace: Namespace = "monitoring"
    labels: dict[str, str] = Setting(default_factory=dict)


class Backup(Section):
    """Dumps of the state database.

    Attributes:
        schedule: When.
        image: Image with `pg_dump` of the database's version, or a later one.
        claim: Where dumps are kept.
        keep_days: For how long.
    """

    schedule: Cron = "37 2 * * *"
    image: ImageRef = "docker.io/library/postgres:17.6-alpine"
    claim: Claim = Setting(default_factory=Claim)
    keep_days: PositiveInt = 14


class Jobs(Section):
    """What runs on a schedule.

    Attributes:
        drift: When drift reports are made besides those of the controller.
        retention: When old files of the logs are deleted besides by the controller.
        backup: Dumps of the state database.
    """

    drift: Cron | None = None
    retention: Cron | None = None
    backup: Backup | None = None


class KubernetesValues(ImageValues):
    """What a deployment to Kubernetes may be told.

    Attributes:
        name: Of the deployment; objects are named after it, so how long it may be depends on them.
        context: Of the kubeconfig; left out, the one in use.
        namespace: Of everything; it must be there.
        address: Where callers reach it; left out, what Ingress or Gateway say.
        api_key: Variable with the API key of the smoke test where the plan requires one.
        pull_secrets: Names of Secrets by which images are pulled.
        mode: `live` with the database that the secrets name, or `static`: the plan is frozen.
        log_store: URL of the folder that the logs of all pods are moved to.
        logs: A volume for that folder instead.
        models: A volume for the model store, so that versions added later reach all pods.
        environment: More variables of the containers.
        secrets: Where secrets come from.
        router: Pods of the router.
        hosts: Pods of the hosts, by framework.
        gpu_label: Label of nodes that names their kind of GPU.
        scaling: What pods are scaled by.
        keda: KEDA instead.
        ingress: An Ingress.
        gateway: An HTTPRoute.
        admin: Whether Ingress and HTTPRoute lead to the admin routes, which need their token.
        callers: Namespaces whose pods may reach the router; left out, all.
        monitoring: Objects of the Prometheus operator.
        jobs: What runs on a schedule.
    """

    name: OwnName = "switchyard"
    context: str | None = None
    namespace: Namespace = "switchyard"
    address: Address | None = None
    api_key: Secret | None = None
    pull_secrets: list[ObjectName] = Setting(default_factory=list)
    mode: Literal["live", "static"] = "live"
    log_store: str | None = None
    logs: Claim | None = None
    models: Claim | None = None
    environment: dict[str, str] = Setting(default_factory=dict)
    secrets: Secrets = Setting(default_factory=Secrets)
    router: Part = Setting(default_factory=Part)
    hosts: dict[Framework, HostPart] = Setting(default_factory=dict)
    gpu_label: str = "nvidia.com/gpu.product"
    scaling: Scaling = Setting(default_factory=Scaling)
    keda: Keda | None = None
    ingress: Ingress | None = None
    gateway: Gateway | None = None
    admin: bool = False
    callers: list[Namespace] = Setting(default_factory=list)
    monitoring: Monitoring | None = None
    jobs: Jobs = Setting(default_factory=Jobs)

    @property
    def asks_with(self) -> frozenset[str]:
        """The API key."""
        return frozenset() if self.api_key is None else frozenset({self.api_key})

    def host(self, framework: Framework) -> HostPart:
        """Returns how the pods of a framework's host are made."""
        return self.hosts.get(framework) or HostPart()

    @model_validator(mode="after")
    def _something_to_share(self) -> KubernetesValues:
        if self.log_store is not None and self.logs is not None:
            raise wrong("names a volume, but 'log_store' says another place; take one", "logs")
        if self.mode == "live" and self.log_store is None and self.logs is None:
            raise wrong(
                "is 'live', which needs 'log_store' or 'logs': pods that share no log know "
                "too little of the traffic to move it",
                "mode",
            )
        if self.jobs.backup is not None and self.mode == "static":
            raise wrong("dumps the database, which 'mode: static' has none of", "jobs", "backup")
        for name, value in self.environment.items():
            if name in OWN_VARIABLES or name in self.secrets.more:
                raise wrong("is set by the deployment itself", "environment", name)
            if "${" in value:
                raise wrong("may hold no secret; write it into 'secrets.more'", "environment", name)
        return self
