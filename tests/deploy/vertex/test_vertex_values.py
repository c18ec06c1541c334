"""Values of Vertex AI, and machines that a Bento does not fit on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bentos import SERVICES, made

from deploy.errors import ValuesError
from deploy.targets import example_values
from deploy.values import read_values
from deploy.vertex import machines
from deploy.vertex.values import Accelerator, VertexValues

IMAGE = "europe-west4-docker.pkg.dev/my-project-1/models/switchyard:1.0"
GIVEN = f"project: my-project-1\nregion: europe-west4\nimage: {IMAGE}\n"
GPU = replace(SERVICES[-1], gpu=1, gpu_type="nvidia-l4")


def read(folder: Path, more: str = "", *changes: str) -> VertexValues:
    path = folder / "values.yaml"
    path.write_text(GIVEN + more)
    return read_values(VertexValues, [path], changes, None)


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        "us-docker.pkg.dev/my-project-1/models/team/switchyard:1.0",
        f"europe-docker.pkg.dev/my-project-1/models/switchyard@sha256:{'a' * 64}",
        f"us-central1-docker.pkg.dev/my-project-1/models/switchyard:1@sha256:{'0' * 64}",
    ],
)
def test_images_of_artifact_registry(tmp_path: Path, image: str) -> None:
    assert read(tmp_path, "", f"image='{image}'").image == image


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("image=docker.io/team/switchyard:1.0", "runs images from Artifact Registry, such as"),
        ("image=pkg.dev/my-project-1/models/switchyard:1.0", "runs images from Artifact Registry"),
        (f"image={IMAGE[:-4]}", "name its tag or digest"),
        ("project=My Project", "must look like 'my-project-1'"),
        ("region=mars", "must look like 'europe-west4'"),
        ("traffic=0", "greater than or equal to 1"),
        ("traffic=101", "less than or equal to 100"),
        ("replicas={minimum: 3, maximum: 2}", "replicas.maximum is 2, but 'minimum' is 3"),
        ("accelerator={type: T4}", "accelerator.type is 'T4', but must be"),
        ("machine=big", "must look like 'n1-standard-4'"),
        ("service_account=me", "must look like 'serving@"),
        ("env={AIP_HTTP_PORT: '1'}", "is set by Vertex AI, or by 'shared'"),
        ("env={SWITCHYARD_MODE: live}", "is set by Vertex AI, or by 'shared'"),
        ("env={'1 2': '1'}", "is no name of an environment variable"),
        ("secrets={TOKEN: sesame}", "must be the name of an environment variable"),
        ("batch={input: [], output: 'gs://bucket'}", "is empty"),
        ("batch={input: ['s3://bucket'], output: 'gs://bucket'}", "must look like 'gs://"),
        ("push={image: a, tool: skopeo}", "must be 'docker' or 'podman'"),
        ("replica=3", "perhaps 'replicas' is meant"),
        ("shared={mode: live}", "'database' and 'log_store'"),
    ],
)
def test_wrong_values(tmp_path: Path, change: str, sentence: str) -> None:
    with pytest.raises(ValuesError) as caught:
        read(tmp_path, "", change)
    assert sentence in caught.value.message


def test_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(f"region: europe-west4\nimage: {IMAGE}\n")
    with pytest.raises(ValuesError, match="'project'"):
        read_values(VertexValues, [path], (), None)


@pytest.mark.parametrize(
    ("gpu_type", "count", "machine", "kind"),
    [
        ("nvidia-tesla-t4", 1, "n1-standard-4", "NVIDIA_TESLA_T4"),
        ("T4", 4, "n1-standard-4", "NVIDIA_TESLA_T4"),
        ("l4", 1, "g2-standard-8", "NVIDIA_L4"),
        ("nvidia-l4", 2, "g2-standard-24", "NVIDIA_L4"),
        ("a100", 1, "a2-highgpu-1g", "NVIDIA_TESLA_A100"),
        ("nvidia-a100-80gb", 8, "a2-ultragpu-8g", "NVIDIA_A100_80GB"),
        ("h100", 8, "a3-highgpu-8g", "NVIDIA_H100_80GB"),
    ],
)
def test_machine_with_the_gpus_of_the_bento(
    gpu_type: str, count: int, machine: str, kind: str
) -> None:
    service = replace(GPU, gpu=count, gpu_type=gpu_type)
    assert machines.spec(made(services=(*SERVICES[:-1], service)), None, None) == {
        "machineType": machine,
        "acceleratorType": kind,
        "acceleratorCount": count,
    }


@pytest.mark.parametrize(("cores", "machine"), [(0.5, 2), (3, 4), (4, 8), (500, 96)])
def test_machine_with_the_cores_of_the_bento(cores: float, machine: int) -> None:
    bento = made(services=(*SERVICES[:2], replace(SERVICES[2], cpu=cores)))
    assert machines.spec(bento, None, None) == {"machineType": f"n1-standard-{machine}"}


@pytest.mark.parametrize(
    ("gpus", "machine", "accelerator", "sentence"),
    [
        ({}, "e2-standard-4", None, "'machine' is 'e2-standard-4', which has no NVIDIA_L4"),
        ({}, "n1-standard-4", None, "take a type that begins with 'g2-'"),
        ({"gpu": 2}, None, {"type": "NVIDIA_L4"}, "needs 2 GPUs on one machine"),
        ({"gpu_type": None}, None, None, "name no 'gpu_type', but Vertex AI needs one kind"),
        ({"gpu_type": "abacus"}, None, None, "name 'abacus', but Vertex AI needs one kind"),
        ({"gpu": 3}, None, None, "not known which machine has 3 NVIDIA_L4; say 'machine'"),
        ({"gpu": 0}, "a2-highgpu-1g", None, "which comes with GPUs; say 'accelerator' too"),
    ],
)
def test_machine_that_does_not_fit(
    gpus: dict[str, Any], machine: str | None, accelerator: Any, sentence: str
) -> None:
    bento = made(services=(*SERVICES[:-1], replace(GPU, **gpus)))
    given = Accelerator.model_validate(accelerator) if accelerator else None
    with pytest.raises(ValuesError) as caught:
        machines.spec(bento, machine, given)
    assert sentence in caught.value.message


def test_hosts_with_different_gpus() -> None:
    services = (*SERVICES[:-2], replace(GPU, gpu_type="t4"), GPU)
    with pytest.raises(ValuesError, match="name 'nvidia-l4', 't4'"):
        machines.spec(made(services=services), None, None)


def test_page_names_every_value() -> None:
    page = (example_values("vertex").parent / "README.md").read_text(encoding="utf-8")
    table = page.partition("## Values")[2].partition("## What is sent")[0]
    assert set(VertexValues.model_fields) <= set(re.findall(r"`(\w+)`", table))
