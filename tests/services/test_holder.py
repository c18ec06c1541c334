"""Which versions a host worker loads and drops; the loading itself is `services.shelf`'s."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from services import holder
from services.holder import Holder
from services.watch import Watch
from switchyard.records import ROUTER
from switchyard.state import State

Register = Callable[..., str]
REF = "m:production"


class Shelf:
    """Takes notes instead of loading."""

    broken: ClassVar[set[str]] = set()

    def __init__(self, framework: str, threads: int) -> None:
        self.loaded: dict[str, object] = {}
        self.failed: dict[str, str] = {}
        self.tried: list[str] = []

    def is_ours(self, tag: str) -> bool:
        return True

    def load(self, tag: str) -> None:
        self.tried.append(tag)
        if tag in self.broken:
            self.failed[tag] = "it is broken"
        else:
            self.failed.pop(tag, None)
            self.loaded[tag] = object()

    def drop(self, tags: set[str]) -> None:
        for tag in tags:
            del self.loaded[tag]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(holder, "time", clock)
    return clock


@pytest.fixture
def make(state: State, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Holder]:
    monkeypatch.setattr(holder, "Shelf", Shelf)
    monkeypatch.setattr(Shelf, "broken", set())
    monkeypatch.setattr(Watch, "start", lambda self: None)
    return lambda: Holder("sklearn", 1, [REF], state)


def look(held: Holder) -> None:
    held._hold(held._watch.observe())


def reported(state: State) -> set[str]:
    (worker,) = (w for w in state.observe().workers if w.service != ROUTER)
    return set(worker.holds)


def test_a_version_stays_for_a_while_after_its_alias_has_moved(
    make: Callable[[], Holder], register: Register, state: State, clock: Clock
) -> None:
    old = register("m")
    held = make()
    new = register("m")
    look(held)
    assert reported(state) == {f"m:{old}", f"m:{new}"}
    clock.now += holder.GRACE_SECONDS - 0.1
    look(held)
    assert f"m:{old}" in held.shelf.loaded
    clock.now += 0.1
    look(held)
    assert reported(state) == set(held.shelf.loaded) == {f"m:{new}"}


def test_the_while_begins_anew_when_a_version_was_wanted_again(
    make: Callable[[], Holder], register: Register, state: State, clock: Clock
) -> None:
    old = register("m")
    held = make()
    new = register("m")
    look(held)
    clock.now += holder.GRACE_SECONDS - 0.1
    state.set_alias("m", "production", old, "ada", "back")
    look(held)
    state.set_alias("m", "production", new, "ada", "and forth")
    clock.now += 0.2
    look(held)
    assert f"m:{old}" in held.shelf.loaded


def test_what_a_router_sends_to_stays(
    make: Callable[[], Holder], register: Register, state: State, clock: Clock
) -> None:
    old = register("m")
    held = make()
    router = Watch(state, ROUTER, [REF])
    router.tell([f"m:{old}"])
    register("m")
    for _ in range(3):
        look(held)
        clock.now += holder.GRACE_SECONDS
    assert f"m:{old}" in held.shelf.loaded
    router.retire()
    look(held)
    clock.now += holder.GRACE_SECONDS
    look(held)
    assert f"m:{old}" not in held.shelf.loaded


def test_who_proposes_a_version_that_is_about_to_be_dropped_gets_it(
    make: Callable[[], Holder], register: Register, state: State, clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    old = register("m")
    held = make()
    register("m")
    look(held)
    clock.now += holder.GRACE_SECONDS
    seen = held._watch.observe()
    # Between the look and the drop somebody proposes the old version, and finds it held.
    state.propose("m", "production", old, "ada", 30)
    assert f"m:{old}" in reported(state)
    held._hold(seen)
    assert f"m:{old}" in held.shelf.loaded
    assert f"m:{old}" in reported(state)


def test_what_failed_is_tried_again_after_growing_pauses(
    make: Callable[[], Holder], register: Register, state: State, clock: Clock
) -> None:
    tag = f"m:{register('m')}"
    Shelf.broken = {tag}
    held = make()
    assert held.shelf.failed == {tag: "it is broken"}
    for seconds, tries in ((4.9, 1), (0.1, 2), (9.9, 2), (0.1, 3)):
        clock.now += seconds
        look(held)
        assert len(held.shelf.tried) == tries
    Shelf.broken = set()
    clock.now += 20
    look(held)
    assert (set(held.shelf.loaded), held.shelf.failed) == ({tag}, {})


def test_what_failed_and_is_wanted_no_more_is_forgotten(
    make: Callable[[], Holder], register: Register, state: State
) -> None:
    register("m")
    held = make()
    bad = register("m", alias=None)
    Shelf.broken = {f"m:{bad}"}
    candidate = state.propose("m", "production", bad, "ada", 30)
    look(held)
    assert state.observe().workers[0].failed == {f"m:{bad}": "it is broken"}
    state.withdraw(candidate)
    look(held)
    assert state.observe().workers[0].failed == {}
    Shelf.broken = set()
    state.propose("m", "production", bad, "ada", 30)
    look(held)
    assert f"m:{bad}" in held.shelf.loaded


def test_it_is_complete_once_all_was_loaded_and_then_for_good(
    make: Callable[[], Holder], register: Register, state: State, clock: Clock
) -> None:
    first = register("m")
    Shelf.broken.add(f"m:{first}")
    held = make()
    assert not held.complete
    Shelf.broken.clear()
    clock.now += holder.RETRY_SECONDS
    look(held)
    assert held.complete
    second = register("m")
    Shelf.broken.add(f"m:{second}")
    look(held)
    assert held.complete
