"""The router's link to one host: is it there, what has it loaded, run this batch.

A killed worker is restarted within ten seconds, and meanwhile its listening socket still accepts:
calls would hang, not fail. So a link probes its host with a limit of its own, refuses at once while
the host is away, and ends what is in flight when it goes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any

import numpy as np
import orjson

from monitoring.telemetry.traces import Traces
from services.dataplane.backlog import Backlog
from services.dataplane.hop import HopClient, HopClosed, HopReply
from services.wire import oip
from switchyard.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NotReady,
    Problem,
    SwitchyardError,
)

__all__ = ["INFER_PREFIX", "STATUS_PATH", "HostLink", "infer_path", "tag_of_path"]

logger = logging.getLogger("switchyard.router")

STATUS_PATH = "/switchyard/host"
INFER_PREFIX = "/v2/models/"
PROBE_LIMIT_SECONDS = 0.7
PROBES = 2

PAUSES = (0.005, 0.01)
"""Longest pause before each repetition of a call, in seconds."""

Array = np.ndarray[Any, Any]


def infer_path(model: str, version: str) -> str:
    """Returns the path of the Open Inference Protocol under which a host runs a version."""
    return f"{INFER_PREFIX}{model}/versions/{version}/infer"


def tag_of_path(path: str) -> str:
    """Returns the tag of a path that may be one of `infer_path`'s, `?` if it is none."""
    match path.removeprefix(INFER_PREFIX).split("/"):
        case [model, "versions", version, "infer"]:
            return f"{model}:{version}"
    return "?"


class HostLink:
    """One host as the router sees it.

    Args:
        framework: Name of the host in the plan.
        client: Connections to it.
        local: Whether this serve started the host itself.
        backlog: Of the machine that the host shares with others; left out, it has one to itself.
        traces: The spans of this process, if there are any.

    Attributes:
        status: Last answer to a probe: `device`, `models` (loaded tags to null or what failed).
        up: Whether it is taken for alive.
        down_since: `time.monotonic()` since when it is away; None while it is up, and before it
            has been up for the first time: how long loading may take is not for us to say.
        trouble: Why the last probe failed; None where it did not.
    """

    def __init__(
        self,
        framework: str,
        client: HopClient,
        *,
        local: bool,
        backlog: Backlog | None = None,
        traces: Traces | None = None,
    ) -> None:
        self.framework = framework
        self.client = client
        self.local = local
        self.backlog = backlog or Backlog()
        self.traces = traces
        self.status: dict[str, Any] = {}
        self.up = False
        self.down_since: float | None = None
        self.trouble: str | None = None

    def serves(self, tag: str) -> bool:
        """Tells whether a model version is loaded and warm on a host that answers."""
        return self.up and self.status.get("models", {}).get(tag, "absent") is None

    async def probe(self) -> bool:
        """Asks the host for its status and returns whether it is there.

        One failure may be a host that computes without a pause, or a connection that was just
        closed, so it is asked again; at once, because a dead host must be known as dead before the
        time limit of the requests that are on their way to it.
        """
        trouble = await self._ask()
        for _ in range(PROBES - 1):
            if trouble is not None and self.up:
                trouble = await self._ask()
        self._note(trouble)
        if trouble is not None and self.up:
            self.up, self.down_since = False, time.monotonic()
            self.client.close()  # ends what is in flight: nobody will answer it
        return trouble is None

    async def _ask(self) -> str | None:
        """Asks once and returns what is wrong, None if nothing is."""
        try:
            reply = await self.client.request("GET", STATUS_PATH, timeout=PROBE_LIMIT_SECONDS)
            if reply.status != 200:
                raise _refusal(reply)
            status = orjson.loads(reply.body)
        except TimeoutError:
            return f"it does not answer within {PROBE_LIMIT_SECONDS} s"
        except HopClosed as error:
            return str(error)
        except SwitchyardError as error:
            return error.message
        except orjson.JSONDecodeError:
            return "what answers there is no host of Switchyard"
        self.status = status
        self.up, self.down_since = True, None
        return None

    def _note(self, trouble: str | None) -> None:
        """Notes what came of a probe.

        Of a host elsewhere nothing but its answers is known here, so they are logged as they
        change: a wrong address or token would otherwise look like a host that still loads.
        """
        if trouble != self.trouble and not self.local:
            address = self.client.address
            where = f"the {self.framework} host at {address.host}:{address.port}"
            if trouble is None:
                logger.info("%s is there", where)
            else:
                logger.warning("%s: %s", where, trouble)
        self.trouble = trouble

    async def infer(
        self, path: str, header_length: int, body: bytes, timeout: float, more: str = ""
    ) -> tuple[Array, float]:
        """Runs one batch.

        A call whose connection ended before any byte of the answer is repeated, at most twice, if
        the host still answers: hosts close idle connections by their own clock, one worker of
        several may have died, and a prediction may be asked for twice.

        Args:
            path: From `infer_path`.
            header_length: Length of the JSON header within the body.
            body: From `services.wire.oip.pack`.
            timeout: Seconds for the whole call.
            more: Further lines of headers, each with its end.

        Returns:
            The model's output (rows, k), and the seconds it computed.

        Raises:
            NotReady: The host is away or has not loaded the version.
            DeadlineExceeded: The host is there and did not answer in time.
            ModelFailed: The model raised on this batch.
        """
        if not self.up:
            raise self._away()
        headers = f"inference-header-content-length: {header_length}\r\n{more}"
        try:
            reply = await self._ask_again(path, body, headers, timeout)
        except HopClosed as error:
            raise self._away() from error
        except TimeoutError as error:
            raise DeadlineExceeded("The model did not answer within the time limit.") from error
        if reply.status != 200:
            raise _refusal(reply)
        length = int(reply.headers[b"inference-header-content-length"])
        computed = int(reply.headers[b"x-compute-us"]) / 1e6
        return oip.unpack_output(reply.body, length), computed

    async def _ask_again(self, path: str, body: bytes, headers: str, timeout: float) -> HopReply:
        """Sends a batch, again where that is safe and of use."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        for pause in PAUSES:
            try:
                return await self.client.request("POST", path, body, headers, timeout)
            except HopClosed as error:
                self.client.drop_idle()  # one worker of several may have died: ask the others
                # Where a probe has just ended this call, another would take its time limit's rest.
                if error.begun or not self.up or not await self.probe():
                    raise
            # Calls that failed together do not come back together: "full jitter" of M. Brooker,
            # "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
            await asyncio.sleep(random.uniform(0, pause))
            timeout = deadline - loop.time()
            if timeout <= 0:
                raise TimeoutError("there is no time left to ask again")
        return await self.client.request("POST", path, body, headers, timeout)

    def _away(self) -> NotReady:
        return NotReady(
            f"The {self.framework} host does not answer; it is restarted by itself. Try again.",
            retry_after=1.0,
        )


def _refusal(reply: HopReply) -> SwitchyardError:
    """Turns a host's error back into the exception that it was there."""
    try:
        problem = orjson.loads(reply.body)
        message = str(problem["error"])
        details = [Problem(d["problem"], d.get("row"), d.get("field")) for d in problem["details"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):  # a proxy's, or the server's own
        return NotReady(f"The host answered with status {reply.status}. Try again.", retry_after=1)
    kinds = {error.code: error for error in (ModelFailed, InvalidInput)}
    return kinds.get(problem["code"], NotReady)(message, details)
