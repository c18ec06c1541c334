from __future__ import annotations

from datetime import timedelta

from databases import Clock, run_at_once

from switchyard.records import Release
from switchyard.state import State

DOCUMENTS = [
    {"name": "a.yaml", "content": {"x": [1, 2.5, None, "é"]}},
    {"name": "b", "content": ""},
]


def begin(state: State, place: str = "here", target: str = "kubernetes", why: str = "") -> Release:
    return state.begin_release(
        target,
        place,
        "router:abc",
        {"name": "flights", "smoke": {"within": 5.0}},
        DOCUMENTS,
        "ada",
        why,
        probe={"endpoint": "flights", "rows": [{"x": 1.0}]},
        facts={"address": "http://a"},
    )


def test_a_release_is_recorded_whole(state: State) -> None:
    begun = begin(state, why="rollback to release 1")
    assert begun == Release(
        target="kubernetes",
        place="here",
        number=1,
        created="2026-01-01T00:00:00.000000+00:00",
        who="ada",
        bento="router:abc",
        values={"name": "flights", "smoke": {"within": 5.0}},
        documents=DOCUMENTS,
        probe={"endpoint": "flights", "rows": [{"x": 1.0}]},
        status="applying",
        why="rollback to release 1",
        facts={"address": "http://a"},
    )
    assert state.releases("kubernetes", "here") == [begun]


def test_its_end_keeps_what_it_does_not_say(state: State) -> None:
    begun = begin(state, why="rollback to release 1")
    state.end_release(begun, "good")
    (good,) = state.releases("kubernetes")
    assert (good.status, good.why, good.facts) == ("good", begun.why, begun.facts)
    state.end_release(begun, "failed", "no answer", {})
    (failed,) = state.releases("kubernetes")
    assert (failed.status, failed.why, failed.facts) == ("failed", "no answer", {})


def test_places_and_targets_count_by_themselves(state: State, clock: Clock) -> None:
    for target, place in (("kubernetes", "a"), ("vertex", "a"), ("kubernetes", "b")):
        for number in (1, 2):
            assert begin(state, place, target).number == number
            clock.forward(1)
    first = state.releases("kubernetes", "a")[1]
    state.end_release(first, "good")
    assert [each.status for each in state.releases("kubernetes", "a")] == ["applying", "good"]
    assert [each.status for each in state.releases("vertex")] == ["applying"] * 2
    assert [(each.place, each.number) for each in state.releases("kubernetes")] == [
        ("b", 2),
        ("b", 1),
        ("a", 2),
        ("a", 1),
    ]
    assert state.releases("sagemaker") == state.releases("kubernetes", "c") == []


def test_the_last_release_of_a_place_is_that_of_the_highest_number(
    state: State, clock: Clock
) -> None:
    """The clock of the machine that deployed second may be behind."""
    begin(state)
    clock.now -= timedelta(hours=1)
    begin(state)
    assert [each.number for each in state.releases("kubernetes", "here")] == [2, 1]
    assert [each.number for each in state.releases("kubernetes", "here", limit=1)] == [2]


def test_processes_that_begin_at_once_get_numbers_of_their_own(url: str) -> None:
    State.open(url)
    script = "print(State.open(url).begin_release('t', 'p', 'b:1', {}, [], me).number)"
    assert sorted(run_at_once(url, script, [f"p{i}" for i in range(4)])) == [
        "1\n",
        "2\n",
        "3\n",
        "4\n",
    ]
