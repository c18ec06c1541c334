"""What is sent to Vertex AI, as text to read and as the API's own types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bentos import SERVICES, golden, made

from deploy.documents import names_of, text
from deploy.errors import DeployFailed
from deploy.targets import example_values
from deploy.values import read_values
from deploy.vertex.requests import BATCH, CREATE, DEPLOY, PUSH, SPLIT, UPLOAD
from deploy.vertex.target import TARGET
from deploy.vertex.values import VertexValues
from switchyard.errors import NotFound

GOLDEN = Path(__file__).parent / "golden"
IMAGE = "europe-west4-docker.pkg.dev/my-project-1/models/switchyard:1.0"
GIVEN: dict[str, Any] = {"project": "my-project-1", "region": "europe-west4", "image": IMAGE}
WHOLE: dict[str, Any] = {
    "push": {"image": "localhost/switchyard:abc123", "tool": "podman"},
    "machine": "g2-standard-24",
    "accelerator": {"type": "NVIDIA_L4", "count": 2},
    "replicas": {"minimum": 2, "maximum": 5, "cpu": 70, "accelerator": 80},
    "traffic": 10,
    "service_account": "serving@my-project-1.iam.gserviceaccount.com",
    "shared": {"mode": "live", "database": "DATABASE_URL", "log_store": "gs://bucket/log"},
    "env": {"LOG_LEVEL": "debug"},
    "secrets": {"SWITCHYARD_LOG_SALT": "LOG_SALT"},
    "batch": {
        "input": ["gs://bucket/in/*.jsonl"],
        "output": "gs://bucket/out",
        "endpoint": "digits",
    },
}
TYPES = {
    UPLOAD: "UploadModelRequest",
    CREATE: "CreateEndpointRequest",
    DEPLOY: "DeployModelRequest",
    SPLIT: "UpdateEndpointRequest",
    BATCH: "CreateBatchPredictionJobRequest",
}


def rendered(bento: Any = None, **values: Any) -> dict[str, Any]:
    documents = TARGET.render(bento or made(), VertexValues.model_validate(GIVEN | values))
    return {each.name: each.content for each in documents}


def test_example() -> None:
    values = read_values(VertexValues, [example_values("vertex")], (), None)
    golden(GOLDEN / "example.yaml", text(TARGET.render(made(), values)))


def test_least() -> None:
    values = VertexValues.model_validate(GIVEN)
    golden(GOLDEN / "least.yaml", text(TARGET.render(made(), values)))


def test_whole() -> None:
    values = VertexValues.model_validate(GIVEN | WHOLE)
    documents = TARGET.render(made(), values)
    golden(GOLDEN / "whole.yaml", text(documents))
    assert names_of(documents) == ("DATABASE_URL", "LOG_SALT")
    assert TARGET.place(values) == "my-project-1/europe-west4/switchyard"


def test_every_request_is_one_of_the_api() -> None:
    from google.cloud import aiplatform_v1 as api

    from deploy.vertex.sent import as_json, parsed

    sent = rendered(**WHOLE)
    assert set(sent) == {PUSH, *TYPES}
    for name, kind in TYPES.items():
        message = parsed(getattr(api, kind), sent[name])
        again = as_json(message)
        if name == SPLIT:
            assert again.pop("updateMask") == "trafficSplit"
            sent[name].pop("updateMask")
        assert again == sent[name], name


def test_unknown_field_is_refused() -> None:
    from google.cloud import aiplatform_v1 as api

    from deploy.vertex.sent import parsed

    wrong = rendered()[DEPLOY] | {"trafic": 1}
    with pytest.raises(DeployFailed, match=r'no DeployModelRequest: .* no field named "trafic"'):
        parsed(api.DeployModelRequest, wrong)


def test_gpus_are_those_of_the_api() -> None:
    from google.cloud.aiplatform_v1 import AcceleratorType

    from deploy.vertex.machines import KINDS

    assert set(KINDS) <= {each.name for each in AcceleratorType}


def test_same_release_has_the_same_names() -> None:
    assert rendered() == rendered()


@pytest.mark.parametrize(
    "change",
    [
        {"image": IMAGE.replace("1.0", "1.1")},
        {"env": {"A": "b"}},
        {"shared": {"mode": "live", "database": "URL", "log_store": "gs://bucket/log"}},
        {"ready_within": 60},
    ],
)
def test_another_container_is_another_version(change: dict[str, Any]) -> None:
    first, second = rendered(), rendered(**change)
    assert alias(first) != alias(second)
    assert display_name(first) != display_name(second)


def test_another_bento_is_another_version() -> None:
    assert alias(rendered()) != alias(rendered(made(tag="router:def456")))


def test_another_machine_is_another_deployed_model_only() -> None:
    first, second = rendered(), rendered(machine="n1-standard-16")
    assert alias(first) == alias(second)
    assert display_name(first) != display_name(second)


@pytest.mark.parametrize("change", [{"replicas": {"minimum": 3}}, {"traffic": 5}])
def test_replicas_and_traffic_are_no_part_of_the_name(change: dict[str, Any]) -> None:
    assert display_name(rendered()) == display_name(rendered(**change))


def test_gpus_of_the_bento() -> None:
    *others, torch = SERVICES
    bento = made(services=(*others, replace(torch, gpu=2, gpu_type="nvidia-tesla-t4")))
    sent = rendered(bento, batch={"input": ["gs://b0x/i"], "output": "gs://b0x/o"})
    for document, body in ((DEPLOY, "deployedModel"), (BATCH, "batchPredictionJob")):
        assert sent[document][body]["dedicatedResources"]["machineSpec"] == {
            "machineType": "n1-standard-4",
            "acceleratorType": "NVIDIA_TESLA_T4",
            "acceleratorCount": 2,
        }


def test_batch_prediction_of_an_endpoint_that_is_not_there() -> None:
    batch = {"input": ["gs://bucket/in"], "output": "gs://bucket/out", "endpoint": "trains"}
    with pytest.raises(NotFound, match="trains"):
        rendered(batch=batch)


def alias(sent: dict[str, Any]) -> str:
    found: str = sent[UPLOAD]["model"]["versionAliases"][0]
    return found


def display_name(sent: dict[str, Any]) -> str:
    found: str = sent[DEPLOY]["deployedModel"]["displayName"]
    return found
