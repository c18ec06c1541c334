from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.servers import Command, Server

ECHO = """
import http.server, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, b"ready")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.answer(400 if body == b"bad" else 200, self.headers["accept"].encode() + body)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def command(code: str, env: Mapping[str, str] = os.environ) -> Command:
    return Command([sys.executable, "-c", code, "{port}"], Path.cwd(), env, ready="/readyz")


def test_a_server_that_ends_at_its_start_shows_its_last_lines(tmp_path: Path) -> None:
    with (
        Server("(x)", command("raise SystemExit('no such plan')"), tmp_path / "log") as server,
        pytest.raises(BenchmarkError, match=r"\(x\) ended at its start(?s:.)*no such plan"),
    ):
        server.wait_ready()


def test_refusals_are_errors_and_answers_come_back(tmp_path: Path) -> None:
    with Server("(x)", command(ECHO), tmp_path / "log") as server:
        server.wait_ready()
        assert server.post(b"good", "text/plain") == b"text/plaingood"
        with pytest.raises(BenchmarkError, match=r"\(x\) answers 400 to text/plain"):
            server.post(b"bad", "text/plain")


def test_processes_in_groups_of_their_own_end_with_the_server(tmp_path: Path) -> None:
    with Server("(x)", command(ECHO), tmp_path / "log") as server:
        server.wait_ready()
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        assert len(processes) == 2
    assert not any(process.is_running() for process in processes)
