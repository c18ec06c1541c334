"""The smoke test: a release is good when it answers a row of its model's own reference data."""

from __future__ import annotations

import time
from typing import Any, Final

import orjson

from deploy.bento import Bento
from deploy.errors import DeployFailed
from deploy.target import Platform, Reply, Say
from deploy.values import Smoke
from switchyard.errors import SwitchyardError, brief

__all__ = ["smoke_test"]

RETRY_SECONDS: Final = 1.0
SHOWN: Final = 300
"""Characters of an answer that an error shows."""


def smoke_test(platform: Platform, bento: Bento, asked: Smoke, say: Say) -> None:
    """Asks for one prediction through the public address until it comes.

    A new address may take a while until it answers, so refusals are asked again; what is answered
    with something else than a prediction for the row has failed at once.

    Args:
        platform: Where the release is.
        bento: What was deployed.
        asked: Endpoint, and how long to wait.
        say: Takes progress.

    Raises:
        DeployFailed: No prediction came in time, or something else than one.
    """
    endpoint = asked.endpoint or bento.plan.default_endpoint or next(iter(bento.plan.endpoints))
    rows = bento.sample(endpoint)
    say(f"asking {endpoint!r} for a row of its reference data")
    end = time.monotonic() + asked.within
    while True:
        problem = _try(platform, rows, endpoint)
        if problem is None:
            return
        if time.monotonic() >= end:
            raise DeployFailed(f"The smoke test of {endpoint!r} failed: {problem}")
        time.sleep(RETRY_SECONDS)


def _try(platform: Platform, rows: list[dict[str, Any]], endpoint: str) -> str | None:
    """Returns what is wrong for now, None if nothing is."""
    try:
        reply = platform.call(rows, endpoint)
    except SwitchyardError as error:
        return error.message
    except OSError as error:
        return brief(error)
    if reply.status != 200:
        return f"the answer was HTTP {reply.status}: {_shown(reply)}"
    try:
        found = orjson.loads(reply.body)
        predictions = found["predictions"]
        complete = len(predictions) == len(rows) and None not in predictions
    except (orjson.JSONDecodeError, KeyError, TypeError):
        complete = False
    if not complete:
        raise DeployFailed(
            f"The smoke test of {endpoint!r} failed: the answer holds no prediction for the row: "
            f"{_shown(reply)}"
        )
    return None


def _shown(reply: Reply) -> str:
    text = " ".join(reply.body.decode("utf-8", "replace").split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
