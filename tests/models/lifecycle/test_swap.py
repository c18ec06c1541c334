"""Moving an alias under workers that follow it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from lifecycle import Registry, Serve, open_registry, wait_until

from models.lifecycle.swap import Limits, Move, Places, stay, swap
from switchyard.errors import Conflict, NotReady, PromotionRefused
from switchyard.state import State, Worker

QUICK = Limits(load=0.3, follow=0.3, candidate=30)

KILLED = """
from models.lifecycle.swap import Move, swap
from switchyard.state import State
import sys
before, version = sys.argv[1:]
move = Move("m", "production", before, version, "onnx", "ada", "", "promote")
swap(State.open(), move, lambda known: None, lambda words: None)
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with open_registry(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def move(registry: Registry) -> Move:
    before, version = registry.bare(), registry.bare()
    registry.state.set_alias("m", "production", before, "test", "")
    return Move("m", "production", before, version, "onnx", "ada", "better", "promote")


def swapped(registry: Registry, move: Move, limits: Limits | None = None) -> Places:
    return swap(registry.state, move, lambda known: None, lambda words: None, limits)


def nothing_changed(registry: Registry, move: Move) -> bool:
    return (
        registry.state.alias("m", "production") == move.before
        and registry.state.observe().candidates == ()
        and [change.action for change in registry.state.alias_history("m")] == ["set"]
    )


# What goes wrong.


def test_a_host_that_cannot_load_it_refuses_with_its_place_and_reason(registry, move) -> None:
    with (
        Serve(registry.state, failing={move.tag: "no memory left"}),
        pytest.raises(PromotionRefused) as caught,
    ):
        swapped(registry, move)
    assert caught.value.message == f"onnx here:1 cannot load {move.tag}: no memory left"
    assert nothing_changed(registry, move)


def test_a_host_that_is_never_done_is_named(registry, move) -> None:
    with (
        Serve(registry.state, is_stuck=True),
        pytest.raises(PromotionRefused, match=r"onnx here:1 did not load m:\w+ within 0.3 s"),
    ):
        swapped(registry, move, QUICK)
    assert nothing_changed(registry, move)


def test_a_router_that_does_not_follow_is_reported(registry, move) -> None:
    with Serve(registry.state, is_deaf=True):
        places = swapped(registry, move, QUICK)
    assert places == Places(("onnx here:1",), (), ("router here:2",))
    assert registry.state.alias("m", "production") == move.version


def test_an_alias_that_somebody_else_moves_meanwhile_is_left_there(registry, move) -> None:
    other = registry.bare()

    def meanwhile(words: str) -> None:
        registry.state.set_alias("m", "production", other, "bob", "")

    registry.state.report(Worker("h", "onnx", "here", (move.ref,)))  # still loading
    done = Thread(
        target=wait_until, args=[lambda: registry.state.alias("m", "production") == other]
    )
    done.start()

    def loads() -> None:
        done.join()
        registry.state.report(Worker("h", "onnx", "here", (move.ref,), (move.tag,)))

    loading = Thread(target=loads)
    loading.start()
    with pytest.raises(Conflict, match="somebody moved it"):
        swap(registry.state, move, lambda known: None, meanwhile)
    loading.join()
    assert registry.state.alias("m", "production") == other
    assert registry.state.observe().candidates == ()


@pytest.fixture
def hiccups(move) -> Iterator[State]:
    """A connection of its own, whose reads and withdrawals a test may have fail."""
    opened = State.open()
    yield opened
    opened.close()


def no_answer(*_: object) -> None:
    raise NotReady("The state database does not answer: gone.")


def test_a_database_that_hesitates_after_the_move_is_asked_again(
    registry, move, hiccups, monkeypatch
) -> None:
    observe, left, heard = hiccups.observe, [0, 0, 0], []

    def observed():
        if registry.state.alias("m", "production") == move.version and left:
            left.pop()
            no_answer()
        return observe()

    monkeypatch.setattr(hiccups, "observe", observed)
    monkeypatch.setattr(hiccups, "withdraw", no_answer)
    with Serve(registry.state):
        places = swap(hiccups, move, lambda known: None, heard.append)
    assert left == []
    assert places == Places(("onnx here:1",), ("router here:2",))
    assert "The state database does not answer: gone." in heard


def test_a_database_that_is_gone_after_the_move_leaves_the_routers_behind(
    registry, move, hiccups, monkeypatch
) -> None:
    set_alias = hiccups.set_alias

    def last(*arguments, **more) -> None:
        set_alias(*arguments, **more)
        monkeypatch.setattr(hiccups, "observe", no_answer)

    monkeypatch.setattr(hiccups, "set_alias", last)
    with Serve(registry.state):
        places = swap(hiccups, move, lambda known: None, lambda words: None, QUICK)
    assert places == Places(("onnx here:1",), (), ("router here:2",))
    assert registry.state.alias("m", "production") == move.version


def test_a_refusal_is_heard_even_if_the_candidate_cannot_be_taken_back(
    registry, move, hiccups, monkeypatch
) -> None:
    monkeypatch.setattr(hiccups, "withdraw", no_answer)
    with (
        Serve(registry.state, failing={move.tag: "no memory left"}),
        pytest.raises(PromotionRefused, match="no memory left"),
    ):
        swap(hiccups, move, lambda known: None, lambda words: None)
    (left,) = registry.state.observe().candidates
    assert left.version == move.version


def test_before_the_move_a_database_that_does_not_answer_ends_it(
    registry, move, hiccups, monkeypatch
) -> None:
    monkeypatch.setattr(hiccups, "observe", no_answer)
    with pytest.raises(NotReady):
        swap(hiccups, move, lambda known: None, lambda words: None)
    assert nothing_changed(registry, move)


def test_who_does_not_follow_an_alias_where_it_is(registry, move) -> None:
    same = replace(move, version=str(move.before))
    with Serve(registry.state, failing={same.tag: "no memory left"}):
        places = stay(registry.state, same, lambda words: None, QUICK)
    assert places.failed == (f"onnx here:1 cannot load {same.tag}: no memory left",)
    assert (places.hosts, places.routers, places.behind) == ((), (), ("router here:2",))

    registry.state.report(Worker("h", "onnx", "here:3", (move.ref,)))  # still loading
    with Serve(registry.state):
        places = stay(registry.state, same, lambda words: None, QUICK)
    assert places == Places(("onnx here:1",), ("router here:2",), ("onnx here:3",))
    assert nothing_changed(registry, move)


def test_what_speaks_against_it_at_the_last_moment_prevents_it(registry, move) -> None:
    def check(known) -> None:
        assert known == {("m", "production"): move.before}
        raise PromotionRefused("not any more")

    with pytest.raises(PromotionRefused, match="not any more"):
        swap(registry.state, move, check, lambda words: None)
    assert nothing_changed(registry, move)


def test_who_hears_of_the_progress_may_end_it(registry, move) -> None:
    def leave(words: str) -> None:
        raise NotReady("this router stops")

    with Serve(registry.state, is_stuck=True), pytest.raises(NotReady):
        swap(registry.state, move, lambda known: None, leave)
    assert nothing_changed(registry, move)


def test_a_kill_in_the_middle_changes_nothing_and_the_next_one_works(registry, move) -> None:
    with Serve(registry.state, is_stuck=True) as serve:
        killed = registry.python(KILLED, str(move.before), move.version)
        wait_until(lambda: len(registry.state.observe().candidates) == 1)
        killed.kill()
        killed.communicate(timeout=20)
        assert registry.state.alias("m", "production") == move.before
        assert len(registry.state.alias_history("m")) == 1
        serve.is_stuck = False
        (left,) = registry.state.observe().candidates
        assert (left.version, left.alias) == (move.version, "production")
        places = swapped(registry, move)
        registry.state.renew(left.id, 0)  # its time is up
    assert places == Places(("onnx here:1",), ("router here:2",), ())
    assert registry.state.alias("m", "production") == move.version
    assert registry.state.observe().candidates == ()


def test_of_two_at_the_same_moment_one_wins_and_the_other_is_told(registry, move) -> None:
    other = replace(move, version=registry.bare())
    ended: dict[str, object] = {}

    def run(mine: Move) -> None:
        try:
            ended[mine.version] = swapped(registry, mine)
        except Conflict as error:
            ended[mine.version] = error

    with Serve(registry.state):
        threads = [Thread(target=run, args=[mine]) for mine in (move, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    winner = registry.state.alias("m", "production")
    assert [version for version, end in ended.items() if not isinstance(end, Conflict)] == [winner]
    history = [change.to_version for change in registry.state.alias_history("m")]
    assert history == [move.before, winner]


# What goes right.


def test_without_a_server_the_alias_just_moves(registry, move) -> None:
    assert swapped(registry, move) == Places()
    assert registry.state.alias("m", "production") == move.version


@pytest.mark.parametrize(
    "worker",
    [
        Worker("w", "torch", "elsewhere", ("m:production",)),
        Worker("w", "onnx", "elsewhere", ("m:staging", "n:production")),
    ],
)
def test_hosts_that_do_not_serve_it_are_not_waited_for(registry, move, worker: Worker) -> None:
    registry.state.report(worker)
    assert swapped(registry, move, QUICK) == Places()


def test_no_router_sends_anything_before_the_host_has_it(registry, move) -> None:
    old, new = f"m:{move.before}", move.tag
    with Serve(registry.state) as serve:
        places = swapped(registry, move)
        wait_until(lambda: serve.seen[-1] == ((new,), (new,)))
    assert places == Places(("onnx here:1",), ("router here:2",), ())
    for holds, routed in serve.seen:
        assert set(routed) <= set(holds)
        assert routed in ((old,), (new,))


def test_the_old_version_may_stay_where_another_reference_names_it(registry, move) -> None:
    registry.state.set_alias("m", "staging", str(move.before), "test", "")
    with Serve(registry.state, refs=("m:production", "m:staging")) as serve:
        places = swapped(registry, move, QUICK)
    assert places.behind == ()
    assert serve.seen[-1][1] == tuple(sorted([f"m:{move.before}", move.tag]))


def test_a_candidate_lives_as_long_as_it_is_loaded(registry, move) -> None:
    """The host takes four times the candidate's life."""
    with Serve(registry.state, is_stuck=True) as serve:
        thread = Thread(
            target=swapped, args=[registry, move, Limits(load=20, follow=20, candidate=0.5)]
        )
        thread.start()
        wait_until(lambda: len(registry.state.observe().candidates) == 1)
        first = registry.state.observe().candidates[0].expires
        wait_until(
            lambda: registry.state.observe().candidates[0].expires > first,
        )
        serve.is_stuck = False
        thread.join()
    assert registry.state.alias("m", "production") == move.version
