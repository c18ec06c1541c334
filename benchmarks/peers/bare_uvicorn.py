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
    *(0.00012043215678219842, 0.0021568034219847123, 0.9541239870213984, 0.010239847219384721),
    *(0.00043298471293847123, 0.0031298471239847129, 0.0092384712938471294, 0.01230984712),
    *(0.0071239847129384712, 0.0011238471293847123),
]
"""Ten numbers with as many digits as a model's float64 probabilities have."""


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
    request_id = uuid.uuid4().hex
    answer = orjson.dumps(
        {
            "request_id": request_id,
            "endpoint": "digits",
            "variant": "sklearn",
            "model": "digits-sklearn:k3v7wqhpcwzymaav",
            "predictions": [2] * rows,
            "probabilities": [PROBABILITIES] * rows,
            "confidence": [PROBABILITIES[2]] * rows,
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
