from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.server import wait_until

from models.lock import LOCK_FILE, Lock
from services import watch
from services.watch import Watch
from switchyard.errors import NotReady
from switchyard.state import State


@pytest.fixture
def told(state: State, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is written into the database."""
    reports: list[object] = []
    report = state.report
    monkeypatch.setattr(state, "report", lambda w: (reports.append(w), report(w)))
    return reports


def test_what_is_told_is_observed(state: State) -> None:
    worker = Watch(state, "sklearn", ["m:production", "m:production", "a:staging"])
    worker.tell(["m:1"], {"m:2": "it is broken"}, {"e": 3})
    (seen,) = worker.observe().workers
    assert (seen.service, seen.refs) == ("sklearn", ("a:staging", "m:production"))
    assert (seen.holds, seen.failed) == (("m:1",), {"m:2": "it is broken"})
    assert seen.revisions == {"e": 3}
    worker.retire()
    assert worker.observe().workers == ()


def test_the_first_word_is_told_even_where_nothing_is_held(state: State) -> None:
    worker = Watch(state, "sklearn", ["m:production"])
    worker.tell(())
    assert len(worker.observe().workers) == 1


def test_only_news_are_told_and_repeated(state: State, told: list[object]) -> None:
    worker = Watch(state, "sklearn", [])
    worker.repeat()
    assert told == []
    for holds in ((), (), ("m:1",), ("m:1",)):
        worker.tell(holds)
    assert len(told) == 2
    worker.repeat()
    assert told[2] == told[1]


def test_it_is_repeated_while_the_worker_is_busy(
    state: State, told: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.01)
    worker = Watch(state, "sklearn", [])
    worker.tell(())
    worker.start()
    wait_until(lambda: len(told) > 3, "it is repeated")
    worker.retire()


def test_who_has_left_says_nothing_more(state: State) -> None:
    worker = Watch(state, "sklearn", [])
    worker.tell(())
    worker.retire()
    worker.tell(("m:1",))
    worker.repeat()
    assert worker.observe().workers == ()


def test_what_could_not_be_told_is_told_again(
    state: State, told: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Watch(state, "sklearn", [])
    with monkeypatch.context() as away:

        def fails(_: object) -> None:
            raise NotReady("away", retry_after=1)

        away.setattr(state, "report", fails)
        with pytest.raises(NotReady):
            worker.tell(("m:1",))
    worker.tell(("m:1",))
    assert worker.observe().workers[0].holds == ("m:1",)


def test_an_unused_database_has_the_aliases_of_the_lock(
    register: Callable[..., str], state: State, tmp_path: Path
) -> None:
    version = register("m", alias=None)
    lock = Lock(aliases={"m": {"production": version}})
    (tmp_path / "root" / LOCK_FILE).write_text(lock.model_dump_json())
    assert Watch(state, "sklearn", []).observe().aliases == {("m", "production"): version}
