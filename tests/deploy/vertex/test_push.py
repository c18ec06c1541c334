"""Pushing a local image: by a real podman to a real registry, as far as the machine has them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from e2e.server import free_port, wait_until

from deploy.errors import DeployFailed
from deploy.vertex.push import push

LOCAL = "localhost/of-the-tests:1"
said: list[str] = []

REGISTRY = """\
version: 0.1
storage: {{ filesystem: {{ rootdirectory: {folder} }} }}
http: {{ addr: "127.0.0.1:{port}" }}
"""
STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""
INSECURE = """\
[[registry]]
location = "127.0.0.1:{port}"
insecure = true
"""


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry on loopback that podman may push to, and an image to push; its address."""
    for program in ("podman", "docker-registry"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    port = free_port()
    texts = {"storage": STORAGE, "registries": INSECURE, "registry": REGISTRY}
    for name, content in texts.items():
        (tmp_path / name).write_text(content.format(folder=tmp_path / "data", port=port))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries"))
    (tmp_path / "file").write_text("of the tests")
    subprocess.run(["tar", "-cf", "image.tar", "file"], cwd=tmp_path, check=True)
    subprocess.run(
        ["podman", "import", "--quiet", "image.tar", LOCAL],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    registry = subprocess.Popen(
        ["docker-registry", "serve", tmp_path / "registry"], stderr=subprocess.DEVNULL
    )
    address = f"127.0.0.1:{port}"
    wait_until(lambda: answers(address), "the registry answers")
    yield address
    registry.terminate()
    registry.wait()


def answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/v2/").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_image_arrives(podman: str) -> None:
    push(LOCAL, f"{podman}/team/switchyard:1.0", "podman", said.append)
    tags = httpx.get(f"http://{podman}/v2/team/switchyard/tags/list").json()
    assert tags == {"name": "team/switchyard", "tags": ["1.0"]}


@pytest.mark.slow
def test_image_that_is_not_there(podman: str) -> None:
    with pytest.raises(DeployFailed, match=r"`podman tag localhost/nothing:1 .* failed: .*nothing"):
        push("localhost/nothing:1", f"{podman}/team/switchyard:1.0", "podman", said.append)


@pytest.mark.slow
def test_registry_that_is_away(podman: str) -> None:
    with pytest.raises(DeployFailed, match=r"`podman push .* failed: .*refused.*configure-docker"):
        push(LOCAL, f"127.0.0.1:{free_port()}/team/switchyard:1.0", "podman", said.append)


def test_tool_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployFailed, match="docker is not installed, so a:1 cannot be pushed"):
        push("a:1", "europe-west4-docker.pkg.dev/my-project-1/models/a:1", "docker", said.append)
