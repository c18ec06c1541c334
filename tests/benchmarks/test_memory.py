from __future__ import annotations

import subprocess
import sys

from benchmarks import memory
from benchmarks.memory import Memory


def test_services_are_known_by_their_command_line() -> None:
    command = ["python", "-m", "worker", "--service-name", "Router", "--fd", "7"]
    assert memory.service_name(command) == "Router"
    assert memory.service_name(["python", "-m", "uvicorn", "app:app"]) is None


def test_a_server_is_all_its_processes() -> None:
    router = [sys.executable, "-c", "print(flush=True); input()", "--service-name", "Router"]
    server = f"import subprocess; subprocess.run({router!r})"  # with no other child
    command = [sys.executable, "-c", server]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = memory.measure(child.pid)
        child.communicate(b"\n")
    assert found.router_mb == found.processes["Router"]
    assert found.total_mb >= found.processes["main"] + found.processes["Router"]
    assert 0 < found.router_anonymous_mb < found.router_mb


def test_anonymous_memory_is_what_a_process_fills() -> None:
    # A process of its own: this one may fill what it has freed before.
    script = (
        "import os; from benchmarks import memory; before = memory.anonymous_bytes(os.getpid());"
        "filled = b'1' * 50_000_000; print(memory.anonymous_bytes(os.getpid()) - before)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(run.stdout) > 0.9 * 50_000_000


def test_peak_takes_the_larger_of_each() -> None:
    one = Memory(200.0, 90.0, 1000.0, {"Router": 200.0})
    other = Memory(150.0, 100.0, 1200.0, {"Router": 150.0})
    assert one.peak(other) == Memory(200.0, 100.0, 1200.0, {"Router": 150.0})
