"""The hop from router to host: one HTTP/1.1 request per batch over pooled keep-alive connections.

A general client spends most of a small call on its own features. The hop needs one: POST bytes, get
bytes back, over a Unix socket or TCP. Requests on one connection are never pipelined; a batch takes
an idle connection or opens a new one, so several batches can be in flight and, where a host has
several workers behind one socket, they spread over them.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections import deque
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

__all__ = ["Address", "HopClient", "HopClosed", "HopReply"]

TCP_SECONDS = (15.0, 30.0)
"""How long a connection over TCP is used: one address may stand for several hosts, and one that has
just been added gets its share only by new connections. The time is drawn, so that they do not all
end at once."""


class HopClosed(ConnectionError):
    """The connection ended before the whole answer was there.

    Attributes:
        begun: Whether a part of the answer had come.
    """

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun


@dataclass(slots=True)
class HopReply:
    """An answer of a host.

    Attributes:
        status: HTTP status.
        headers: Lower-case names to values.
        body: The whole body.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where a host listens: a Unix socket (`path`) or a TCP `host` and `port`.

    Attributes:
        path: A path through which the socket can be reached even after its folder is gone.
        host: Host name or address for TCP.
        port: Port for TCP.
        token: Shared secret that a host on TCP asks for.
    """

    path: str | None = None
    host: str = "localhost"
    port: int = 0
    token: str | None = None

    @classmethod
    def parse(cls, url: str, token: str) -> Address:
        """Reads a `file://`, `tcp://` or `http://` address as BentoML and the plan write them.

        A Unix socket is opened with O_PATH and reached through `/proc/self/fd`: BentoML removes the
        socket's folder first when it stops, and requests that are still in the router must reach
        their host all the same.
        """
        parts = urlsplit(url)
        if parts.scheme == "file":
            descriptor = os.open(parts.path, os.O_PATH | os.O_CLOEXEC)
            return cls(path=f"/proc/self/fd/{descriptor}")
        return cls(host=parts.hostname or "localhost", port=parts.port or 80, token=token)


class _Connection(asyncio.Protocol):
    """One keep-alive connection; at most one request at a time.

    Attributes:
        transport: What it sends by.
        answer: Of the request that is on its way.
        closed: Whether it is of no more use.
        until: Event loop time after which it is not used again.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[HopReply] | None = None
        self.closed = False
        self.until = math.inf
        self._begun = False
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    async def call(self, head: bytes, body: bytes) -> HopReply:
        assert self.transport is not None
        self._begun = False
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.writelines((head, body))
        return await self.answer

    def close(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()  # a plain close would first wait for the host to read the rest

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(HopClosed(f"the host sent no valid HTTP: {error}", begun=True))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._fail(HopClosed("the host closed the connection", begun=self._begun))

    def _fail(self, error: Exception) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        reply = HopReply(self._parser.get_status_code(), self._headers, body)
        if not self._parser.should_keep_alive():
            self.closed = True
        self._reset()
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(reply)


class HopClient:
    """A pool of connections to one host.

    Args:
        address: Where the host listens.
        connections: Connections that are kept when idle; at least the number of its workers.
    """

    def __init__(self, address: Address, connections: int = 8) -> None:
        self.address = address
        self._idle: deque[_Connection] = deque()
        self._busy: set[_Connection] = set()
        self._kept = connections
        host = "localhost" if address.path else f"{address.host}:{address.port}"
        self._fixed = f"host: {host}\r\n"
        if address.token is not None:
            self._fixed += f"authorization: Bearer {address.token}\r\n"

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: str = "", timeout: float = 1.0
    ) -> HopReply:
        """Sends one request and returns the whole answer.

        Args:
            method: HTTP method.
            path: Path on the host.
            body: Body; its length is set.
            headers: Further header lines, each ended by CRLF.
            timeout: Seconds for connecting and the whole answer.

        Raises:
            HopClosed: The host refused the connection or ended it before the answer was whole.
            TimeoutError: The answer did not come in time.
        """
        head = (
            f"{method} {path} HTTP/1.1\r\n{self._fixed}{headers}content-length: {len(body)}\r\n\r\n"
        ).encode("latin-1")
        async with asyncio.timeout(timeout):
            connection = self._take() or await self._connect()
            self._busy.add(connection)
            try:
                reply = await connection.call(head, body)
            except BaseException:
                connection.close()  # a late answer must never be taken for the next one's
                raise
            finally:
                self._busy.discard(connection)
        is_fresh = asyncio.get_running_loop().time() < connection.until
        if is_fresh and not connection.closed and len(self._idle) < self._kept:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.popleft()  # the longest idle: spreads over the workers
            if not connection.closed:
                return connection
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            if self.address.path is not None:
                _, connection = await loop.create_unix_connection(_Connection, self.address.path)
            else:
                _, connection = await loop.create_connection(
                    _Connection, self.address.host, self.address.port
                )
                connection.until = loop.time() + random.uniform(*TCP_SECONDS)
        except OSError as error:
            raise HopClosed(f"the host cannot be reached: {error}") from error
        return connection

    def drop_idle(self) -> None:
        """Closes the idle connections, which a host that went away has closed as well."""
        while self._idle:
            self._idle.popleft().close()

    def close(self) -> None:
        """Closes all connections; calls in flight end with HopClosed."""
        self.drop_idle()
        for connection in tuple(self._busy):
            connection.close()
