"""Requests that the end-to-end tests send."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from services.dataplane.hop import Address, HopClient, HopReply

FLIGHT: dict[str, Any] = {
    "scheduled_departure": "2013-07-04T18:30",
    "carrier": "UA",
    "origin": "EWR",
    "dest": "ORD",
    "distance": 719,
    "temp": 88.0,
    "dewp": 66.0,
    "humid": 48.5,
    "wind_dir": 220,
    "wind_speed": 11.5,
    "precip": 0.0,
    "pressure": 1016.2,
    "visib": 10.0,
}


def flight(**changes: Any) -> dict[str, Any]:
    return {**FLIGHT, **changes}


def flights(count: int) -> list[dict[str, Any]]:
    """Rows that all differ, by distance."""
    return [flight(distance=100 + row) for row in range(count)]


def digits(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 17, size=(count, 64)).astype(np.float32)


def send_all(
    port: int, bodies: Iterable[dict[str, Any]], headers: str = "", at_once: int = 32
) -> list[HopReply]:
    """Posts many JSON bodies to `/predict` over kept connections; answers in order."""
    requests = [orjson.dumps(body) for body in bodies]
    line = f"content-type: application/json\r\n{headers}"

    async def scenario() -> list[HopReply]:
        client = HopClient(Address(host="127.0.0.1", port=port), connections=at_once)
        free = asyncio.Semaphore(at_once)

        async def one(body: bytes) -> HopReply:
            async with free:
                return await client.request("POST", "/predict", body, line, timeout=30)

        try:
            return await asyncio.gather(*map(one, requests))
        finally:
            client.close()

    return asyncio.run(scenario())
