"""(a) The limit: an ASGI app that parses and writes the JSON of the digits endpoint, nothing else.

Run as `uvicorn benchmarks.peers.bare_uvicorn:app --loop uvloop --http httptools --no-access-log`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

__all__ = ["app"]

PROBABILITIES = [
    *(0.0038729236, 0.000017969984, 0.00009283016, 0.0000045226902, 0.00023703203),
    *(0.00027435742, 0.98741466, 0.0000032552484, 0.008082017, 3.2470183e-7),
]
"""Ten numbers as long as the model's float32 probabilities are in JSON."""


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answers every POST with one prediction a row, in the shape of Switchyard's answer."""
    if scope["type"] != "http":
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    rows = len(orjson.loads(body)["inputs"])
    request_id = uuid.uuid4().hex[:22]
    answer = orjson.dumps(
        {
            "request_id": request_id,
            "endpoint": "digits",
            "variant": "sklearn",
            "model": "digits-sklearn:k3v7wqhpcwzymaav",
            "predictions": [6] * rows,
            "probabilities": [PROBABILITIES] * rows,
            "confidence": [PROBABILITIES[6]] * rows,
            "latency_ms": 1.234,
        }
    )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer)),
        (b"x-request-id", request_id.encode()),
        (b"x-switchyard-variant", b"sklearn"),
        (b"x-switchyard-model", b"digits-sklearn:k3v7wqhpcwzymaav"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
