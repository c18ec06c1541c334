"""Docker as it tells and refuses: a program in its place that misbehaves when it is told to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bentos import PLAN, made, plan

from deploy.compose import platform
from deploy.compose.engine import Engine
from deploy.compose.services import SENT
from deploy.compose.target import FILE, TARGET
from deploy.compose.values import ComposeValues
from deploy.documents import Document, filled
from deploy.errors import DeployFailed
from deploy.smoke import Probe

STAND_IN = """\
#!{python} -IS
import json, os, pathlib, sys
folder = pathlib.Path({folder!r})
told = json.loads((folder / "told.json").read_text())
words = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([words, os.environ.get("ADMIN")]) + chr(10))
name = next((word for word in words if word in ("version", "up", "down", "ps", "inspect", "logs")))
if name in told["fails"]:
    print(" Container x-server-1  Error", file=sys.stderr)
    sys.exit(told["fails"][name])
if name == "ps":
    print(chr(10).join(each["Id"] for each in told["containers"]))
if name == "inspect":
    print(json.dumps(told["containers"]))
if name == "logs":
    print("the log's last line", file=sys.stderr)
"""

VALUES = ComposeValues.model_validate(
    {
        "image": "registry.example.com/switchyard:1",
        "parts": [],
        "admin_token": "ADMIN",
        "ready_within": 30,
    }
)
DOCUMENTS = TARGET.render(made(), VALUES)
SENT_LABEL = DOCUMENTS[0].content["services"]["server"]["labels"][SENT]  # type: ignore[index]
Tell = Callable[..., None]


def container(**changes: Any) -> dict[str, Any]:
    """The server as Docker's `inspect` tells it."""
    state = {"Status": "running", "ExitCode": 0, "Health": {"Status": "healthy"}}
    config = {
        "Image": "registry.example.com/switchyard:1",
        "Healthcheck": {"Test": ["CMD", "true"]},
        "Labels": {
            "com.docker.compose.service": changes.pop("service", "server"),
            SENT: SENT_LABEL,
        },
    }
    host = {"Memory": 6 << 30, "NanoCpus": 4 * 10**9}
    for part in (state, config, host):
        part.update({key: changes.pop(key) for key in list(changes) if key in part})
    assert not changes
    return {"Id": config["Labels"]["com.docker.compose.service"], "State": state,
            "Config": config, "HostConfig": host}  # fmt: skip


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Says what there is, and which commands fail with which words."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path / "home"))
    ticks = count(0, 20)  # two looks, and it is late
    clock = SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda _: None)
    monkeypatch.setattr(platform, "time", clock)

    def told(*containers: dict[str, Any], **fails: str) -> None:
        content = {"containers": containers, "fails": fails}
        (tmp_path / "told.json").write_text(json.dumps(content))

    told()
    return told


def connect() -> Any:
    return TARGET.connect(VALUES, {})


def apply(documents: list[Document] = DOCUMENTS) -> None:
    sent = filled(documents, {"ADMIN": "sesame"})
    connect().apply(sent, "router:abc123", Probe("flights", [], 1.0), lambda _: None)


def calls(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def test_secrets_go_by_the_environment_and_never_to_the_disk(tell: Tell, tmp_path: Path) -> None:
    tell(container())
    apply()
    (up,) = [each for each in calls(tmp_path) if "up" in each[0]]
    assert up[1] == "sesame"
    assert "sesame" not in " ".join(up[0])
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [path.name for path in files] == [FILE]
    assert "${ADMIN:?is not set}" in files[0].read_text()


def test_where_nothing_is_installed_both_ways_out_are_named(
    tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(version="docker: unknown command: docker compose")
    with pytest.raises(DeployFailed, match="install Docker with its Compose plugin, or Podman"):
        Engine.installed()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployFailed, match="Neither `docker compose` nor `podman-compose`"):
        Engine.installed()


@pytest.mark.parametrize(
    "message",
    [
        "Error response from daemon: manifest for registry.example.com/switchyard:1 not found",
        "permission denied while trying to connect to the Docker daemon socket",
        "Error response from daemon: driver failed: Bind for 127.0.0.1:3000 failed: port is "
        "already allocated",
        "Error response from daemon: Get https://registry.example.com/v2/: connection reset",
        "Error response from daemon: no space left on device",
    ],
)
def test_what_docker_refuses_is_said_in_its_words(tell: Tell, message: str) -> None:
    tell(up=message)
    with pytest.raises(DeployFailed) as caught:
        apply()
    assert caught.value.message == f"`docker compose` failed: {message}"


def test_what_ended_while_docker_failed_is_said_with_its_log(tell: Tell) -> None:
    """Docker waits for what others depend on, and says only that it is not healthy."""
    message = "dependency failed to start: container x-postgresql-1 exited (1)"
    tell(container(service="postgresql", Status="exited", ExitCode=1), up=message)
    with pytest.raises(DeployFailed, match="`docker compose` failed: ") as caught:
        apply()
    assert caught.value.message == (
        f"`docker compose` failed: {message}; "
        "postgresql is exited (1); its log ends: the log's last line"
    )


def test_a_log_that_does_not_come_hides_no_failure(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subprocess.run

    def hanging(words: tuple[str, ...], **options: Any) -> Any:
        if "logs" in words:
            raise subprocess.TimeoutExpired(words, options["timeout"])
        return run(words, **options)

    tell(container(Status="exited", ExitCode=1), up="Error: no space left on device")
    monkeypatch.setattr(subprocess, "run", hanging)
    with pytest.raises(DeployFailed, match=r"no space left on device; server is exited \(1\)"):
        apply()


def test_a_secret_in_an_error_is_left_out(tell: Tell) -> None:
    tell(up="Error: cannot connect with the token sesame")
    with pytest.raises(DeployFailed, match=r"with the token \*\*\*$"):
        apply()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((), "server did not become healthy within 30 s"),
        (({"Health": {"Status": "starting"}},), "the log of server ends: the log's last line"),
        (({"Health": {"Status": "unhealthy"}},), "server is running, unhealthy; its log ends: the"),
        (({"Status": "exited", "ExitCode": 137},), r"server is exited \(137\); its log ends: the"),
    ],
)
def test_what_does_not_become_ready_is_said_with_its_log(
    tell: Tell, found: tuple[dict[str, Any], ...], said: str
) -> None:
    tell(*(container(**each) for each in found))
    with pytest.raises(DeployFailed, match=said):
        apply()


