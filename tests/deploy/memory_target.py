"""A target whose platform lives in memory and misbehaves when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from deploy.bento import Bento
from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.smoke import Probe
from deploy.target import Reply, Say, Seen
from deploy.values import ImageValues, Secret
from switchyard.state import State

__all__ = ["ADDRESS", "SECRET", "Cloud", "MemoryTarget", "MemoryValues", "refusal", "statuses"]

ADDRESS = "https://flights.example.com"
SECRET = "sesame"


class MemoryValues(ImageValues):
    """What the target asks for.

    Attributes:
        token: A secret.
        key: What requests for a prediction show.
        spare_key: A secret that nothing needs.
        text: Words of the user's own.
        size: Something that makes releases differ.
        port: Where it is asked.
    """

    token: Secret = "TOKEN"
    key: Secret | None = None
    spare_key: Secret | None = None
    text: str = ""
    size: int = 1
    port: int = 443

    @property
    def asks_with(self) -> frozenset[str]:
        return frozenset() if self.key is None else frozenset({self.key})


@dataclass
class Cloud:
    """What is there, and what goes wrong next.

    Attributes:
        there: Documents by name, with their secrets.
        calls: What was asked of it, in order.
        on: What happens in a call of this name, each time; it may raise.
        answers: What the address answers by the image that is there; left out, a prediction.
    """

    there: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    on: dict[str, Callable[[], None]] = field(default_factory=dict)
    answers: dict[str, Reply | Exception] = field(default_factory=dict)

    def called(self, what: str) -> None:
        """Takes note of a call, and lets go wrong what is to go wrong in it."""
        self.calls.append(what)
        if what in self.on:
            self.on[what]()

    def image(self) -> str | None:
        """Returns the image that is there."""
        found = self.there.get("server")
        return None if found is None else str(found["image"])


class MemoryPlatform:
    """The cloud as one account sees it."""

    def __init__(self, cloud: Cloud, port: int, facts: dict[str, Any]) -> None:
        self._cloud = cloud
        self._port = port
        self.facts = facts
        self._spared: dict[str, Any] = {}

    def spare(self, documents: Sequence[Document]) -> None:
        self._cloud.called("spare")
        self._spared = dict(self._cloud.there)

    def apply(self, documents: Sequence[Document], bento: str, probe: Probe, say: Say) -> None:
        say("sending")
        self._cloud.called("apply")
        for document in documents:
            say(f"putting {document.name}")
            self._cloud.called(f"put {document.name}")
            self._cloud.there[document.name] = document.content
        kept = {each.name for each in documents} | set(self._spared)
        for name in set(self._cloud.there) - kept:
            del self._cloud.there[name]
        self._cloud.called("wait")
        self.facts = {"address": ADDRESS, "bento": bento}

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        self._cloud.called(f"call {endpoint}")
        if self._cloud.there["server"]["port"] != self._port:
            return Reply(404, b"nothing here")
        answer = self._cloud.answers.get(self._cloud.image() or "")
        if isinstance(answer, Exception):
            raise answer
        return answer or Reply(200, orjson.dumps({"predictions": [0] * len(rows)}))

    def look(self, documents: Sequence[Document]) -> Seen:
        self._cloud.called("look")
        if not self._cloud.there:
            return Seen("absent")
        found = tuple(
            f"{each.name} is there otherwise than it was sent."
            for each in documents
            if not _alike(self._cloud.there.get(each.name), each.content)
        )
        parts = tuple((name, "running") for name in self._cloud.there)
        return Seen("ready", self.facts.get("address"), parts, found)

    def delete(self, documents: Sequence[Document], say: Say) -> str:
        say("deleting")
        self._cloud.called("delete")
        for document in documents:
            self._cloud.there.pop(document.name, None)
        self._cloud.there.update(self._spared)
        return f"{', '.join(sorted(self._spared))} is there as before." if self._spared else ""


class MemoryTarget:
    """Places in a cloud."""

    name = "memory"
    values = MemoryValues

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def place(self, values: MemoryValues) -> str:
        return values.name

    def render(self, bento: Bento, values: MemoryValues) -> list[Document]:
        server = {
            "image": values.image,
            "bento": bento.tag,
            "token": f"${{{values.token}}}",
            "port": values.port,
        }
        if values.text:
            server["text"] = values.text
        sizes = [Document("size", {"size": values.size})] if values.size > 1 else []
        return [Document("server", server), *sizes]

    def connect(self, values: MemoryValues, facts: dict[str, Any]) -> MemoryPlatform:
        self._cloud.called("connect")
        return MemoryPlatform(self._cloud, values.port, facts)


def refusal(message: str) -> Callable[[], None]:
    """Returns something that goes wrong as a platform refuses."""

    def refuse() -> None:
        raise DeployFailed(message)

    return refuse


def statuses(state: State, place: str = "switchyard") -> list[str]:
    """Returns the statuses of a place's releases, the first one first."""
    return [each.status for each in reversed(state.releases("memory", place))]


def _alike(there: Any, sent: Any) -> bool:
    """Whether what is there is what was sent, whatever the secrets."""
    if isinstance(sent, dict) and isinstance(there, dict):
        return sent.keys() == there.keys() and all(_alike(there[key], sent[key]) for key in sent)
    return there == sent or (isinstance(sent, str) and sent.startswith("${"))
