"""Is this router ready, is it alive, and what does it serve."""

from __future__ import annotations

import time
from typing import Any

import orjson

from services.dataplane.endpoint import Endpoint
from services.dataplane.lean import JSON, Receive, Scope, Send, respond
from services.dataplane.link import HostLink

__all__ = ["Health"]

DEAD_HOST_SECONDS = 30.0
PLAIN = (b"content-type", b"text/plain; charset=utf-8")


class Health:
    """Answers the probes of orchestrators and the questions of people.

    Args:
        endpoints: The endpoints by name.
        links: The hosts by framework.

    Attributes:
        leaving: Whether this router has been told to stop.
    """

    def __init__(self, endpoints: dict[str, Endpoint], links: dict[str, HostLink]) -> None:
        self.endpoints = endpoints
        self.links = links
        self.leaving = False
        self._was_complete = False

    @property
    def complete(self) -> bool:
        """Whether every variant of every endpoint has been loaded and warm at one time."""
        if not self._was_complete:
            self._was_complete = all(e.complete for e in self.endpoints.values())
        return self._was_complete

    @property
    def ready(self) -> bool:
        """Whether requests should come here.

        Not before everything is loaded and warm; after that, as long as each endpoint has a variant
        that can answer: one dead host must not take every router out of service.
        """
        return self.complete and not self.leaving and all(e.ready for e in self.endpoints.values())

    @property
    def alive(self) -> bool:
        """Whether a restart would not help: false when a host of this serve stays dead.

        A host that has not been up yet may still be loading, which `ready` tells.
        """
        now = time.monotonic()
        return not any(
            link.local and link.down_since is not None and now - link.down_since > DEAD_HOST_SECONDS
            for link in self.links.values()
        )

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
                name: {"up": link.up, "local": link.local, **link.status}
                for name, link in self.links.items()
            },
        }

    async def health(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `GET /health`."""
        return await respond(send, 200, [JSON], orjson.dumps(self.report()))

    async def readyz(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `GET /readyz`."""
        return await respond(send, 200 if self.ready else 503, [PLAIN], b"\n")

    async def livez(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `GET /livez` and `GET /healthz`."""
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
