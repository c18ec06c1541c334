"""The Compose file: the server, and the parts that run beside it.

Secrets stand in it as `${NAME:?...}`, which Compose itself replaces; that form is not the one of
`deploy.documents`, so that the file on the disk holds none of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from deploy.compose.values import ComposeValues
from deploy.documents import Document
from deploy.errors import ValuesError
from switchyard.plan import Plan

__all__ = ["SENT", "WEBHOOK", "compose_file"]

SENT: Final = "switchyard.sent"
"""Label with a digest of what was sent of a service, its files included."""

HARDENED: Final = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "restart": "unless-stopped",
    "logging": {"options": {"max-size": "10m"}},
}

ASK: Final = "__import__('urllib.request').request.urlopen('http://127.0.0.1:{}',timeout=4).close()"
"""Health check of images with Python. It has no space: where Docker's Compose speaks to Podman, a
word with a space becomes several."""

COMMAND: Final = "from cli.main import main; main()"
"""The command `switchyard` in the image, which holds the project and does not install it."""

WEBHOOK: Final = "/tmp/webhook"
"""File in Alertmanager's container with the URL that it posts to."""

POSTS: Final = f'umask 077; printf %s "$$URL" > {WEBHOOK}; exec /bin/alertmanager "$$@"'
"""Starts Alertmanager, which reads secrets from files; this one lies in memory. A secret of
Compose's would lie on the disk, and open to all: the user in the container does not own it."""

CODE: Final = "/home/bentoml/bento/src"
HOME: Final = "/home/bentoml/switchyard"
DATABASE: Final = "postgresql://switchyard@postgresql:5432/switchyard"

Service = dict[str, Any]


def compose_file(values: ComposeValues, plan: Plan, files: Sequence[Document]) -> dict[str, Any]:
    """Returns the Compose file.

    Args:
        values: What the machine is to run.
        plan: Plan of the Bento.
        files: What lies beside it, which services mount by its folder.

    Raises:
        ValuesError: Values and plan do not go together.
    """
    _check(values, plan)
    services: dict[str, Service] = {"server": _server(values)}
    if "postgresql" in values.parts:
        services["postgresql"] = _postgresql(values)
    if "drift" in values.parts:
        services["drift"] = _drift(values)
    if "monitoring" in values.parts:
        services |= _monitoring(values)
    if "redis" in values.parts:
        services["redis"] = _redis(values)
    if "mlflow" in values.parts:
        services["mlflow"] = _mlflow(values)
    for service in services.values():
        service["labels"] = {SENT: _digest(service, files)}
    named = {mount.partition(":")[0] for each in services.values() for mount in each["volumes"]}
    return {
        "name": values.name,
        "services": services,
        "networks": {"front": {}, "back": {"internal": True}},
        "volumes": {name: {} for name in sorted(named) if not name.startswith(".")},
    }


def _check(values: ComposeValues, plan: Plan) -> None:
    if values.is_public and plan.auth != "required":
        raise ValuesError(
            f"bind is {values.bind!r}, which other machines reach, but the Bento's plan says "
            "'auth: open': anyone could send feedback. Build it with 'auth: required', or bind "
            "127.0.0.1 and put a proxy in front."
        )
    if plan.auth == "required" and values.admin_token is None:
        raise ValuesError(
            "The Bento's plan says 'auth: required', so the smoke test needs a key; let "
            "'admin_token' name a variable that holds the admin token."
        )


def _server(values: ComposeValues) -> Service:
    return {
        "image": values.image,
        **HARDENED,
        "stop_grace_period": "20s",
        "environment": _environment(values),
        "ports": [_published(values.bind, values.port, 3000)],
        "volumes": [f"state:{HOME}"],
        "tmpfs": ["/tmp"],
        "networks": ["front", "back"],
        **_after_database(values),
        "healthcheck": {
            "test": ["CMD", "python", "-I", "-S", "-c", ASK.format("3000/readyz")],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "180s",
        },
        **_limits(values.limits.cpus, values.limits.memory),
    }


