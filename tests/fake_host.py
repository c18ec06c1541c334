"""A host on a Unix socket that does with each request what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvloop

from services.dataplane.hop import Address, HopClient
from services.dataplane.link import STATUS_PATH, HostLink, infer_path
from services.wire import oip
from switchyard.errors import SwitchyardError

Reply = Callable[[], Awaitable[bytes | None]]
"""What a host does with one request: the bytes of its answer, or None to hang up."""


class Broken(bytes):
    """The beginning of an answer, after which the host hangs up."""


TAG = "flights-torch:v1"
PATH = infer_path("flights-torch", "v1")
OUTPUT = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
BODY = b"rows"


def http(status: int, body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


def loaded(**models: str | None) -> bytes:
    return http(200, orjson.dumps({"device": "cpu", "models": models or {TAG: None}}))


def answered() -> bytes:
    length, body = oip.pack_output(OUTPUT)
    return http(200, body, f"inference-header-content-length: {length}\r\nx-compute-us: 1500\r\n")


def refused(error: SwitchyardError) -> bytes:
    return http(error.status, orjson.dumps(error.body()))


class Host:
    """A host on a Unix socket; what it does with each request is up to the test."""

    def __init__(self) -> None:
        self.status: Reply = always(loaded())
        self.infer: Reply = always(answered())
        self.paths: list[str] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                path = head[0].split()[1]
                body = await reader.readexactly(int(headers["content-length"]))
                if path != STATUS_PATH:
                    self.paths.append(path)
                    self.bodies.append(body)
                reply = await (self.status if path == STATUS_PATH else self.infer)()
                if reply is None:
                    return
                writer.write(reply)
                if isinstance(reply, Broken):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def always(reply: bytes | None) -> Reply:
    async def give() -> bytes | None:
        return reply

    return give


def in_turn(*replies: bytes | None) -> Reply:
    left = iter(replies)

    async def give() -> bytes | None:
        return next(left)

    return give


class Silence:
    """A host that takes a request and does not answer."""

    def __init__(self) -> None:
        self.met = asyncio.Event()

    async def __call__(self) -> bytes | None:
        self.met.set()
        await asyncio.Event().wait()
        return None


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[tuple[Host, HostLink]]:
    host = Host()
    socket = folder / "host.sock"
    server = await asyncio.start_unix_server(host.serve, str(socket))
    client = HopClient(Address.parse(f"file://{socket}", token="unused"))
    try:
        yield host, HostLink("torch", client, local=True)
    finally:
        client.close()
        server.close()


def run(scenario: Callable[[], Awaitable[Any]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):  # a call that hangs fails its test
            await scenario()

    uvloop.run(limited())
