"""The smoke test: a release is good when it answers a row of its model's own reference data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from deploy.bento import Bento
from deploy.errors import DeployFailed
from deploy.target import Platform, Reply, Say
from deploy.values import Smoke
from switchyard.errors import SwitchyardError, brief

__all__ = ["Probe", "smoke_test"]

RETRY_SECONDS: Final = 1.0
SHOWN: Final = 300
"""Characters of an answer that an error shows."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a release is asked.

    It is recorded with the release: whoever takes it up again may not have its Bento any more.

    Attributes:
        endpoint: Name of the endpoint.
        rows: Rows of the reference data of its stable model.
        within: Seconds that the address may need until it answers.
    """

    endpoint: str
    rows: list[dict[str, Any]]
    within: float

    @classmethod
    def of(cls, bento: Bento, asked: Smoke) -> Probe:
        """Returns the probe of a Bento.

        Args:
            bento: What is deployed.
            asked: Endpoint, and how long to wait.

        Raises:
            NotFound: There is no such endpoint, or the store does not hold its model.
        """
        endpoint = asked.endpoint or bento.plan.default_endpoint or next(iter(bento.plan.endpoints))
        return cls(endpoint, bento.sample(endpoint), asked.within)

    def as_dict(self) -> dict[str, Any]:
        """Returns the form that the state database holds."""
        return {"endpoint": self.endpoint, "rows": self.rows, "within": self.within}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Probe:
        """Returns a probe that the state database holds."""
        return cls(held["endpoint"], held["rows"], held["within"])


def smoke_test(platform: Platform, probe: Probe, say: Say) -> None:
    """Asks for one prediction through the public address until it comes.

    A new address may take a while until it answers, so refusals are asked again; what is answered
    with something else than a prediction for the row has failed at once.

    Args:
        platform: Where the release is.
        probe: What it is asked.
        say: Takes progress.

    Raises:
        DeployFailed: No prediction came in time, or something else than one.
    """
    say(f"asking {probe.endpoint!r} for a row of its reference data")
    end = time.monotonic() + probe.within
    while True:
        problem = _try(platform, probe)
        if problem is None:
            return
        if time.monotonic() >= end:
            raise DeployFailed(f"The smoke test of {probe.endpoint!r} failed: {problem}")
        time.sleep(RETRY_SECONDS)


def _try(platform: Platform, probe: Probe) -> str | None:
    """Returns what is wrong for now, None if nothing is."""
    try:
        reply = platform.call(probe.rows, probe.endpoint)
    except SwitchyardError as error:
        return error.message
    except OSError as error:
        return brief(error)
    if reply.status != 200:
        return f"the answer was HTTP {reply.status}: {_shown(reply)}"
    try:
        found = orjson.loads(reply.body)
        predictions = found["predictions"]
        complete = len(predictions) == len(probe.rows) and None not in predictions
    except (orjson.JSONDecodeError, KeyError, TypeError):
        complete = False
    if not complete:
        raise DeployFailed(
            f"The smoke test of {probe.endpoint!r} failed: the answer holds no prediction for the "
            f"row: {_shown(reply)}"
        )
    return None


def _shown(reply: Reply) -> str:
    text = " ".join(reply.body.decode("utf-8", "replace").split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
