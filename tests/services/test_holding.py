from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from services.holding import is_held, present, wanted
from switchyard.records import ROUTER, Candidate, Observed, Worker

TAGS = st.sampled_from(["m:1", "m:2", "m:3"])


def seen(
    aliases: dict[tuple[str, str], str] | None = None,
    candidates: tuple[Candidate, ...] = (),
    workers: tuple[Worker, ...] = (),
) -> Observed:
    return Observed(aliases or {}, candidates, workers, {})


def host(holds: tuple[str, ...], refs: tuple[str, ...] = ("m:production",)) -> Worker:
    return Worker("h", "sklearn", "here:1", refs, holds)


def router(*holds: str) -> Worker:
    return Worker("r", ROUTER, "here:2", ("m:production",), holds)


def proposed(version: str, alias: str = "production") -> Candidate:
    return Candidate("c", "m", alias, version, "who", "later")


def test_a_reference_of_nothing(register: Callable[..., str]) -> None:
    assert present("m:production", seen()) is None
    assert wanted(["m:production"], seen()) == set()


def test_what_the_alias_stands_for_is_wanted(register: Callable[..., str]) -> None:
    old, new = register("m"), register("m", alias=None)
    now = seen({("m", "production"): old})
    assert wanted(["m:production"], now) == {f"m:{old}"}
    assert wanted(["m:production", f"m:{new}"], now) == {f"m:{old}", f"m:{new}"}


def test_a_candidate_is_wanted_where_its_alias_is_served(register: Callable[..., str]) -> None:
    old = register("m")
    now = seen({("m", "production"): old}, (proposed("2"), proposed("3", alias="staging")))
    assert wanted(["m:production"], now) == {f"m:{old}", "m:2"}


def test_what_a_router_still_sends_to_is_wanted(register: Callable[..., str]) -> None:
    new = register("m")
    now = seen({("m", "production"): new}, workers=(router("m:old", "other:1"), host(("m:3",))))
    assert wanted(["m:production"], now) == {f"m:{new}", "m:old"}


def test_a_version_is_held_when_the_last_worker_has_it() -> None:
    both = (host(("m:1", "m:2")), host(("m:1",)))
    assert is_held("m:production", "m:1", "sklearn", both)
    assert not is_held("m:production", "m:2", "sklearn", both)


def test_only_hosts_that_serve_the_reference_count() -> None:
    others = (host((), refs=("m:staging",)), router())
    assert is_held("m:production", "m:1", "sklearn", others)
    assert is_held("m:production", "m:1", "torch", (host(()),))


@given(st.lists(st.sets(TAGS)), TAGS)
def test_no_worker_that_serves_it_is_left_behind(shelves: list[set[str]], tag: str) -> None:
    workers = [host(tuple(sorted(shelf))) for shelf in shelves]
    assert is_held("m:production", tag, "sklearn", workers) == all(tag in s for s in shelves)
