"""Stopping for real: a uvicorn server in a process of its own, and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]

SERVER = """
import asyncio, sys
from pathlib import Path
import uvicorn
from services.dataplane.farewell import hold_back_stop

needed_for = Path(sys.argv[1])
limit = float(sys.argv[2])
released = asyncio.Event()

def say(word):
    print(word, flush=True)

def needed(server):
    say(f"asked {type(server).__name__}")
    return needed_for.exists()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                hold_back_stop(needed, limit)
                await send({"type": "lifespan.startup.complete"})
            else:
                say("shutdown")
                await send({"type": "lifespan.shutdown.complete"})
                return
    if scope["path"] == "/slow":
        say("slow")
        await released.wait()
    if scope["path"] == "/release":
        released.set()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2"), (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"ok"})

server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))

async def main():
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    say(server.servers[0].sockets[0].getsockname()[1])
    await serving

asyncio.run(main())
"""

BESIDE = """
import sys
from services.dataplane.farewell import runs_beside

for name in sys.stdin:
    print(runs_beside(name.strip()), flush=True)
"""


class Process:
    """A child whose every line is waited for, so that no test guesses at time."""

    def __init__(self, script: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def rest(self) -> list[str]:
        """What it still says until it ends."""
        assert self.process.stdout is not None
        lines = self.process.stdout.read().split("\n")
        self.process.wait(10)
        return [line for line in lines if line]

    def ask(self, word: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.line()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


class Server(Process):
    def __init__(self, needed_for: Path, limit: float) -> None:
        super().__init__(SERVER, str(needed_for), str(limit))
        self.url = f"http://127.0.0.1:{int(self.line())}"

    def get(self, path: str) -> int:
        return httpx.get(self.url + path, timeout=10).status_code


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """While it is there, the server is needed."""
    path = tmp_path / "needed"
    path.touch()
    return path


@pytest.fixture
def server(flag: Path) -> Iterator[Server]:
    started = Server(flag, limit=60)
    yield started
    started.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_needed_answers_on_and_then_leaves(
    server: Server, flag: Path, number: int
) -> None:
    server.process.send_signal(number)
    assert server.line() == "asked Server"  # what is asked about is uvicorn's server
    assert [server.get("/") for _ in range(3)] == [200, 200, 200]
    assert server.process.poll() is None
    flag.unlink()
    assert server.rest()[-1] == "shutdown"
    assert server.process.returncode in (0, -number)


def test_a_server_that_nobody_needs_leaves_at_once(server: Server, flag: Path) -> None:
    flag.unlink()
    server.process.send_signal(signal.SIGTERM)
    assert server.rest() == ["asked Server", "shutdown"]


def test_a_second_signal_does_not_cut_the_wait_short(server: Server, flag: Path) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.line() == "asked Server"
    server.process.send_signal(signal.SIGINT)
    server.process.send_signal(signal.SIGTERM)
    assert server.line() == "asked Server"
    assert server.get("/") == 200
    flag.unlink()
    assert server.rest()[-1] == "shutdown"


def test_it_leaves_at_the_limit_in_any_case(flag: Path) -> None:
    server = Server(flag, limit=0.2)
    try:
        server.process.send_signal(signal.SIGTERM)
        asked = server.rest()
        assert asked[-1] == "shutdown"
        assert asked.count("asked Server") > 1
    finally:
        server.end()


def test_a_request_in_the_works_is_answered(server: Server, flag: Path) -> None:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        slow = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import httpx; print(httpx.get('{server.url}/slow', timeout=10).status_code)",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.line() == "slow"
        server.process.send_signal(signal.SIGTERM)
        assert server.line() == "asked Server"
        assert client.get("/release").status_code == 200
        flag.unlink()
        assert slow.communicate(timeout=10)[0].strip() == "200"
    assert server.rest()[-1] == "shutdown"


def test_a_worker_beside_is_seen_until_it_has_ended() -> None:
    watcher = Process(BESIDE)
    worker = Process("import sys; print('up', flush=True); sys.stdin.read()", "--service-name", "R")
    try:
        assert worker.line() == "up"
        assert [watcher.ask("R"), watcher.ask("Router"), watcher.ask("up")] == [
            "True",
            "False",
            "False",
        ]
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)  # leaves it a zombie
        assert watcher.ask("R") == "False"
    finally:
        worker.process.wait(10)
        watcher.end()
