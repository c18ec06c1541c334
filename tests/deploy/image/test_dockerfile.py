from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bentos import SERVICES, golden, made

from deploy.bento import Bento
from deploy.errors import DeployFailed
from deploy.image import build
from deploy.image.dockerfile import render
from switchyard.errors import InvalidInput

HERE = Path(__file__).parent / "golden"


def with_gpu(*frameworks: str) -> Bento:
    """A Bento whose hosts of these frameworks declare a GPU; torch, if none is named."""
    named = frameworks or ("torch",)
    return made(
        services=tuple(replace(each, gpu=int(each.framework in named)) for each in SERVICES)
    )


def test_the_dockerfile() -> None:
    golden(HERE / "Dockerfile", render(made()))


def test_the_dockerfile_for_gpus() -> None:
    golden(HERE / "Dockerfile.gpu", render(with_gpu()))


def test_wheels_that_the_index_lacks_come_from_a_folder() -> None:
    text = render(made(), wheels=True)
    assert "--find-links /build/wheels" in text
    assert "--torch-backend" not in text


def test_a_base_image_of_the_users_own() -> None:
    text = render(made(), base_image="registry.example.com/python:3.11")
    assert text.count("FROM registry.example.com/python:3.11") == 2
    gpu = render(with_gpu(), base_image="registry.example.com/cuda:13")
    assert gpu.count("FROM registry.example.com/cuda:13") == 1


def test_only_torch_asks_for_the_index_of_torch() -> None:
    services = tuple(each for each in SERVICES if each.framework != "torch")
    assert "--torch-backend" not in render(made(services=services))


def test_only_a_host_with_a_gpu_gets_cuda() -> None:
    """Torch's cuDNN and TensorFlow's lie at the same place, and are of different CUDA."""
    torch, tensorflow = render(with_gpu()), render(with_gpu("tensorflow"))
    assert "--torch-backend" not in torch
    assert "--torch-backend cpu" in tensorflow
    with pytest.raises(InvalidInput, match=r"cannot hold both: .*make image FRAMEWORKS=torch"):
        render(with_gpu("torch", "tensorflow"))


def test_a_backend_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(InvalidInput, match="'podman' cannot build images here"):
        build.backend("podman")
    with pytest.raises(InvalidInput, match="apt-get install podman"):
        build.backend()
    with pytest.raises(InvalidInput, match="docker, podman, buildah"):
        build.backend("kaniko")


def test_the_first_backend_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_works", lambda name: name != "docker")
    assert build.backend() == "podman"


def test_of_a_wheel_folder_only_what_is_required_is_taken(tmp_path: Path) -> None:
    required = tmp_path / "env" / "python" / "requirements.txt"
    required.parent.mkdir(parents=True)
    required.write_text("torch==2.13.0\nscikit-learn==1.9.1\nbentoml[grpc]==1\n")
    folder = tmp_path / "wheels"
    folder.mkdir()
    names = [
        "torch-2.13.0+cpu-cp311.whl",
        "scikit_learn-1-py3.whl",
        "bentoml-1-x.whl",
        "nope-1.whl",
    ]
    for name in names:
        (folder / name).write_text("")
    found = build.wheels_of(made(path=tmp_path), folder)
    assert {path.name for path in found} == set(names[:3])
    assert build.wheels_of(made(path=tmp_path), None) == []
    on_gpu = build.wheels_of(made(path=tmp_path, services=with_gpu().services), folder)
    assert {path.name for path in on_gpu} == set(names[1:3])
    with pytest.raises(InvalidInput, match="no folder"):
        build.wheels_of(made(path=tmp_path), tmp_path / "gone")


def test_a_build_of_the_bento_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.sys, "executable", "false")
    with pytest.raises(DeployFailed, match="`bentoml build` has failed"):
        build.build_bento()
