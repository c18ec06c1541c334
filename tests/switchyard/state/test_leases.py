from __future__ import annotations

from databases import Clock, run_at_once

from switchyard.state import State


def test_a_lease_has_one_holder_until_it_ends(state: State, clock: Clock) -> None:
    assert state.acquire_lease("controller", "a", 10)
    assert not state.acquire_lease("controller", "b", 10)
    clock.forward(9.9)
    assert not state.acquire_lease("controller", "b", 10)
    assert state.acquire_lease("controller", "a", 10)  # prolonged
    clock.forward(9.9)
    assert not state.acquire_lease("controller", "b", 10)
    clock.forward(0.1)
    assert state.acquire_lease("controller", "b", 10)
    assert not state.acquire_lease("controller", "a", 10)
    assert state.acquire_lease("another", "a", 10)


def test_a_lease_can_be_given_back(state: State) -> None:
    assert state.acquire_lease("controller", "a", 60)
    assert state.acquire_lease("controller", "a", 0)
    assert state.acquire_lease("controller", "b", 60)


def test_a_lease_is_renewed_only_while_nobody_else_has_had_it(state: State, clock: Clock) -> None:
    assert not state.renew_lease("controller", "a", 10)
    assert state.acquire_lease("controller", "a", 10)
    clock.forward(11)
    assert state.renew_lease("controller", "a", 10)  # it had run out, but nobody came
    assert not state.acquire_lease("controller", "b", 10)
    clock.forward(11)
    assert state.acquire_lease("controller", "b", 10)
    assert not state.renew_lease("controller", "a", 10)
    assert state.renew_lease("controller", "b", 0)
    assert not state.renew_lease("controller", "a", 10)  # even though b has given it back
    assert state.acquire_lease("controller", "c", 10)


def test_of_many_processes_one_gets_the_lease(url: str) -> None:
    State.open(url)
    script = "print(State.open(url).acquire_lease('controller', me, 3600))"
    answers = run_at_once(url, script, [f"p{i}" for i in range(4)])
    assert sorted(answers) == ["False\n"] * 3 + ["True\n"]


# Threads and time
