"""The log of a real server whose router is killed, whose disk runs full, whose store is away."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import orjson
import pytest
from e2e.calls import digits, send_all
from e2e.load import LINE, Load
from e2e.plans import DIGITS
from e2e.server import Server, wait_until
from s3_server import S3Server

from monitoring.log import predictions as log
from monitoring.log.files import list_files
from services.dataplane.hop import HopClient, HopClosed

LOST_SECONDS = 1.0
"""What a SIGKILL may cost at most."""


class Timed(Load):
    """Load that remembers when each answer came, and ends with the router."""

    def __init__(self, port: int, body: dict[str, object]) -> None:
        super().__init__(port, body)
        self.answered: dict[str, float] = {}

    async def _ask(self, client: HopClient) -> None:
        with suppress(HopClosed, TimeoutError):
            while not self.enough.is_set():
                reply = await client.request("POST", "/predict", self.body, LINE, timeout=5)
                if reply.status == 200:
                    self.answered[orjson.loads(reply.body)["request_id"]] = time.monotonic()


def logged(folder: Path) -> set[str]:
    return set(log.read(folder)["request_id"].to_pylist())


def sample(server: Server, name: str) -> float:
    """The sum of a metric's values."""
    rows = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(float(row.split()[-1]) for row in rows if row.split("{")[0].split(" ")[0] == name)


BODY: dict[str, object] = {"inputs": digits(2).tolist()}


@pytest.mark.slow
def test_a_killed_router_loses_at_most_the_last_second(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=DIGITS).start()
    with Timed(server.port, BODY) as load:
        wait_until(lambda: len(load.answered) > 2000, "2,000 answers")
        (router,) = server.workers("Router")
        killed = time.monotonic()
        router.kill()
        router.wait(20)
    wait_until(server.is_ready, "the router is back", 60)
    later = {orjson.loads(reply.body)["request_id"] for reply in send_all(server.port, [BODY] * 50)}
    assert server.stop() == 0
    kept = logged(server.home / "log")
    lost = [killed - when for request, when in load.answered.items() if request not in kept]
    print(
        f"lost {len(lost)} of {len(load.answered)} requests, up to {max(lost, default=0):.2f} s old"
    )
    assert max(lost, default=0.0) <= LOST_SECONDS
    assert later <= kept


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_costs_rows_that_are_counted_and_no_answer(
    make_server: Callable[..., Server], small_disk: Path
) -> None:
    server = make_server(plan=DIGITS)
    (server.home / "log").symlink_to(small_disk)
    server.start()
    answered = 0
    for _ in range(60):
        bodies = [{"inputs": digits(200, n).tolist(), "timeout_ms": 20_000} for n in range(20)]
        replies = send_all(server.port, bodies, at_once=2)
        assert {reply.status for reply in replies} == {200}
        answered += 200 * len(replies)
        if sample(server, "prediction_log_dropped_total"):
            break
    assert server.status("/readyz") == 200

    def lost() -> int:
        return answered - log.read(server.home / "log").num_rows

    # Rows that wait for their segment are neither yet, and counts are folded once a second.
    wait_until(
        lambda: lost() == sample(server, "prediction_log_dropped_total"), "each lost row is counted"
    )
    dropped = lost()
    assert dropped > 0
    assert server.stop() == 0
    assert lost() == dropped
    assert "Rows of the predictions log are lost: " in server.output.read_text()


@pytest.fixture
def outage(s3: S3Server) -> Iterator[S3Server]:
    """The store's server, there again when the test has ended."""
    yield s3
    if not s3.is_up:
        s3.start()


@pytest.mark.slow
def test_rows_wait_for_a_store_that_is_away_while_serving_goes_on(
    make_server: Callable[..., Server], outage: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = f"{DIGITS}log: {{roll_seconds: 1, store: 's3://{outage.bucket}/serving'}}\n"
    server = make_server(plan=plan, env=outage.environ).start()
    folder = server.home / "log"
    for name, value in outage.environ.items():
        monkeypatch.setenv(name, value)

    def send() -> set[str]:
        replies = send_all(server.port, [{"inputs": digits(3, n).tolist()} for n in range(50)])
        return {orjson.loads(reply.body)["request_id"] for reply in replies}

    def shipped() -> bool:
        return bool(outage.keys("serving/predictions")) and not list_files(folder)

    first = send()
    wait_until(shipped, "the first rows are in the store alone", 90)
    assert logged(folder) == first

    outage.stop()
    second = send()
    wait_until(lambda: sample(server, "prediction_log_store_errors_total") > 0, "it is away", 60)
    wait_until(lambda: sample(server, "prediction_log_local_files") > 0, "rows wait", 60)
    wait_until(lambda: "The log's store s3://" in server.output.read_text(), "the log says so")
    assert server.status("/readyz") == 200

    outage.start()
    wait_until(shipped, "all rows are in the store", 90)
    third = send()
    assert server.stop() == 0
    assert logged(folder) == first | second | third
