"""The client of a replay: few routes, kept connections, and patience with a busy server."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from pydantic import TypeAdapter

from models.schema import Field
from switchyard.errors import InvalidInput, NotFound, NotReady, SwitchyardError, Unauthorized

__all__ = ["CONNECTIONS", "Client", "Target"]

CONNECTIONS: Final = 32
"""Requests that are under way at a time; what is due beyond them waits."""

PATIENCE_SECONDS: Final = 30.0
"""How long a request is tried again: a host that was killed is back within 15 s."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
ANSWER_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 4.0
"""How long an idle connection is kept: uvicorn closes its side after 5 s."""

BUSY: Final = frozenset({429, 503})
FATAL: Final = frozenset({401, 403, 404, 405})
"""Refusals that every other request would meet as well."""

_FIELDS: Final = TypeAdapter(list[Field])


class Target:
    """The endpoint that a replay goes to, as its server describes it.

    Args:
        document: The answer of `GET /admin/v1/endpoints/{e}`.

    Attributes:
        fields: What it takes.
        max_rows: Most rows of one request.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.fields: list[Field] = _FIELDS.validate_python(document["schema"])
        self.max_rows: int = document["limits"]["max_rows"]


class Client:
    """Talks to one server; to be used as an asynchronous context manager.

    Args:
        url: Its address.
        token: The admin token: only with it may a request say when it happened.
        patience: Seconds for which a request is tried again while the server is away or busy.

    Raises:
        InvalidInput: The address is none.
    """

    def __init__(self, url: str, token: str, patience: float = PATIENCE_SECONDS) -> None:
        if not _is_address(url):
            raise InvalidInput(
                f"{url!r} is no address of a server; write it like http://127.0.0.1:3000."
            )
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._patience = patience

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def target(self, endpoint: str) -> Target:
        """Asks what an endpoint takes; the one call that has no patience.

        Raises:
            NotReady: No server answers.
            Unauthorized: It does not take the token.
            NotFound: It has no such endpoint, or is no server of ours.
        """
        path = f"/admin/v1/endpoints/{quote(endpoint, safe='')}"
        try:
            status, content, _ = await self._once("GET", path, None, {})
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotReady(
                f"No server answers at {self.url} ({_reason(error)}); "
                "start it (`make serve`), or say where it is: --url."
            ) from error
        if status == 200:
            try:
                return Target(orjson.loads(content))
            except (KeyError, TypeError, ValueError) as error:
                raise NotFound(f"What answers at {self.url} is no Switchyard server.") from error
        sentence = _sentence(status, content)
        if status in (401, 403):
            raise Unauthorized(
                f"The server at {self.url} does not take the admin token of this machine "
                f"({sentence}); set SWITCHYARD_ADMIN_TOKEN to that server's."
            )
        raise NotFound(f"The server at {self.url} says: {sentence}")

    async def predict(
        self, endpoint: str, inputs: dict[str, Any], times: Sequence[Any], request_id: str
    ) -> dict[int, str]:
        """Sends rows; returns those that were not answered, with what the server says of each.

        Raises:
            NotReady: The server stayed away or busy for longer than the patience.
            SwitchyardError: It takes no request like this at all.
        """
        document = {
            "endpoint": endpoint, "inputs": inputs, "event_time": times, "on_error": "row",
        }  # fmt: skip
        body = orjson.dumps(document, default=_plain)
        status, content = await self._post("/predict", body, {"x-request-id": request_id})
        if status != 200:
            return dict.fromkeys(range(len(times)), _sentence(status, content))
        errors = orjson.loads(content).get("errors") or ()
        return {
            error["row"]: f"{error.get('field', 'the row')} {error['problem']}" for error in errors
        }

    async def feedback(self, items: Sequence[dict[str, Any]]) -> str | None:
        """Sends what became of rows; returns what the server says where it does not take it.

        Raises:
            NotReady: The server stayed away or busy for longer than the patience.
            SwitchyardError: It takes no feedback at all.
        """
        status, content = await self._post("/feedback", orjson.dumps(items, default=_plain), {})
        return None if status == 202 else _sentence(status, content)

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Posts until there is an answer that another try would not change."""
        end = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            wait = pause
            try:
                status, content, after = await self._once("POST", path, body, headers)
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"has stopped answering ({_reason(error)})"
            else:
                if status in FATAL:
                    raise SwitchyardError(
                        f"The server at {self.url} refuses {path}: {_sentence(status, content)}"
                    )
                if status not in BUSY:
                    return status, content
                problem = f"has no room ({_sentence(status, content)})"
                wait = max(pause, after)
            if time.monotonic() + wait > end:
                raise NotReady(
                    f"The server at {self.url} {problem}, for {self._patience:.0f} s and more."
                )
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, float]:
        """Returns status, body and `Retry-After` in seconds of one request."""
        url = self.url + path
        async with self._session.request(method, url, data=body, headers=headers) as response:
            content = await response.read()
            return response.status, content, _seconds(response.headers.get("retry-after", ""))


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is never closed
        return False


def _plain(value: Any) -> float | str:
    """Stands in for what JSON has no form of; the server says what is wrong with it."""
    return float(value) if isinstance(value, Decimal) else str(value)


def _seconds(retry_after: str) -> float:
    try:
        wait = float(retry_after)
    except ValueError:
        return 0.0
    return wait if math.isfinite(wait) and wait > 0 else 0.0


def _reason(error: BaseException) -> str:
    return str(error) or "no answer in time"


def _sentence(status: int, content: bytes) -> str:
    """Returns what a refusal says, with its first detail."""
    try:
        document = orjson.loads(content)
        details = document.get("details") or [{}]
        named = " ".join(str(details[0][key]) for key in ("field", "problem") if key in details[0])
        return f"{document['error']} {named}".strip()
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return f"status {status}"