def _drift(values: ComposeValues) -> Service:
    """Returns the job that makes drift reports again and again from the log of the server."""
    watch = ["drift", "watch", "--every", f"{values.drift_every:.0f}"]
    return {
        "image": values.image,
        **HARDENED,
        "working_dir": CODE,
        "command": ["python", "-c", COMMAND, *watch],
        "environment": _environment(values),
        "volumes": [f"state:{HOME}"],
        "tmpfs": ["/tmp"],
        "networks": ["front", "back"],
        "depends_on": {"server": {"condition": "service_healthy"}},
        "healthcheck": {"disable": True},
        **_limits(1.0, "2g"),
    }


def _postgresql(values: ComposeValues) -> Service:
    return {
        "image": values.images.postgresql,
        **HARDENED,
        "user": "70:70",
        "environment": {
            "POSTGRES_USER": "switchyard",
            "POSTGRES_PASSWORD": _variable(values.postgresql_password),
        },
        # Its socket's folder is a volume too: with every engine it has the rights of the image's.
        "volumes": ["postgresql:/var/lib/postgresql/data", "socket:/run/postgresql"],
        "tmpfs": ["/tmp"],
        "shm_size": "128m",
        "networks": ["back"],
        "healthcheck": _healthcheck(["CMD", "pg_isready", "-q", "-U", "switchyard"]),
        **_limits(1.0, "1g"),
    }


