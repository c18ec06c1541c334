"""(a) The limit: an ASGI app that parses and writes the JSON of the digits endpoint, nothing else.

On the paths of `benchmarks.peers.decoding` it decodes a batch and answers the number of its rows.

Run as `uvicorn benchmarks.peers.bare_uvicorn:app --loop uvloop --http httptools --no-access-log`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from benchmarks.peers.decoding import DECODERS

__all__ = ["app"]

PROBABILITIES = [
    *(0.0038729236, 0.000017969984, 0.00009283016, 0.0000045226902, 0.00023703203),
    *(0.00027435742, 0.98741466, 0.0000032552484, 0.008082017, 3.2470183e-7),
]
"""Ten numbers as long as the model's float32 probabilities are in JSON."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Send,
) -> None:
    """Answers a POST with one prediction a row, in the shape of Switchyard's answer."""
    if scope["type"] != "http":
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    decode = DECODERS.get(scope["path"])
    if decode is not None:
        await _send(send, orjson.dumps({"rows": decode(body)}), [])
        return
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
        (b"x-request-id", request_id.encode()),
        (b"x-switchyard-variant", b"sklearn"),
        (b"x-switchyard-model", b"digits-sklearn:k3v7wqhpcwzymaav"),
    ]
    await _send(send, answer, headers)


async def _send(send: Send, answer: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    start = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer)),
        *headers,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    await send({"type": "http.response.body", "body": answer})
