from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from databases import FIRST, Clock

from switchyard import database
from switchyard.state import State, Worker
from switchyard.state.fleet import FORGET_SECONDS, WORKER_SECONDS

HOST = Worker("h1", "torch", "here:1", ("m:production",), ("m:1",), {"m:2": "it is broken"})


def test_what_a_worker_says_is_observed_until_it_says_something_else(state: State) -> None:
    state.report(HOST)
    (seen,) = state.observe().workers
    assert replace(seen, seen="") == HOST
    state.report(replace(HOST, holds=("m:1", "m:2"), failed={}, revisions={"flights": 3}))
    (seen,) = state.observe().workers
    assert (seen.holds, seen.failed) == (("m:1", "m:2"), {})
    assert seen.revisions == {"flights": 3}


def test_a_worker_of_an_earlier_switchyard_says_nothing_of_revisions(
    url: str, state: State
) -> None:
    state.report(HOST)
    with database.connect(url).execution_options(switchyard_writes=True).begin() as db:
        db.execute(sa.text("UPDATE workers SET revisions = NULL"))
    (seen,) = state.observe().workers
    assert seen.revisions == {}


def test_a_worker_that_says_nothing_more_is_gone(state: State, clock: Clock) -> None:
    state.report(HOST)
    clock.forward(WORKER_SECONDS)
    assert len(state.observe().workers) == 1
    clock.forward(0.001)
    assert state.observe().workers == ()
    state.report(HOST)
    assert len(state.observe().workers) == 1


def test_a_worker_that_leaves_is_gone_at_once(state: State) -> None:
    state.report(HOST)
    state.report(replace(HOST, id="h2"))
    state.retire("h1")
    state.retire("unknown")
    assert [worker.id for worker in state.observe().workers] == ["h2"]


def test_rows_of_workers_do_not_pile_up(url: str, state: State, clock: Clock) -> None:
    for number in range(5):
        state.report(replace(HOST, id=f"h{number}"))
        clock.forward(FORGET_SECONDS)
    with database.connect(url).connect() as db:
        assert db.execute(sa.select(sa.func.count()).select_from(database.workers)).scalar() == 2


def test_a_candidate_lives_as_long_as_it_is_renewed(state: State, clock: Clock) -> None:
    candidate = state.propose("m", "production", "2", "ada", 30)
    clock.forward(29)
    state.renew(candidate, 30)
    clock.forward(29)
    (seen,) = state.observe().candidates
    assert (seen.id, seen.model, seen.alias, seen.version) == (candidate, "m", "production", "2")
    clock.forward(1)
    assert state.observe().candidates == ()


def test_candidates_of_two_people_do_not_mix(state: State) -> None:
    mine = state.propose("m", "production", "2", "ada", 30)
    theirs = state.propose("m", "production", "2", "bob", 30)
    state.withdraw(mine)
    assert [candidate.id for candidate in state.observe().candidates] == [theirs]
    state.withdraw(mine)


def test_only_the_latest_revision_of_each_endpoint_is_observed(state: State) -> None:
    other = replace(FIRST, endpoint="digits")
    latest = replace(FIRST, number=2, reason="more")
    for revision in (FIRST, other, latest):
        state.add_revision(revision)
    assert state.observe().revisions == {"flights": latest, "digits": other}


def test_a_turn_sees_what_is_observed(state: State) -> None:
    state.report(HOST)
    state.set_alias("m", "production", "1", "ada", "")
    with state.turn() as seen:
        assert seen == state.observe()


def test_columns_that_have_come_since_are_added(url: str) -> None:
    engine = database.connect(url)
    with engine.execution_options(switchyard_writes=True).begin() as db:
        db.execute(sa.text("DROP TABLE alias_history"))
        db.execute(
            sa.text(
                "CREATE TABLE alias_history (id INTEGER PRIMARY KEY, model VARCHAR NOT NULL, "
                "alias VARCHAR NOT NULL, from_version VARCHAR, to_version VARCHAR NOT NULL, "
                "who VARCHAR NOT NULL, why VARCHAR NOT NULL, created VARCHAR NOT NULL)"
            )
        )
        db.execute(
            sa.text(
                "INSERT INTO alias_history VALUES (1, 'm', 'production', NULL, '1', 'ada', '', 't')"
            )
        )
    engine.dispose()
    state = State.open(url)
    (change,) = state.alias_history("m")
    assert (change.to_version, change.action, change.overruled) == ("1", "set", None)
    state.close()
