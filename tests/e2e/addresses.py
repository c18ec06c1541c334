"""An address with changing servers behind it, as a Kubernetes Service is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from types import TracebackType

__all__ = ["ServiceAddress"]


class ServiceAddress:
    """Sends each new connection to one of its servers in turn; those it has stay where they are.

    Attributes:
        port: Where it listens.
        ports: Of the servers; where there is none, a connection is closed at once.
    """

    def __init__(self) -> None:
        self.ports: tuple[int, ...] = ()
        self.port = 0
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ServiceAddress:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports = self.ports
        there = None
        with contextlib.suppress(OSError):
            if ports:
                port = ports[next(self._turn) % len(ports)]
                there = await asyncio.open_connection("127.0.0.1", port)
        if there is None:
            writer.transport.abort()
            return
        await asyncio.gather(_relay(reader, there[1]), _relay(there[0], writer))


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes bytes on until one side ends, and then the end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