@pytest.mark.parametrize(
    ("containers", "state", "said"),
    [
        ([], "absent", ()),
        ([{}], "ready", ()),
        ([{"Health": {"Status": "starting"}}], "progressing", ()),
        ([{"Status": "exited", "ExitCode": 1}], "failed", ()),
        (
            [{"Image": "by-hand:1"}],
            "ready",
            ("server runs the image by-hand:1, not registry.example.com/switchyard:1.",),
        ),
        ([{"Memory": 512 << 20}], "ready", ("server may use 512 MiB, not 6g.",)),
        ([{"NanoCpus": 10**9}], "ready", ("server may use 1 cores, not 4.",)),
        (
            [{"Labels": {"com.docker.compose.service": "server"}}],
            "ready",
            ("server is not the one that was sent.",),
        ),
        (
            [{}, {"service": "mine"}],
            "ready",
            ("mine is there, but was not sent.",),
        ),
        (
            [{"service": "mine"}],
            "progressing",
            ("server is not there.", "mine is there, but was not sent."),
        ),
    ],
)
def test_what_was_changed_by_hand_is_seen(
    tell: Tell, containers: list[dict[str, Any]], state: str, said: tuple[str, ...]
) -> None:
    tell(*(container(**each) for each in containers))
    seen = connect().look(DOCUMENTS)
    assert (seen.state, seen.differences) == (state, said)
    assert bool(seen.why) == (state == "failed")


def test_delete_keeps_the_volumes_and_needs_no_secret(tell: Tell, tmp_path: Path) -> None:
    connect().delete(DOCUMENTS, lambda _: None)
    (down,) = [each for each in calls(tmp_path) if "down" in each[0]]
    assert down == [[*down[0][:-2], "down", "--remove-orphans"], "unset"]
    assert not {"-v", "--volumes"} & set(down[0])
    assert not (tmp_path / "home" / "deploy" / "compose" / "switchyard").exists()


def test_a_project_that_somebody_else_deployed_is_not_taken_away(
    tell: Tell, tmp_path: Path
) -> None:
    tell(container())
    place = connect()
    place.spare(DOCUMENTS)
    said = place.delete(DOCUMENTS, lambda _: None)
    assert said.startswith("Nothing was taken away: the project switchyard had containers before")
    assert not [each for each in calls(tmp_path) if "down" in each[0]]


def test_a_docker_that_does_not_answer_is_said(tell: Tell) -> None:
    tell(ps="Cannot connect to the Docker daemon at unix:///var/run/docker.sock")
    with pytest.raises(DeployFailed, match="Cannot connect to the Docker daemon"):
        connect().look(DOCUMENTS)


def test_files_of_earlier_releases_go_and_those_that_stay_are_the_same(
    tell: Tell, tmp_path: Path
) -> None:
    tell(container())
    apply([*DOCUMENTS, Document("prometheus/a.yml", "a: 1\n"), Document("grafana/b.json", "{}")])
    folder = tmp_path / "home" / "deploy" / "compose" / "switchyard"
    before = (folder / "prometheus").stat().st_ino
    apply([*DOCUMENTS, Document("prometheus/a.yml", "a: 2\n")])
    assert (folder / "prometheus" / "a.yml").read_text() == "a: 2\n"
    assert not (folder / "grafana" / "b.json").exists()
    assert (folder / "prometheus").stat().st_ino == before
    assert (folder / "prometheus" / "a.yml").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("192.0.2.7", "http://192.0.2.7:3000"),
        ("::", "http://[::1]:3000"),
        ("::1", "http://[::1]:3000"),
    ],
)
def test_the_address_is_that_of_what_was_sent(tell: Tell, bind: str, address: str) -> None:
    tell(container())
    values = VALUES.model_copy(update={"bind": bind})
    closed = made(plan=plan(PLAN + "auth: required\n"))
    assert connect().look(TARGET.render(closed, values)).address == address
