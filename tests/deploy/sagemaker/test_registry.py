"""The image on its way into the registry: with tools that fail, and for real by podman."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.server import free_port, wait_until

from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.sagemaker.registry import bring

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/switchyard:1.0"
MADE = "making the repository team/switchyard, unless it is there"
PASSWORD = "of the tests"
HASHED = "$2b$04$XgFudQyFo6YkSWX/X6IgNOPTELq6/6.G0WzuOLhsUVhmZnfijeAJy"  # with bcrypt
LOGIN = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()


class Ecr:
    """What of AWS the registry's part asks."""

    account = "123456789012"

    def __init__(self, host: str = "https://registry.example.com", login: str = LOGIN) -> None:
        self.there = False
        self.host = host
        self.login = login
        self.made: list[str] = []

    def make(self, service: str, operation: str, **body: Any) -> bool:
        self.made.append(body["repositoryName"])
        return True

    def call(self, service: str, operation: str, **body: Any) -> dict[str, Any]:
        assert operation == "get_authorization_token"
        self.there = True  # whoever asks for a login sends the image next
        return {
            "authorizationData": [{"proxyEndpoint": self.host, "authorizationToken": self.login}]
        }

    def find(self, service: str, operation: str, **body: Any) -> dict[str, Any] | None:
        assert body["imageIds"] == [{"imageTag": "1.0"}]
        return {"imageDetails": [{}]} if self.there else None


def documents(tool: str, source: str = "switchyard:1.0") -> list[Document]:
    return [
        Document("ecr.create_repository/team/switchyard", {"repositoryName": "team/switchyard"}),
        Document(f"image.push/{IMAGE}", {"from": source, "to": IMAGE, "by": tool}),
    ]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others that tools are looked for in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def write_tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        (
            "docker",
            [
                "tag switchyard:1.0 registry.example.com/team/switchyard:1.0",
                "--config LOGIN push --quiet registry.example.com/team/switchyard:1.0",
            ],
        ),
        (
            "podman",
            [
                "push --authfile LOGIN/config.json --tls-verify=true --quiet switchyard:1.0 "
                "docker://registry.example.com/team/switchyard:1.0"
            ],
        ),
        (
            "skopeo",
            [
                "copy --dest-authfile LOGIN/config.json --dest-tls-verify=true --quiet "
                "docker://switchyard:1.0 docker://registry.example.com/team/switchyard:1.0"
            ],
        ),
    ],
)
def test_the_commands_hold_no_password(
    tool: Path, tmp_path: Path, name: str, commands: list[str]
) -> None:
    log = tmp_path / "log"
    write_tool(tool, name, f'echo "$@" >> {log}')
    said: list[str] = []
    ecr: Any = Ecr()
    bring(ecr, documents(name), IMAGE, said.append)
    assert said == [MADE, f"sending switchyard:1.0 to {IMAGE}"]
    assert ecr.made == ["team/switchyard"]
    for line, wanted in zip(log.read_text().splitlines(), commands, strict=True):
        folder = next((each for each in line.split() if each.startswith("/")), "-")
        folder = folder.removesuffix("/config.json")
        assert line.replace(folder, "LOGIN") == wanted
        assert LOGIN not in line
        assert not Path(folder).exists()


def test_an_image_that_is_there_is_not_sent_again(tool: Path) -> None:
    write_tool(tool, "docker", "exit 1")
    ecr: Any = Ecr()
    ecr.there = True
    said: list[str] = []
    bring(ecr, documents("docker"), IMAGE, said.append)
    assert said == [MADE, f"{IMAGE} is there already, so it is not sent again"]


def test_what_the_tool_says_is_told(tool: Path) -> None:
    write_tool(tool, "podman", "echo 'switchyard:1.0: image not known' >&2; exit 125")
    ecr: Any = Ecr()
    with pytest.raises(DeployFailed) as caught:
        bring(ecr, documents("podman"), IMAGE, lambda _: None)
    assert caught.value.message == (
        "The image could not be sent: podman said: switchyard:1.0: image not known"
    )


def test_a_tool_that_is_not_installed(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tool))
    ecr: Any = Ecr()
    with pytest.raises(DeployFailed, match=r"'docker' cannot be started .*install it"):
        bring(ecr, documents("docker"), IMAGE, lambda _: None)


def test_an_image_that_nobody_sent() -> None:
    ecr: Any = Ecr()
    with pytest.raises(DeployFailed, match="is not in the registry, so SageMaker could not pull"):
        bring(ecr, [], IMAGE, lambda _: None)


def test_an_image_of_another_account_is_not_looked_for() -> None:
    ecr: Any = Ecr()
    bring(ecr, [], IMAGE.replace("123456789012", "210987654321"), lambda _: None)
    assert not ecr.made
    assert not ecr.there


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A real registry that wants the password; its address."""
    port = free_port()
    (tmp_path / "htpasswd").write_text(f"AWS:{HASHED}\n")
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    server = subprocess.Popen(
        ["docker-registry", "serve", str(tmp_path / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/v2/", timeout=5).status_code == 401
        except httpx.TransportError:
            return False

    wait_until(answers, "the registry answers")
    yield url
    server.kill()
    server.wait()


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small image of podman's, in a store of its own."""
    storage = tmp_path / "storage.conf"
    folders = f'runroot = "{tmp_path / "run"}"\ngraphroot = "{tmp_path / "graph"}"'
    storage.write_text(f'[storage]\ndriver = "vfs"\n{folders}\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(storage))
    with tarfile.open(tmp_path / "files.tar", "w") as archive:
        archive.add(__file__, "file")
    command = ["podman", "import", "--quiet", str(tmp_path / "files.tar"), "switchyard:1.0"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return "localhost/switchyard:1.0"


@pytest.mark.slow
def test_podman_really_sends_it(registry: str, image: str) -> None:
    ecr: Any = Ecr(registry)
    bring(ecr, documents("podman", image), IMAGE, lambda _: None)
    listed = httpx.get(f"{registry}/v2/team/switchyard/tags/list", auth=("AWS", PASSWORD))
    assert listed.json() == {"name": "team/switchyard", "tags": ["1.0"]}


@pytest.mark.slow
def test_a_login_that_is_refused_is_told(registry: str, image: str) -> None:
    ecr: Any = Ecr(registry, base64.b64encode(b"AWS:wrong").decode())
    with pytest.raises(DeployFailed, match=r"podman said: .*(unauthorized|authentication)"):
        bring(ecr, documents("podman", image), IMAGE, lambda _: None)
