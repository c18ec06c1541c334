"""Starting and stopping the servers under test, each on a free port with folders of its own."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.errors import BenchmarkError

__all__ = ["Command", "Server", "free_port"]

START_S = 180.0
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started.

    Attributes:
        argv: Program and arguments; `{port}` stands for the port.
        cwd: Working folder.
        env: Environment, whole.
        ready: Path that answers 200 when the server is ready, or None if taking connections is all.
    """

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    ready: str | None = None


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """A running server; leaving the context ends all its processes.

    Args:
        name: What it is called in errors.
        command: How it is started.
        log: File that takes its output.
    """

    def __init__(self, name: str, command: Command, log: Path) -> None:
        self.name, self.log = name, log
        self.port = free_port()
        self._ready = command.ready
        self._ended: list[psutil.Process] | None = None
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [part.replace("{port}", str(self.port)) for part in command.argv],
                cwd=command.cwd,
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The first process, parent of all others."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Waits until the server is ready.

        Raises:
            BenchmarkError: It ended, or was not ready within 180 s.
        """
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None:
                raise BenchmarkError(
                    f"{self.name} ended at its start. Its last lines:\n{self._tail()}"
                )
            if time.monotonic() > deadline:
                raise BenchmarkError(
                    f"{self.name} was not ready within {START_S:.0f} s. "
                    f"Its last lines:\n{self._tail()}"
                )
            time.sleep(0.25)

    def post(self, body: bytes, content_type: str, path: str = "/predict") -> bytes:
        """Posts one body and returns the answer's body.

        Raises:
            BenchmarkError: The answer is not 200.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"content-type": content_type, "accept": content_type}
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            raise BenchmarkError(
                f"{self.name} does not answer: {error}. Its last lines:\n{self._tail()}"
            ) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise BenchmarkError(
                f"{self.name} answers {answer.status} to {content_type}: {content[:500]!r}"
            )
        return content

    def terminate(self) -> None:
        """Asks the server to end and does not wait, so that several can end at once."""
        if self._ended is None:
            try:
                root = psutil.Process(self.pid)
                self._ended = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                self._ended = []
            self._process.terminate()

    def stop(self) -> None:
        """Ends the server: waits for all its processes, at most 10 s, and kills what is left.

        BentoML puts every worker into a process group of its own, so one signal to the group of
        the first process would not reach them.
        """
        self.terminate()
        _, alive = psutil.wait_procs(self._ended or [], timeout=STOP_S)
        for process in alive:
            process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            if self._ready is None:
                connection.connect()
                return True
            connection.request("GET", self._ready)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
