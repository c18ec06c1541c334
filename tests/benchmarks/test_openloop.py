from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks import openloop
from benchmarks.errors import BenchmarkError

REQUEST = b"POST /predict HTTP/1.1\r\ncontent-length: 1\r\n\r\n1"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"

Answer = Callable[[int], bytes]


@contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """A server of one thread that answers its n-th request with `answer(n)`, or hangs up on b""."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, answer, stop))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def _serve(listener: socket.socket, answer: Answer, stop: threading.Event) -> None:
    number = 0
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while not stop.is_set():
            for key, _ in selector.select(0.02):
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                    continue
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if connection.recv(1 << 16):
                    reply = answer(number)
                    number += 1
                    connection.sendall(reply)
                    if reply:
                        continue
                selector.unregister(connection)
                connection.close()
        for key in list(selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket) and key.fileobj is not listener:
                key.fileobj.close()


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BenchmarkError, match="takes no connections"):
        openloop.drive(port, [REQUEST], rate=10, seconds=0.1)


def test_every_request_is_offered_and_answered() -> None:
    with serving(lambda number: GOOD) as port:
        found = openloop.drive(port, [REQUEST], rate=400, seconds=0.25, connections=4)
    assert (found.offered, found.answers, found.errors) == (100, 100, 0)
    assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms


def test_refusals_count_as_answers_and_as_errors() -> None:
    with serving(lambda number: BAD if number % 4 == 0 else GOOD) as port:
        found = openloop.drive(port, [REQUEST], rate=400, seconds=0.25, connections=4)
    assert (found.answers, found.non_2xx, found.socket_errors) == (100, 25, 0)


def test_a_broken_connection_costs_its_request_and_is_opened_again() -> None:
    with serving(lambda number: b"" if number in (3, 4) else GOOD) as port:
        found = openloop.drive(port, [REQUEST], rate=400, seconds=0.1, connections=2)
    assert (found.answers, found.non_2xx, found.socket_errors) == (38, 0, 2)


def test_a_connection_that_the_server_ends_after_its_answer_costs_nothing() -> None:
    with serving(lambda number: LAST) as port:
        found = openloop.drive(port, [REQUEST], rate=400, seconds=0.1, connections=2)
    assert (found.answers, found.errors) == (40, 0)


def test_requests_without_an_answer_are_errors() -> None:
    unfinished = GOOD[:-1]
    with serving(lambda number: unfinished if number < 2 else GOOD) as port:
        found = openloop.drive(
            port, [REQUEST], rate=400, seconds=0.05, connections=4, timeout_s=0.2
        )
    assert (found.answers, found.socket_errors) == (18, 2)


def test_a_stall_is_paid_by_every_request_that_was_due_in_it() -> None:
    """A closed loop would see one slow request; the 50 that were due meanwhile all waited."""

    def answer(number: int) -> bytes:
        if number == 0:
            time.sleep(0.5)
        return GOOD

    with serving(answer) as port:
        found = openloop.drive(port, [REQUEST], rate=100, seconds=0.5, connections=1)
    assert found.answers == 50
    assert found.p50_ms > 200
