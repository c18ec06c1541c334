from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.dataplane.breaker import SLICES, Circuit
from switchyard.plan_rollout import Breaker

RULES = Breaker(error_share=0.5, window=10, minimum=4, pause=5, probes=2)


class Hand:
    """A clock that goes only when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def circuit(clock: Hand) -> Circuit:
    return Circuit(RULES, clock)


def call(circuit: Circuit, ok: bool, *, doubtful: bool = False) -> None:
    permit = circuit.enter()
    assert permit is not None
    if ok:
        circuit.succeeded(permit)
    else:
        circuit.failed(permit, doubtful=doubtful)


def opened(circuit: Circuit) -> Circuit:
    while circuit.state == "closed":
        call(circuit, ok=False)
    return circuit


def test_failures_up_to_the_minimum_are_borne(circuit: Circuit) -> None:
    for _ in range(RULES.minimum - 1):
        call(circuit, ok=False)
    assert circuit.state == "closed"
    call(circuit, ok=False)
    assert circuit.state == "open"


@pytest.mark.parametrize(("failures", "state"), [(9, "closed"), (10, "open")])
def test_it_opens_at_the_share_and_not_below(circuit: Circuit, failures: int, state: str) -> None:
    for _ in range(10):
        call(circuit, ok=True)
    for _ in range(failures):
        call(circuit, ok=False)
    assert circuit.state == state


def test_what_was_before_the_window_is_forgotten(circuit: Circuit, clock: Hand) -> None:
    for _ in range(3):
        call(circuit, ok=False)
    clock.now += RULES.window
    call(circuit, ok=False)
    assert circuit.state == "closed"
    clock.now += RULES.window * (1 - 1.5 / SLICES)
    for _ in range(3):
        call(circuit, ok=False)  # together with the one before
    assert circuit.state == "open"


def test_an_open_circuit_refuses_until_the_pause_is_over(circuit: Circuit, clock: Hand) -> None:
    opened(circuit)
    clock.now += RULES.pause - 0.25
    assert (circuit.enter(), circuit.refuses, circuit.wait()) == (None, True, 0.25)
    clock.now += 0.25
    assert (circuit.state, circuit.refuses, circuit.wait()) == ("half-open", False, 0)


def test_only_so_many_probes_pass_and_they_close_it(circuit: Circuit, clock: Hand) -> None:
    opened(circuit)
    clock.now += RULES.pause
    first, second = circuit.enter(), circuit.enter()
    assert first is not None
    assert second is not None
    assert (circuit.enter(), circuit.state) == (None, "half-open")
    circuit.succeeded(first)
    assert (circuit.enter(), circuit.state) == (None, "half-open")
    circuit.succeeded(second)
    assert circuit.state == "closed"
    for _ in range(RULES.minimum - 1):  # with an empty window
        call(circuit, ok=False)
    assert circuit.state == "closed"


def test_a_probe_that_fails_opens_it_for_another_pause(circuit: Circuit, clock: Hand) -> None:
    opened(circuit)
    clock.now += RULES.pause
    call(circuit, ok=True)
    call(circuit, ok=False)
    assert (circuit.state, circuit.wait()) == ("open", RULES.pause)
    clock.now += RULES.pause
    assert [circuit.enter() is None for _ in range(3)] == [False, False, True]


def test_a_probe_that_says_nothing_makes_room_for_another(circuit: Circuit, clock: Hand) -> None:
    opened(circuit)
    clock.now += RULES.pause
    permits = [circuit.enter(), circuit.enter()]
    assert circuit.enter() is None
    assert permits[0] is not None
    circuit.left(permits[0])
    assert circuit.enter() is not None


def test_a_call_from_before_it_opened_is_no_probe(circuit: Circuit, clock: Hand) -> None:
    early = circuit.enter()
    assert early is not None
    opened(circuit)
    clock.now += RULES.pause
    assert circuit.enter() is not None
    circuit.failed(early)
    circuit.succeeded(early)
    circuit.left(early)
    assert (circuit.state, circuit.enter() is None) == ("half-open", False)


def test_rows_that_fail_beside_others_that_do_not_open_nothing(circuit: Circuit) -> None:
    for _ in range(10):
        call(circuit, ok=True)
        for _ in range(100):
            call(circuit, ok=False, doubtful=True)
    assert circuit.state == "closed"


def test_a_model_that_fails_on_all_rows_is_left_alone(circuit: Circuit, clock: Hand) -> None:
    call(circuit, ok=True)
    clock.now += RULES.window  # since when it has answered nothing
    for _ in range(RULES.minimum):
        call(circuit, ok=False, doubtful=True)
    assert circuit.state == "open"


def test_bad_rows_do_not_hide_a_host_that_fails(circuit: Circuit) -> None:
    for ok in (True, False, False, False):
        call(circuit, ok=False, doubtful=True)
        call(circuit, ok=ok)
    assert circuit.state == "open"


def test_a_bad_row_among_the_probes_does_not_keep_it_open(circuit: Circuit, clock: Hand) -> None:
    opened(circuit)
    clock.now += RULES.pause
    call(circuit, ok=True)
    call(circuit, ok=False, doubtful=True)
    call(circuit, ok=True)
    assert circuit.state == "closed"


def test_a_probe_of_bad_rows_alone_opens_it(circuit: Circuit, clock: Hand) -> None:
    opened(circuit)
    clock.now += RULES.pause
    call(circuit, ok=False, doubtful=True)
    assert circuit.state == "open"


@settings(max_examples=300)
@example([(0.5, "o"), (0.5, "o"), (0.0, "o"), (3.0, "f"), (3.0, "f"), (3.0, "d")])
@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from("ofd")), max_size=80))
def test_it_opens_just_when_the_counted_share_says_so(steps: list[tuple[float, str]]) -> None:
    """Beside windows that keep every call: what all say that the slices may stand for, they say."""
    clock = Hand()
    circuit = Circuit(RULES, clock)
    calls: list[tuple[float, str]] = []
    for pause, how in steps:
        clock.now += pause
        call(circuit, how == "o", doubtful=how == "d")
        calls.append((clock.now, how))
        verdicts = set()
        ages = [clock.now - when for when, _ in calls]
        longest = sum(age < RULES.window for age in ages)
        shortest = sum(age < RULES.window * (1 - 1 / SLICES) for age in ages)
        for length in range(shortest, longest + 1):
            kinds = [kind for _, kind in calls[len(calls) - length :]]
            if "o" in kinds:
                kinds = [kind for kind in kinds if kind != "d"]
            bad = sum(kind != "o" for kind in kinds)
            full = len(kinds) >= RULES.minimum
            verdicts.add(how != "o" and full and bad / len(kinds) >= RULES.error_share)
        if len(verdicts) == 1:
            assert (circuit.state == "open") == verdicts.pop()
        if circuit.state == "open":
            return


class CircuitMachine(RuleBasedStateMachine):
    """Any calls in any order: what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Hand()
        self.circuit = Circuit(RULES, self.clock)
        self.passes: list[int] = []
        self.opened_at: float | None = None
        self.newest = -1  # pass since the last change of state
        self.good = 0  # probes

    @rule()
    def enter(self) -> None:
        before, refuses = self.circuit.state, self.circuit.refuses
        permit = self.circuit.enter()
        assert (permit is None) == refuses
        assert before != "open" or permit is None
        if permit is not None:
            if permit != self.newest:
                self.newest, self.good = permit, 0
            self.passes.append(permit)

    @precondition(lambda self: self.passes)
    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed", "doubtful", "left"]))
    def end(self, data: st.DataObject, how: str) -> None:
        permit = self.passes.pop(data.draw(st.integers(0, len(self.passes) - 1)))
        before = self.circuit.state
        if how == "doubtful":
            self.circuit.failed(permit, doubtful=True)
        else:
            getattr(self.circuit, how)(permit)
        self.good += how == "succeeded" and permit == self.newest
        after = self.circuit.state
        if after == "open":
            self.newest, self.good = -1, 0
        if after == "open" and before != "open":
            assert how in ("failed", "doubtful")
            self.opened_at = self.clock.now
        if after == "closed" and before != "closed":
            assert (before, how) == ("half-open", "succeeded")

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def it_is_open_for_the_pause_and_no_longer(self) -> None:
        if self.circuit.state == "open":
            assert self.opened_at is not None
            assert self.circuit.wait() == pytest.approx(
                self.opened_at + RULES.pause - self.clock.now
            )

    @invariant()
    def a_half_open_circuit_lets_pass_what_is_missing_and_no_more(self) -> None:
        if self.circuit.state == "half-open":
            running = self.passes.count(self.newest)
            assert self.circuit.refuses == (running + self.good >= RULES.probes)


CircuitMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestCircuit = CircuitMachine.TestCase


def test_a_call_costs_next_to_nothing() -> None:
    """Half a microsecond is the aim; the limit leaves room for a busy machine."""
    circuit = Circuit(Breaker())

    def round_of(calls: int) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            circuit.succeeded(circuit.enter() or 0)
        return (time.perf_counter() - started) / calls

    assert min(round_of(2000) for _ in range(20)) < 2e-6
