from __future__ import annotations

import pytest

from benchmarks import load
from benchmarks.errors import BenchmarkError

OUTPUT = """Running 3s test @ http://127.0.0.1:4000
  1 threads and 16 connections
  2000 requests in 2.00s, 1.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
{"requests": 2000, "microseconds": 2000000, "p50": 470.0, "p99": 1020.0, "max": 9000.0, \
"non_2xx": 500, "connect": 1, "read": 2, "write": 3, "timeout": 4}
"""


def test_output_without_figures_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="no figures"):
        load.parse("Running 3s test\nunable to connect\n")


def test_figures_are_read_from_the_line_of_json() -> None:
    found = load.parse(OUTPUT)
    assert (found.answers, found.seconds) == (2000, 2.0)
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (0.47, 1.02, 9.0)
    assert (found.non_2xx, found.socket_errors, found.errors) == (500, 10, 510)


def test_refusals_are_no_throughput() -> None:
    assert load.parse(OUTPUT).per_second == 750.0


def test_packed_requests_can_be_told_apart_again() -> None:
    requests = [b"POST / HTTP/1.1\r\n\r\nab", b"\x00\n12 34", b""]
    lengths, _, rest = load.pack(requests).partition(b"\n")
    found = []
    for length in map(int, lengths.split()):
        found.append(rest[:length])
        rest = rest[length:]
    assert (found, rest) == (requests, b"")


def test_missing_wrk_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchmarkError, match="apt-get install wrk"):
        load.require_wrk()
