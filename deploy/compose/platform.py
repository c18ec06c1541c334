"""One machine: brings a project up, watches it until it is healthy, compares and takes it away."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import httpx

from deploy.compose.engine import Container, Engine
from deploy.compose.services import SENT
from deploy.compose.target import ENVIRONMENT, FILE
from deploy.compose.values import ComposeValues, bytes_of
from deploy.documents import Document, text
from deploy.errors import DeployFailed
from deploy.smoke import Probe
from deploy.target import Reply, Say, Seen
from switchyard import settings

__all__ = ["ComposePlatform"]

CALL_SECONDS: Final = 15.0
POLL_SECONDS: Final = 1.0
STOP_SECONDS: Final = 300.0
DEAD: Final = frozenset({"exited", "dead", "stopped"})


class ComposePlatform:
    """A project on this machine.

    Args:
        engine: What runs containers here.
        values: Of the deployment.
        facts: Of earlier releases.
    """

    def __init__(self, engine: Engine, values: ComposeValues, facts: dict[str, Any]) -> None:
        self.facts = facts
        self._engine = engine
        self._values = values
        self._folder = settings.home() / "deploy" / "compose" / values.name
        self._headers: dict[str, str] = {}
        self._spares = False

    def spare(self, documents: Sequence[Document]) -> None:
        """Notes whether the project has containers."""
        self._spares = bool(self._engine.containers(self._values.name))

    def apply(self, documents: Sequence[Document], bento: str, probe: Probe, say: Say) -> None:
        """Starts what the documents say, and waits until all of it is healthy."""
        say("pulling images and starting containers")
        variables = _variables(documents)
        token = variables.get(self._values.admin_token or "")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._write(documents)
        self.facts = {"address": _address(documents)}  # of these documents: values may be newer
        end = time.monotonic() + self._values.ready_within
        expected = _services(documents)
        try:
            self._compose(
                ("up", "--detach", "--remove-orphans"), variables, self._values.ready_within
            )
        except DeployFailed as error:
            # Compose waits for services that others depend on, and says nothing of their logs.
            found = self._engine.containers(self._values.name)
            ended = [self._ended(each) for each in found if _is_bad(each)]
            raise DeployFailed("; ".join((error.message.rstrip("."), *ended))) from error
        while waiting := self._waiting(expected):
            say(f"waiting for {', '.join(waiting)}")
            if time.monotonic() >= end:
                raise DeployFailed(self._late(waiting))
            time.sleep(POLL_SECONDS)

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        """Asks for a prediction at the published port."""
        body = {"inputs": rows, "endpoint": endpoint}
        url = f"{self.facts['address']}/predict"
        try:
            answer = httpx.post(
                url, json=body, headers=self._headers, timeout=CALL_SECONDS, trust_env=False
            )
        except httpx.HTTPError as error:
            raise DeployFailed(f"{url} does not answer: {error}") from error
        return Reply(answer.status_code, answer.content)

    def look(self, documents: Sequence[Document]) -> Seen:
        """Returns what runs, and where it is not what was sent."""
        found = self._engine.containers(self._values.name)
        if not found:
            return Seen("absent")
        expected = _services(documents)
        parts = tuple((each.service, _state(each)) for each in found)
        bad = [each for each in found if _is_bad(each)]
        absent = expected.keys() - {each.service for each in found}
        is_ready = all(_is_ready(each) for each in found) and not absent
        return Seen(
            state="failed" if bad else "ready" if is_ready else "progressing",
            address=_address(documents),
            parts=parts,
            differences=tuple(_differences(expected, found)),
            why="; ".join(f"{each.service}: {self._engine.last_words(each)}" for each in bad),
        )

    def delete(self, documents: Sequence[Document], say: Say) -> str:
        """Stops and removes the containers and networks; volumes stay.

        A project that is spared stays: what it was like before is not known here.
        """
        if self._spares:
            return (
                f"Nothing was taken away: the project {self._values.name} had containers before "
                "it, and those that are there now may be of either; deploy again what they were "
                "from, or `delete` them."
            )
        say("stopping and removing containers; volumes stay")
        self._write(documents)
        unset = dict.fromkeys(_variables(documents), "unset")  # Compose wants them for all it does
        self._compose(("down", "--remove-orphans"), unset, STOP_SECONDS)
        shutil.rmtree(self._folder)
        return ""

    def _write(self, documents: Sequence[Document]) -> None:
        """Writes the files; containers of any user must be able to read them.

        What is there already stays the same file in the same folder: a container that goes on
        running sees it through its mount.
        """
        wanted = set()
        for document in documents:
            if document.name == ENVIRONMENT:
                continue
            path = self._folder / document.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = document.content
            path.write_text(content if isinstance(content, str) else text([document]))
            wanted.add(path)
        for path in (self._folder, *self._folder.rglob("*")):
            if path.is_file() and path not in wanted:
                path.unlink()
            else:
                path.chmod(0o755 if path.is_dir() else 0o644)

    def _compose(self, words: Sequence[str], variables: Mapping[str, str], seconds: float) -> None:
        place = ("--project-name", self._values.name, "--file", str(self._folder / FILE))
        self._engine.run_compose((*place, *words), variables, seconds)

    def _waiting(self, expected: Mapping[str, Any]) -> list[str]:
        """Returns the services that are not ready yet.

        Raises:
            DeployFailed: One of them has ended.
        """
        found = {each.service: each for each in self._engine.containers(self._values.name)}
        for each in found.values():
            if _is_bad(each):
                raise DeployFailed(self._ended(each))
        return [name for name in expected if name not in found or not _is_ready(found[name])]

    def _ended(self, container: Container) -> str:
        words = self._engine.last_words(container)
        return f"{container.service} is {_state(container)}; its log ends: {words}"

    def _late(self, waiting: Sequence[str]) -> str:
        found = self._engine.containers(self._values.name)
        said = [
            f"the log of {each.service} ends: {self._engine.last_words(each)}"
            for each in found
            if each.service in waiting
        ]
        return (
            f"{', '.join(waiting)} did not become healthy within "
            f"{self._values.ready_within:g} s; {'; '.join(said)}"
        )


def _variables(documents: Sequence[Document]) -> dict[str, str]:
    for document in documents:
        if document.name == ENVIRONMENT and isinstance(document.content, dict):
            return document.content
    return {}


def _services(documents: Sequence[Document]) -> dict[str, Any]:
    for document in documents:
        if document.name == FILE and isinstance(document.content, dict):
            found: dict[str, Any] = document.content["services"]
            return found
    return {}


def _address(documents: Sequence[Document]) -> str:
    """Returns where the server of these documents is reached from this machine."""
    (published,) = _services(documents)["server"]["ports"]
    host, port, _ = published.rsplit(":", 2)
    here = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"http://{here}:{port}"


def _state(container: Container) -> str:
    if container.status in DEAD:
        return f"{container.status} ({container.exit_code})"
    return ", ".join(filter(None, (container.status, container.health)))


def _is_bad(container: Container) -> bool:
    return container.status in DEAD or container.health == "unhealthy"


def _is_ready(container: Container) -> bool:
    return container.status == "running" and container.health in ("", "healthy")


def _differences(expected: Mapping[str, Any], found: Sequence[Container]) -> Iterator[str]:
    """Yields a sentence for each thing that is not as it was sent."""
    for name in sorted(expected.keys() - {each.service for each in found}):
        yield f"{name} is not there."
    for each in found:
        sent = expected.get(each.service)
        if sent is None:
            yield f"{each.service} is there, but was not sent."
            continue
        limits = sent["deploy"]["resources"]["limits"]
        if each.labels.get(SENT) != sent["labels"][SENT]:
            yield f"{each.service} is not the one that was sent."
        elif not each.image.endswith(sent["image"]):
            yield f"{each.service} runs the image {each.image}, not {sent['image']}."
        elif each.memory != bytes_of(limits["memory"]):
            yield f"{each.service} may use {each.memory >> 20} MiB, not {limits['memory']}."
        elif abs(each.cpus - float(limits["cpus"])) > 1e-3:
            yield f"{each.service} may use {each.cpus:g} cores, not {limits['cpus']}."
