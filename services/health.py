"""Is this router ready, is it alive, and what does it serve."""

from __future__ import annotations

import time
from typing import Any

import orjson

from services.board import Board
from services.dataplane.endpoint import Endpoint
from services.dataplane.lean import JSON, Receive, Scope, Send, respond
from services.dataplane.link import HostLink

__all__ = ["Health"]

DEAD_SECONDS = 30.0
"""How long a host of this serve, or another worker of the router, may be away or silent."""

RECENT_SECONDS = 2.0
"""Workers that have spoken within so many seconds are there at the same time."""

PLAIN = (b"content-type", b"text/plain; charset=utf-8")


class Health:
    """Answers the probes of orchestrators and the questions of people.

    Args:
        endpoints: The endpoints by name.
        links: The hosts by framework.
        board: Where the workers of this router tell each other how they are.
        workers: How many of them there are by the plan.

    Attributes:
        leaving: Whether this router has been told to stop.
    """

    def __init__(
        self,
        endpoints: dict[str, Endpoint],
        links: dict[str, HostLink],
        board: Board,
        workers: int = 1,
    ) -> None:
        self.endpoints = endpoints
        self.links = links
        self.leaving = False
        self._board = board
        self._planned = workers
        self._expected = 0
        self._was_complete = False

    @property
    def complete(self) -> bool:
        """Whether every variant of every endpoint has been loaded and warm at one time."""
        if not self._was_complete:
            self._was_complete = all(e.complete for e in self.endpoints.values())
        return self._was_complete

    @property
    def ready(self) -> bool:
        """Whether requests should come to this worker.

        Not before everything is loaded and warm; after that, as long as each endpoint has a variant
        that can answer: one dead host must not take every router out of service.
        """
        return self.complete and not self.leaving and all(e.ready for e in self.endpoints.values())

    @property
    def alive(self) -> bool:
        """Whether a restart would not help.

        False when a host of this serve, or another worker of this router, stays dead. A host that
        has not been up yet may still be loading, which `ready` tells; a worker that has never
        spoken may still be starting.
        """
        now = time.monotonic()
        dead = any(
            link.local and link.down_since is not None and now - link.down_since > DEAD_SECONDS
            for link in self.links.values()
        )
        return not dead and self._board.heard(DEAD_SECONDS) >= self._expected

    def tell(self) -> None:
        """Tells the other workers how this one is; to be called again and again.

        One that is started again may speak in another place than the one before it: what counts is
        how many speak, and never are more expected than there should be.
        """
        self._board.say(ready=self.ready)
        heard = self._board.heard(RECENT_SECONDS)
        self._expected = min(max(self._expected, heard), self._planned)

    def report(self) -> dict[str, Any]:
        """Returns what is loaded where."""
        state = "ready" if self.ready else "starting" if not self.complete else "not ready"
        return {
            "status": state,
            "endpoints": {
                name: {"ready": endpoint.ready, "variants": _variants(endpoint)}
                for name, endpoint in self.endpoints.items()
            },
            "hosts": {
                name: {"up": link.up, "local": link.local, "trouble": link.trouble, **link.status}
                for name, link in self.links.items()
            },
        }

    async def health(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `GET /health`."""
        return await respond(send, 200, [JSON], orjson.dumps(self.report()))

    async def readyz(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `GET /readyz`: yes only when every worker of this router says so."""
        self.tell()
        return await respond(send, 200 if self._board.all_ready() else 503, [PLAIN], b"\n")

    async def livez(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `GET /livez` and `GET /healthz`."""
        self.tell()
        return await respond(send, 200 if self.alive else 503, [PLAIN], b"\n")


def _variants(endpoint: Endpoint) -> dict[str, Any]:
    return {
        name: {
            "model": variant.tag,
            "framework": variant.spec.manifest.framework,
            "ready": variant.ready,
            "circuit": variant.circuit.state,
            "device": variant.link.status.get("device"),
        }
        for name, variant in endpoint.variants.items()
    }
