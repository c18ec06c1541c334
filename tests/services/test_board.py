"""What workers tell each other: real processes over one page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.board import RECENT_SECONDS, Board, board_path
from switchyard.settings import ROOT


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_who_speaks_alone_speaks_for_all() -> None:
    board = Board(None, 1)
    assert board.heard(30) == 0
    board.say(ready=False)
    assert (board.all_ready(), board.heard(30)) == (False, 1)
    board.say(ready=True)
    assert (board.all_ready(), board.heard(30)) == (True, 1)


def test_one_who_is_not_ready_is_seen_by_the_others(tmp_path: Path) -> None:
    one, other = (Board(tmp_path / "Router.board", slot) for slot in (1, 2))
    one.say(ready=True)
    assert one.all_ready()  # the other has not come up yet, and takes no requests
    other.say(ready=False)
    assert not one.all_ready()
    assert not other.all_ready()
    other.say(ready=True)
    assert one.all_ready()
    assert other.heard(1) == 2


def test_another_process_reads_what_was_written_also_without_the_file(tmp_path: Path) -> None:
    path = tmp_path / "Router.board"
    board = Board(path, 1)
    script = (
        "import sys; from pathlib import Path; from services.board import Board\n"
        "board = Board(Path(sys.argv[1]), 2); board.say(ready=False); print(board.heard(60))\n"
        "sys.stdout.flush(); sys.stdin.readline(); board.say(ready=True)"
    )
    board.say(ready=True)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "2\n"
    assert not board.all_ready()
    path.unlink()
    process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert board.all_ready()
    assert board.heard(60) == 2


def test_one_who_is_silent_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (Board(tmp_path / "Router.board", slot, clock) for slot in (1, 2))
    one.say(ready=True)
    other.say(ready=False)
    clock.seconds += RECENT_SECONDS + 1
    one.say(ready=True)
    assert one.all_ready()
    assert (one.heard(30), one.heard(RECENT_SECONDS)) == (2, 1)


def test_a_place_that_cannot_be_written_leaves_a_worker_alone(tmp_path: Path) -> None:
    board = Board(tmp_path / "gone" / "Router.board", 1)
    board.say(ready=True)
    assert board.all_ready()


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        ({}, None),
        ({"TorchHost": "tcp://127.0.0.1:4000"}, None),
        ({"TorchHost": "tcp://h:1", "Controller": "file:///tmp/bentoml-uds-x/7.sock"},
         Path("/tmp/bentoml-uds-x/Router.board")),
    ],
)  # fmt: skip
def test_the_board_lies_beside_the_sockets(addresses: dict[str, str], found: Path | None) -> None:
    assert board_path("Router", addresses) == found
