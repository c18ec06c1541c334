"""The CronJobs: drift reports, retention of the logs, dumps of the state database."""

from __future__ import annotations

from typing import Final

from deploy.kubernetes.config import digest, environment, secret_names
from deploy.kubernetes.objects import CODE, Draft, Object
from deploy.kubernetes.pods import HARDENED, Needs, container, pod, pod_spec
from deploy.kubernetes.values import Backup

__all__ = ["cron_jobs"]

PATIENCE_SECONDS: Final = 3600
"""How long one run may take, and how late it may begin."""

DUMP: Final = """\
umask 077
file="/backup/{name}-$(date -u +%Y-%m-%dT%H%M%SZ).dump"
url="$(printf %s "$SWITCHYARD_DATABASE_URL" | sed 's/^postgresql+[a-z0-9]*:/postgresql:/')"
pg_dump --format=custom --no-password --file="$file.part" "$url"
mv "$file.part" "$file"
find /backup -name '{name}-*.dump' -mtime +{days} -delete
"""
"""A dump has its name only when it is whole; old ones go only after a new one has come."""


def cron_jobs(draft: Draft) -> list[Object]:
    """Returns the CronJobs that the values ask for."""
    said = draft.values.jobs
    found = []
    if said.drift is not None:
        command = ["switchyard", "drift", "run"]
        found.append(_own(draft, "drift", said.drift, command, Needs(1, "2Gi")))
    if said.retention is not None:
        command = ["python", "-m", "deploy.kubernetes.retention"]
        found.append(_own(draft, "retention", said.retention, command, Needs(0.25, "512Mi")))
    if said.backup is not None:
        found.append(_backup(draft, said.backup))
    return found


def _own(draft: Draft, name: str, schedule: str, command: list[str], needs: Needs) -> Object:
    """Returns a job that runs a command of ours in the Bento's image."""
    variables = environment(draft, secret_names(draft))
    made = container(draft, name, draft.values.image, needs, variables)
    spec = pod_spec(draft, {**made, "args": command, "workingDir": CODE})
    return _cron(draft, name, schedule, spec)


def _backup(draft: Draft, said: Backup) -> Object:
    """Returns the job that dumps the database; it needs none of the Bento."""
    key = "SWITCHYARD_DATABASE_URL"
    name = draft.values.secrets.existing or draft.name("secrets")
    made = {
        "name": "backup",
        "image": said.image,
        "imagePullPolicy": "Always",
        "command": ["sh", "-ec", DUMP.format(name=draft.values.name, days=said.keep_days)],
        "env": [{"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}],
        "resources": Needs(0.25, "256Mi").as_object(),
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "backup", "mountPath": "/backup"}],
    }
    spec = pod_spec(draft, made)
    spec.pop("initContainers", None)
    claim = {"claimName": draft.name("backup")}
    spec["volumes"] = [{"name": "backup", "persistentVolumeClaim": claim}]
    return _cron(draft, "backup", said.schedule, spec)


def _cron(draft: Draft, name: str, schedule: str, spec: Object) -> Object:
    template = pod(draft.labels(name), digest(draft), {**spec, "restartPolicy": "Never"})
    job = {
        "activeDeadlineSeconds": PATIENCE_SECONDS,
        "backoffLimit": 0,  # drift ends with 3 when it has found some, which no repetition changes
        "template": template,
    }
    return draft.object(
        "CronJob",
        "batch/v1",
        draft.name(name),
        name,
        spec={
            "schedule": schedule,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": PATIENCE_SECONDS,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    )
