"""What Vertex AI is sent: request bodies of its published API, in JSON's spelling."""

from __future__ import annotations

import hashlib
import json
from math import ceil
from typing import Any, Final

from deploy.bento import Bento
from deploy.documents import Document
from deploy.vertex import machines
from deploy.vertex.values import Batch, Replicas, VertexValues

__all__ = ["BATCH", "CREATE", "DEPLOY", "JUST_DEPLOYED", "MADE_BY", "PUSH", "SPLIT", "UPLOAD"]
__all__ += ["render"]

PUSH: Final = "image"
UPLOAD: Final = "ModelService.UploadModel"
CREATE: Final = "EndpointService.CreateEndpoint"
DEPLOY: Final = "EndpointService.DeployModel"
SPLIT: Final = "EndpointService.UpdateEndpoint"
BATCH: Final = "JobService.CreateBatchPredictionJob"

MADE_BY: Final = {"made-by": "switchyard"}
"""Label of everything that comes from here; what does not bear it is never touched."""

JUST_DEPLOYED: Final = "0"
"""Stands for the id of the deployed model, as in `DeployModelRequest.traffic_split`."""

PORT: Final = 8080
PREDICT_ROUTE: Final = "/vertex/predict"

PROBE: Final = {"periodSeconds": 5, "timeoutSeconds": 10}
"""The API wants a time limit above the period."""

METRIC: Final = "aiplatform.googleapis.com/prediction/online"


def render(bento: Bento, values: VertexValues) -> list[Document]:
    """Returns the documents, in the order in which they are sent; the batch prediction is not.

    A version of the model and a deployed model are named after a digest of what they are, so that
    the same release is the same one, and another one stands beside it.

    Raises:
        ValuesError: The machine lacks the Bento's GPUs.
        NotFound: The plan has no such endpoint as the batch prediction names.
    """
    upload = _upload(bento, values)
    alias = upload["model"]["versionAliases"][0]
    version = f"{values.parent}/models/{values.name}@{alias}"
    documents = [
        Document(UPLOAD, upload),
        Document(CREATE, _create(values)),
        Document(DEPLOY, _deploy(bento, values, version)),
        Document(SPLIT, _split(values)),
    ]
    if values.push is not None:
        moved = {"from": values.push.image, "to": values.image, "tool": values.push.tool}
        documents.insert(0, Document(PUSH, moved))
    if values.batch is not None:
        documents.append(Document(BATCH, _batch(bento, values, values.batch, version)))
    return documents


def _upload(bento: Bento, values: VertexValues) -> dict[str, Any]:
    # The first version makes the model, by `modelId`; later ones name it as `parentModel`.
    model: dict[str, Any] = {
        "displayName": values.name,
        "versionDescription": f"Bento {bento.tag}",
        "labels": _labels(bento),
        "containerSpec": _container(values),
    }
    model["versionAliases"] = [f"release-{_digest(model)}"]
    return {"parent": values.parent, "modelId": values.name, "model": model}


def _container(values: VertexValues) -> dict[str, Any]:
    def probe(path: str, failures: int) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": PORT}, **PROBE, "failureThreshold": failures}

    return {
        "imageUri": values.image,
        "env": [{"name": name, "value": value} for name, value in values.environ().items()],
        "ports": [{"containerPort": PORT}],
        "predictRoute": PREDICT_ROUTE,
        "healthRoute": "/readyz",
        "deploymentTimeout": f"{ceil(values.ready_within)}s",
        "startupProbe": probe("/readyz", ceil(values.ready_within / PROBE["periodSeconds"])),
        "livenessProbe": probe("/livez", 6),
    }


def _create(values: VertexValues) -> dict[str, Any]:
    endpoint = {"displayName": values.name, "labels": dict(MADE_BY)}
    return {"parent": values.parent, "endpointId": values.name, "endpoint": endpoint}


def _deploy(bento: Bento, values: VertexValues, version: str) -> dict[str, Any]:
    machine = machines.spec(bento, values.machine, values.accelerator)
    deployed: dict[str, Any] = {"model": version, "dedicatedResources": {"machineSpec": machine}}
    if values.service_account is not None:
        deployed["serviceAccount"] = values.service_account
    # How many machines there are can be changed later, and so is no part of what it is.
    deployed["displayName"] = f"{values.name}-{_digest(deployed)}"
    deployed["dedicatedResources"] |= {
        "minReplicaCount": values.replicas.minimum,
        "maxReplicaCount": values.replicas.maximum or values.replicas.minimum,
        "autoscalingMetricSpecs": _metrics(values.replicas, "acceleratorType" in machine),
    }
    return {"endpoint": f"{values.parent}/endpoints/{values.name}", "deployedModel": deployed}


def _metrics(replicas: Replicas, gpu: bool) -> list[dict[str, Any]]:
    found = [{"metricName": f"{METRIC}/cpu/utilization", "target": replicas.cpu}]
    if gpu:
        metric = f"{METRIC}/accelerator/duty_cycle"
        found.append({"metricName": metric, "target": replicas.accelerator})
    return found


def _split(values: VertexValues) -> dict[str, Any]:
    name = f"{values.parent}/endpoints/{values.name}"
    split = {JUST_DEPLOYED: values.traffic}
    return {"endpoint": {"name": name, "trafficSplit": split}, "updateMask": "trafficSplit"}


def _batch(bento: Bento, values: VertexValues, batch: Batch, version: str) -> dict[str, Any]:
    job: dict[str, Any] = {
        "displayName": values.name,
        "model": version,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": batch.input}},
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": batch.output},
        },
        "dedicatedResources": {
            "machineSpec": machines.spec(bento, values.machine, values.accelerator),
            "startingReplicaCount": batch.replicas.minimum,
            "maxReplicaCount": batch.replicas.maximum or batch.replicas.minimum,
        },
        "manualBatchTuningParameters": {"batchSize": batch.batch_size},
        "labels": _labels(bento),
    }
    if batch.endpoint is not None:
        bento.plan.endpoint(batch.endpoint)
        job["modelParameters"] = {"endpoint": batch.endpoint}
    if values.service_account is not None:
        job["serviceAccount"] = values.service_account
    return {"parent": values.parent, "batchPredictionJob": job}


def _labels(bento: Bento) -> dict[str, str]:
    return MADE_BY | {"bento": bento.version.lower().replace(".", "-")[:63]}


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