def _monitoring(values: ComposeValues) -> dict[str, Service]:
    """Returns Prometheus, Alertmanager and Grafana; people reach them on this machine alone."""

    def shown(image: str, port: int, inside: int, health: str) -> Service:
        test = ["CMD", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{inside}{health}"]
        return {
            "image": image,
            **HARDENED,
            "ports": [_published("127.0.0.1", port, inside)],
            "networks": ["front", "back"],
            "healthcheck": _healthcheck(test),
        }

    images, ports = values.images, values.ports
    return {
        "prometheus": {
            **shown(images.prometheus, ports.prometheus, 9090, "/-/ready"),
            "command": [
                "--config.file=/etc/prometheus/prometheus.yml",
                "--storage.tsdb.path=/prometheus",
                "--storage.tsdb.retention.time=30d",
            ],
            "volumes": ["./prometheus:/etc/prometheus:ro", "prometheus:/prometheus"],
            **_limits(1.0, "1g"),
        },
        "alertmanager": {
            **shown(images.alertmanager, ports.alertmanager, 9093, "/-/ready"),
            "command": [
                "--config.file=/etc/alertmanager/alertmanager.yml",
                "--storage.path=/alertmanager",
                "--cluster.listen-address=",
            ],
            **_posting(values.alert_webhook),
            "volumes": ["./alertmanager:/etc/alertmanager:ro", "alertmanager:/alertmanager"],
            **_limits(0.5, "256m"),
        },
        "grafana": {
            **shown(images.grafana, ports.grafana, 3000, "/api/health"),
            "environment": {
                "GF_SECURITY_ADMIN_PASSWORD": _variable(values.grafana_password),
                "GF_ANALYTICS_REPORTING_ENABLED": "false",
                "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
                "GF_USERS_ALLOW_SIGN_UP": "false",
            },
            "volumes": [
                "./grafana/datasources:/etc/grafana/provisioning/datasources:ro",
                "./grafana/providers:/etc/grafana/provisioning/dashboards:ro",
                "./grafana/dashboards:/var/lib/switchyard/dashboards:ro",
                "grafana:/var/lib/grafana",
            ],
            "tmpfs": ["/tmp"],
            **_limits(1.0, "512m"),
        },
    }


def _posting(webhook: str | None) -> dict[str, Any]:
    if webhook is None:
        return {}
    return {
        "entrypoint": ["sh", "-c", POSTS, "alertmanager"],
        "environment": {"URL": _variable(webhook)},
        "tmpfs": ["/tmp"],
    }


def _redis(values: ComposeValues) -> Service:
    """Returns a cache: it holds nothing that must outlive it, and forgets what is used least."""
    return {
        "image": values.images.redis,
        **HARDENED,
        "user": "999:1000",
        "command": [
            *("redis-server", "--save", "", "--appendonly", "no"),
            *("--maxmemory", "192mb", "--maxmemory-policy", "allkeys-lru"),
        ],
        "volumes": [],
        "tmpfs": ["/data"],
        "networks": ["back"],
        "healthcheck": _healthcheck(["CMD", "redis-cli", "ping"]),
        **_limits(0.5, "256m"),
    }


def _mlflow(values: ComposeValues) -> Service:
    """Returns MLflow; a new volume has the rights of what it covers, and all may write to that."""
    port = values.ports.mlflow
    check = ASK.format("5000/health")
    return {
        "image": values.images.mlflow,
        **HARDENED,
        "user": "1034:1034",
        "command": [
            *("mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1"),
            *("--backend-store-uri", "sqlite:////var/tmp/mlflow.db"),
            *("--artifacts-destination", "/var/tmp/artifacts"),
            f"--allowed-hosts=localhost:{port},127.0.0.1:{port},mlflow:5000",
        ],
        "environment": {
            "HOME": "/tmp",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # judges of language models
        },
        "ports": [_published("127.0.0.1", port, 5000)],
        "volumes": ["mlflow:/var/tmp"],
        "tmpfs": ["/tmp"],
        "networks": ["front", "back"],
        "healthcheck": _healthcheck(["CMD", "python", "-c", check], start="60s"),
        **_limits(1.0, "1g"),
    }


def _environment(values: ComposeValues) -> dict[str, str]:
    """Returns what tells our own containers where they are."""
    found = {"SWITCHYARD_HOME": HOME}
    if "postgresql" in values.parts:
        # libpq reads the password by itself, so it need not be written as URLs want it.
        found["SWITCHYARD_DATABASE_URL"] = DATABASE
        found["PGPASSWORD"] = _variable(values.postgresql_password)
    if values.database is not None:
        found["SWITCHYARD_DATABASE_URL"] = _variable(values.database)
    if values.admin_token is not None:
        found["SWITCHYARD_ADMIN_TOKEN"] = _variable(values.admin_token)
    if values.log_store is not None:
        found["SWITCHYARD_LOG_STORE"] = values.log_store.replace("$", "$$")
    return found


def _after_database(values: ComposeValues) -> dict[str, Any]:
    if "postgresql" not in values.parts:
        return {}
    return {"depends_on": {"postgresql": {"condition": "service_healthy"}}}


def _variable(name: str) -> str:
    return f"${{{name}:?is not set}}"


def _published(bind: str, port: int, inside: int) -> str:
    host = f"[{bind}]" if ":" in bind else bind
    return f"{host}:{port}:{inside}"


def _healthcheck(test: list[str], start: str = "30s") -> dict[str, Any]:
    return {"test": test, "interval": "10s", "timeout": "5s", "retries": 3, "start_period": start}


def _limits(cpus: float, memory: str) -> dict[str, Any]:
    limits = {"cpus": f"{cpus:g}", "memory": memory, "pids": 1024}
    return {"deploy": {"resources": {"limits": limits}}}


def _digest(service: Service, files: Sequence[Document]) -> str:
    """Returns a digest of a service and of the files in the folders that it mounts."""
    folders = [mount[2:].partition(":")[0] for mount in service["volumes"] if mount[:2] == "./"]
    mounted = [
        each.as_dict()
        for each in files
        if any(each.name.startswith(f"{folder}/") for folder in folders)
    ]
    text = json.dumps([service, mounted], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
