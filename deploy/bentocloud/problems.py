"""What BentoCloud says where something went wrong, in one plain sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.errors import DeployFailed

__all__ = ["told"]

DENIED = (401, 403)


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turns what BentoML's client raises into sentences.

    Args:
        doing: What is being done, such as `deploying`.

    Raises:
        DeployFailed: BentoCloud refused it, or could not be reached.
    """
    import httpx
    from bentoml.exceptions import BentoMLException

    try:
        yield
    except BentoMLException as error:
        status = int(error.error_code)
        who = " (the API token; `bentoml cloud login` sets another)" if status in DENIED else ""
        raise DeployFailed(f"BentoCloud failed in {doing}{who}: {_said(error.message)}") from error
    except (httpx.HTTPError, OSError) as error:
        text = str(error) or type(error).__name__
        raise DeployFailed(f"BentoCloud could not be reached in {doing}: {text}.") from error


def _said(message: str) -> str:
    """Returns the message within the JSON that BentoML's client quotes, or the whole."""
    start = message.find("{")
    try:
        body = json.loads(message[start:]) if start >= 0 else {}
    except json.JSONDecodeError:
        body = {}
    found = next((body[key] for key in ("message", "error", "detail") if body.get(key)), message)
    return " ".join(str(found).split()).rstrip(".") + "."
