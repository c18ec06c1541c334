"""Waiting for the routers; their reports are written as they write them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from services.following import Followed, wait
from services.watch import Watch
from switchyard.errors import NotReady
from switchyard.records import ROUTER, Observed, Revision
from switchyard.state import State

REVISION = Revision("e", 4, "now", "ada", "", {"a": 1.0}, {"a": [[0.0, 1.0]]}, {})


@pytest.fixture
def router(state: State) -> Watch:
    return Watch(state, ROUTER, ["m:production"])


def title(state: State) -> str:
    return state.observe().workers[0].title


def test_where_no_router_runs_nobody_is_waited_for(state: State) -> None:
    Watch(state, "sklearn", ["m:production"]).tell(["m:1"])
    Watch(state, ROUTER, ["n:production"]).tell([], revisions={"f": 1})
    assert wait(REVISION, state) == Followed((), ())


def test_who_does_not_follow_in_time_is_named(state: State, router: Watch) -> None:
    router.tell(["m:1"], revisions={"e": 3})
    assert wait(REVISION, state, seconds=0.1) == Followed((), (title(state),))


@pytest.mark.parametrize("number", [4, 5])
def test_a_later_revision_counts_as_followed(number: int, state: State, router: Watch) -> None:
    router.tell(["m:1"], revisions={"e": number})
    assert wait(REVISION, state) == Followed((title(state),), ())


def test_it_waits_for_the_last_one(state: State, router: Watch) -> None:
    slow = Watch(state, ROUTER, ["m:production"])
    router.tell(["m:1"], revisions={"e": 4})
    slow.tell(["m:1"], revisions={"e": 3})
    looked = threading.Event()
    observe = state.observe

    def looks() -> Observed:
        seen = observe()
        if looked.is_set():
            slow.tell(["m:1"], revisions={"e": 4})
        looked.set()
        return seen

    state.observe = looks  # type: ignore[method-assign]
    followed = wait(REVISION, state, seconds=20)
    assert (len(followed.routers), followed.behind) == (2, ())


def test_a_database_that_answers_no_more_is_reported_with_what_has_happened(
    tmp_path: Path,
) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    state.close()
    (tmp_path / "state.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(NotReady, match="Revision 4 of endpoint 'e' is recorded, but nobody can"):
        wait(REVISION, state, seconds=0)
