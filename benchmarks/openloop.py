"""Load from an open loop: requests leave at a fixed rate, whether or not answers come back.

Each latency counts from the moment at which the request was due, not from when it was sent, so a
server that stalls pays for every request of the stall (no coordinated omission; the way of wrk2).
A plain loop over epoll with sleeps of microseconds: asyncio's timers have a grain of 1 ms, which
would add up to 1 ms of the tool's own to each latency.
"""

from __future__ import annotations

import contextlib
import gc
import re
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.errors import BenchmarkError

__all__ = ["OpenLoad", "drive"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """What one open-loop run gave.

    Attributes:
        offered_per_second: Rate at which requests were due.
        offered: Requests that were due.
        answers: Answers received, whatever their status.
        p50_ms: Median latency from the moment a request was due.
        p99_ms: 99th percentile of that latency.
        max_ms: Largest latency.
        lag_p99_ms: 99th percentile of how late the tool itself sent, part of the latencies above.
        non_2xx: Answers with a status outside 200 to 299.
        socket_errors: Requests without an answer: the connection broke or time ran out.
    """

    offered_per_second: float
    offered: int
    answers: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    lag_p99_ms: float
    non_2xx: int
    socket_errors: int

    @property
    def errors(self) -> int:
        """Refusals and socket errors together."""
        return self.non_2xx + self.socket_errors


def drive(
    port: int,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    *,
    connections: int = 64,
    timeout_s: float = 10.0,
) -> OpenLoad:
    """Offers `rate` requests a second to 127.0.0.1:`port` at even intervals.

    Args:
        port: Port of the server.
        requests: Whole HTTP requests, sent in turn; answers must carry a Content-Length.
        rate: Requests a second.
        seconds: How long requests are offered.
        connections: Connections kept open; a request that is due while all are busy waits, and
            the wait counts.
        timeout_s: How long after the last request was due answers are waited for.

    Raises:
        BenchmarkError: The server takes no connections (any more).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with contextlib.closing(
            _Loop(port, requests, rate, max(1, round(rate * seconds)), connections)
        ) as loop:
            loop.run(timeout_s)
            return loop.result()
    except ConnectionError as error:
        raise BenchmarkError(f"The server on port {port} takes no connections: {error}.") from error
    finally:
        if collecting:
            gc.enable()


class _Connection:
    __slots__ = ("due", "received", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.due = 0.0


class _Loop:
    def __init__(
        self, port: int, requests: Sequence[bytes], rate: float, total: int, connections: int
    ) -> None:
        self.port, self.requests, self.rate, self.total = port, requests, rate, total
        self.epoll = select.epoll()
        self.open: dict[int, _Connection] = {}
        self.idle: list[_Connection] = []
        self.latencies: list[float] = []
        self.lags: list[float] = []
        self.sent = self.broken = self.non_2xx = 0
        for _ in range(connections):
            self._connect()

    def run(self, timeout_s: float) -> None:
        start = time.perf_counter() + 0.01
        end = start + self.total / self.rate + timeout_s
        while len(self.latencies) + self.broken < self.total:
            now = time.perf_counter()
            if now > end:
                break
            while self.idle and self.sent < self.total and start + self.sent / self.rate <= now:
                self._send(start + self.sent / self.rate)
            due = start + self.sent / self.rate
            waits = due if self.idle and self.sent < self.total else end
            # epoll's own time-out has a grain of 1 ms, that of select one of microseconds.
            select.select([self.epoll], [], [], max(0.0, waits - time.perf_counter()))
            for handle, _ in self.epoll.poll(0):
                self._receive(self.open[handle])

    def result(self) -> OpenLoad:
        latencies = np.array(self.latencies or [np.nan]) * 1e3
        p50, p99 = np.percentile(latencies, [50, 99])
        return OpenLoad(
            offered_per_second=self.rate,
            offered=self.total,
            answers=len(self.latencies),
            p50_ms=float(p50),
            p99_ms=float(p99),
            max_ms=float(latencies.max()),
            lag_p99_ms=float(np.percentile(self.lags or [0.0], 99)) * 1e3,
            non_2xx=self.non_2xx,
            socket_errors=self.total - len(self.latencies),
        )

    def close(self) -> None:
        for connection in self.open.values():
            connection.socket.close()
        self.epoll.close()

    def _connect(self) -> None:
        connection = _Connection(self.port)
        handle = connection.socket.fileno()
        self.open[handle] = connection
        self.epoll.register(handle, select.EPOLLIN)
        self.idle.append(connection)

    def _drop(self, connection: _Connection) -> None:
        handle = connection.socket.fileno()
        self.epoll.unregister(handle)
        del self.open[handle]
        connection.socket.close()
        if connection in self.idle:
            self.idle.remove(connection)
        self._connect()

    def _send(self, due: float) -> None:
        connection = self.idle.pop()
        request = self.requests[self.sent % len(self.requests)]
        self.sent += 1
        connection.due = due
        self.lags.append(time.perf_counter() - due)
        try:
            connection.socket.sendall(request)
        except OSError:
            self.broken += 1
            self._drop(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            chunk = connection.socket.recv(1 << 16)
        except OSError:
            chunk = b""
        if not chunk:
            # A connection that the server closes while it is idle costs no request.
            self.broken += connection not in self.idle
            self._drop(connection)
            return
        connection.received += chunk
        head, separator, body = connection.received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        self.latencies.append(time.perf_counter() - connection.due)
        self.non_2xx += head[9:10] != b"2"
        connection.received = b""
        self.idle.append(connection)
        if _CLOSES.search(head):
            self._drop(connection)
