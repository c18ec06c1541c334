"""Releases on a platform in memory: what is recorded, and what is there when something fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bentos import made
from databases import Clock
from memory_target import ADDRESS, Cloud, MemoryTarget, MemoryValues, refusal

from deploy import releases, smoke
from deploy.errors import DeployFailed, ValuesError
from deploy.releases import INTERRUPTED, LEASE_SECONDS, Deployer
from deploy.smoke import Probe
from deploy.target import Reply
from switchyard.errors import Conflict, NotFound, NotReady
from switchyard.state import State

ONE = made()
TWO = made(tag="router:def456")
SECRET = "sesame"
Make = Callable[..., Deployer]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> Iterator[State]:
    opened = State.open(f"sqlite:///{tmp_path / 'state.db'}", clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def deployer(state: State, cloud: Cloud, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes deployers to one place, each as a process of its own would."""
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.0)

    def make(image: str = "switchyard:1", environ: Any = None, **values: Any) -> Deployer:
        return Deployer(
            MemoryTarget(cloud),
            MemoryValues.model_validate({"image": image, "smoke": {"within": 0.001}, **values}),
            state,
            environ={"TOKEN": SECRET} if environ is None else environ,
            who="ada",
            say=said.append,
        )

    return make


def statuses(state: State, place: str = "switchyard") -> list[str]:
    """The statuses of a place's releases, the first one first."""
    return [each.status for each in reversed(state.releases("memory", place))]


# What goes well


def test_a_release_is_good_once_it_has_answered(
    deployer: Make, state: State, cloud: Cloud, said: list[str]
) -> None:
    release = deployer().apply(ONE)
    assert (release.number, release.status, release.bento) == (1, "good", "router:abc123")
    assert (release.who, release.why) == ("ada", "")
    assert release.facts == {"address": ADDRESS, "bento": "router:abc123"}
    assert cloud.there["server"]["token"] == SECRET
    assert cloud.calls == ["connect", "look", "apply", "put server", "wait", "call flights"]
    assert said == ["sending", "asking 'flights' for a row of its reference data"]
    assert state.releases("memory", "switchyard") == [release]


def test_no_secret_is_recorded(deployer: Make, state: State, tmp_path: Path) -> None:
    deployer().apply(ONE)
    (release,) = state.releases("memory")
    assert release.documents[0]["content"]["token"] == "${TOKEN}"
    held = b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))
    assert SECRET.encode() not in held


def test_the_endpoint_that_the_values_name_is_asked(deployer: Make, cloud: Cloud) -> None:
    deployer(smoke={"endpoint": "digits", "within": 0.001}).apply(ONE)
    assert cloud.calls[-1] == "call digits"


def test_applied_twice_it_is_two_releases_of_the_same(deployer: Make, state: State) -> None:
    first, second = deployer().apply(ONE), deployer().apply(ONE)
    assert (first.number, second.number) == (1, 2)
    assert first.documents == second.documents
    assert statuses(state) == ["good", "good"]


def test_what_a_release_no_more_names_goes_away(deployer: Make, cloud: Cloud) -> None:
    deployer(size=2).apply(ONE)
    assert set(cloud.there) == {"server", "size"}
    deployer().apply(ONE)
    assert set(cloud.there) == {"server"}


def test_places_of_a_target_have_releases_of_their_own(deployer: Make, state: State) -> None:
    deployer(name="staging").apply(ONE)
    assert deployer(name="production").apply(TWO).number == 1
    assert deployer(name="staging").status().release.bento == "router:abc123"
    assert [each.place for each in state.releases("memory")] == ["production", "staging"]


def test_an_address_that_comes_late_is_asked_until_it_answers(deployer: Make, cloud: Cloud) -> None:
    replies = iter([ConnectionRefusedError("refused"), Reply(503, b"starting"), None])

    def next_reply() -> None:
        answer = next(replies)
        cloud.answers = {} if answer is None else {"switchyard:1": answer}

    cloud.on["call flights"] = next_reply
    assert deployer(smoke={"within": 30}).apply(ONE).status == "good"
    assert cloud.calls.count("call flights") == 3


# What fails


def test_the_first_release_that_fails_is_taken_away(
    deployer: Make, state: State, cloud: Cloud
) -> None:
    cloud.answers["switchyard:1"] = Reply(500, b'{"error": "no model"}')
    with pytest.raises(DeployFailed) as caught:
        deployer().apply(ONE)
    assert caught.value.message == (
        "Release 1 failed: The smoke test of 'flights' failed: the answer was HTTP 500: "
        '{"error": "no model"}. There was no good release before it, so what it made was taken '
        "away."
    )
    assert cloud.there == {}
    (release,) = state.releases("memory")
    assert release.status == "failed"
    assert caught.value.message == f"Release 1 failed: {release.why}"
    standing = deployer().status()
    assert (standing.release.status, standing.seen.state) == ("failed", "absent")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("apply", "AccessDenied: user ada may not create endpoints"),
        ("put server", "pull access denied for switchyard:2"),
        ("put size", "Quota 'CPUs' exceeded. Limit: 8.0"),
        ("wait", "server was not ready within 900 s: CrashLoopBackOff"),
    ],
)
def test_what_the_platform_refuses_makes_way_for_the_last_good_release(
    deployer: Make, state: State, cloud: Cloud, call: str, message: str
) -> None:
    deployer().apply(ONE)
    before = dict(cloud.there)
    refuse = refusal(message)
    cloud.on[call] = lambda: refuse() if cloud.calls.count("apply") == 2 else None
    with pytest.raises(DeployFailed) as caught:
        deployer("switchyard:2", size=2).apply(TWO)
    assert caught.value.message == (
        f"Release 2 failed: {message}. Release 1 (router:abc123) is back, and answers."
    )
    assert cloud.there == before
    assert statuses(state) == ["good", "failed"]
    standing = deployer().status()
    assert (standing.release.number, standing.seen.state) == (2, "ready")
    assert standing.seen.differences == ()  # from the release that is back


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (Reply(503, b"overloaded"), "the answer was HTTP 503: overloaded"),
        (
            Reply(200, b"<html>a\n portal</html>"),
            "holds no prediction for the row: <html>a portal<",
        ),
        (Reply(200, b'{"predictions": []}'), "holds no prediction for the row"),
        (Reply(200, b'{"predictions": [null]}'), "holds no prediction for the row"),
        (Reply(200, b"[1]"), "holds no prediction for the row"),
        (Reply(200, b"\xff"), "holds no prediction for the row"),
        (ConnectionResetError("reset by peer"), "ConnectionResetError: reset by peer"),
        (DeployFailed("no route to the endpoint"), "no route to the endpoint"),
    ],
)
def test_a_smoke_test_that_fails_makes_way_for_the_last_good_release(
    deployer: Make, cloud: Cloud, answer: Reply | Exception, shown: str
) -> None:
    deployer().apply(ONE)
    cloud.answers["switchyard:2"] = answer
    with pytest.raises(DeployFailed) as caught:
        deployer("switchyard:2").apply(TWO)
    assert shown in caught.value.message
    assert caught.value.message.endswith("Release 1 (router:abc123) is back, and answers.")
    assert cloud.image() == "switchyard:1"


def test_a_network_that_breaks_in_the_middle_is_one_sentence(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    def broken() -> None:
        raise ConnectionAbortedError("connection lost")

    deployer().apply(ONE)
    cloud.on["put size"] = broken
    with pytest.raises(DeployFailed) as caught:
        deployer("switchyard:2", size=2).apply(TWO)
    assert "could not be reached: ConnectionAbortedError: connection lost" in caught.value.message
    assert cloud.image() == "switchyard:1"
    assert statuses(state) == ["good", "failed"]


def test_when_going_back_fails_too_both_are_said_and_rollback_works_later(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    deployer().apply(ONE)
    cloud.on["put server"] = refusal("the platform is down")
    with pytest.raises(DeployFailed) as caught:
        deployer("switchyard:2").apply(TWO)
    assert caught.value.message == (
        "Release 2 failed: the platform is down. Going back failed too: the platform is down. "
        "Look at it by `switchyard deploy memory status`, and try `rollback` again."
    )
    cloud.on.clear()
    release = deployer().rollback()
    assert (release.number, release.status, release.why) == (3, "good", "rollback to release 1")
    assert cloud.image() == "switchyard:1"
    assert statuses(state) == ["good", "failed", "good"]


def test_a_missing_secret_is_known_before_anything_is_sent(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    with pytest.raises(ValuesError, match="TOKEN is not set"):
        deployer(environ={}).apply(ONE)
    deployer().apply(ONE)
    deployer("switchyard:2").apply(ONE)
    calls = list(cloud.calls)
    with pytest.raises(ValuesError, match="TOKEN is not set"):
        deployer(environ={}).rollback()
    assert cloud.calls == calls
    assert statuses(state) == ["good", "good"]


def test_an_endpoint_that_the_plan_has_not_is_known_before_anything_is_sent(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    with pytest.raises(NotFound, match="no endpoint 'fligths'"):
        deployer(smoke={"endpoint": "fligths"}).apply(ONE)
    assert cloud.calls == []
    assert state.releases("memory") == []


def test_credentials_that_are_not_there_leave_no_release(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    cloud.on["connect"] = refusal("there are no credentials")
    with pytest.raises(DeployFailed, match="no credentials"):
        deployer().apply(ONE)
    assert state.releases("memory") == []


# Two at once, and interruptions


def test_a_second_apply_at_the_same_time_is_refused(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        assert go_on.wait(20)

    cloud.on["wait"] = wait
    first = threading.Thread(target=deployer().apply, args=(ONE,))
    first.start()
    try:
        assert reached.wait(20)
        for change in (lambda: deployer().apply(TWO), deployer().rollback, deployer().delete):
            with pytest.raises(Conflict, match="Somebody else is deploying to memory switchyard"):
                change()
        standing = deployer().status()
        assert standing.release.status == "applying"
    finally:
        go_on.set()
        first.join()
    assert statuses(state) == ["good"]
    cloud.on.clear()
    assert deployer().apply(TWO).number == 2


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


@pytest.fixture
def killed(deployer: Make, cloud: Cloud, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good release, and one whose process was killed between two calls."""
    deployer().apply(ONE)

    def kill() -> None:
        raise Killed

    cloud.on["put size"] = kill
    with monkeypatch.context() as gone:
        gone.setattr(state, "end_release", lambda *_, **__: None)
        acquire = state.acquire_lease
        gone.setattr(state, "acquire_lease", lambda *words: words[2] == 0 or acquire(*words))
        with pytest.raises(Killed):
            deployer("switchyard:2", size=2).apply(TWO)
    cloud.on.clear()


def test_a_place_whose_deployer_was_killed_is_free_after_a_while(
    killed: None, deployer: Make, cloud: Cloud, state: State, clock: Clock
) -> None:
    assert statuses(state) == ["good", "applying"]
    assert deployer().status().release.status == "applying"  # nobody can know yet
    with pytest.raises(Conflict, match="killed makes way after 60 seconds"):
        deployer().apply(ONE)
    clock.forward(LEASE_SECONDS + 1)
    standing = deployer().status()
    assert (standing.release.status, standing.release.why) == ("failed", INTERRUPTED)
    assert standing.seen.address == ADDRESS  # what is known of the place was not lost
    assert standing.seen.differences == ("server is there otherwise than it was sent.",)
    assert deployer().rollback().why == "rollback to release 1"
    assert cloud.image() == "switchyard:1"
    assert statuses(state) == ["good", "failed", "good"]


def test_the_next_apply_finishes_what_was_interrupted(
    killed: None, deployer: Make, cloud: Cloud, state: State, clock: Clock
) -> None:
    clock.forward(LEASE_SECONDS + 1)
    assert deployer("switchyard:2", size=2).apply(TWO).number == 3
    assert set(cloud.there) == {"server", "size"}
    assert statuses(state) == ["good", "failed", "good"]


def test_what_was_interrupted_can_be_deleted(
    killed: None, deployer: Make, cloud: Cloud, state: State, clock: Clock
) -> None:
    clock.forward(LEASE_SECONDS + 1)
    deployer().delete()
    assert cloud.there == {}
    assert set(statuses(state)) == {"deleted"}


def test_an_interrupt_from_the_keyboard_is_recorded(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cloud.on["wait"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        deployer().apply(ONE)
    (release,) = state.releases("memory")
    assert (release.status, release.why) == ("failed", INTERRUPTED)
    cloud.on.clear()
    assert deployer().apply(ONE).status == "good"


def test_the_lease_is_renewed_even_if_the_database_is_away_for_a_moment(
    deployer: Make, cloud: Cloud, state: State, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "RENEW_SECONDS", 0.005)
    acquire = state.acquire_lease
    asked: list[float] = []
    enough = threading.Event()

    def acquire_lease(name: str, holder: str, seconds: float) -> bool:
        asked.append(seconds)
        if len(asked) == 2:
            raise NotReady("The state database does not answer.")
        if len(asked) > 4:
            enough.set()
        return acquire(name, holder, seconds)

    def long_work() -> None:
        assert enough.wait(20)

    monkeypatch.setattr(state, "acquire_lease", acquire_lease)
    cloud.on["wait"] = long_work
    assert deployer().apply(ONE).status == "good"
    assert asked[-1] == 0
    assert state.acquire_lease("deploy/memory/switchyard", "somebody", 1)


# Rollback


def test_a_rollback_returns_to_the_release_before_and_a_second_one_comes_back(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    deployer().apply(ONE)
    deployer("switchyard:2", size=2).apply(TWO)
    back = deployer("switchyard:2", size=2).rollback()
    assert (back.number, back.bento, back.why) == (3, "router:abc123", "rollback to release 1")
    assert back.values["image"] == "switchyard:1"
    assert cloud.image() == "switchyard:1"
    assert set(cloud.there) == {"server"}
    forth = deployer().rollback()
    assert (forth.number, forth.bento, forth.why) == (4, "router:def456", "rollback to release 2")
    assert cloud.image() == "switchyard:2"


def test_a_rollback_that_fails_leaves_what_was_there(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    deployer().apply(ONE)
    deployer("switchyard:2").apply(TWO)
    cloud.answers["switchyard:1"] = Reply(500, b"model is gone")
    with pytest.raises(DeployFailed, match=r"model is gone\. Release 2 .* is back, and answers"):
        deployer().rollback()
    assert cloud.image() == "switchyard:2"
    assert statuses(state) == ["good", "good", "failed"]


def test_there_must_be_something_to_return_to(deployer: Make, cloud: Cloud) -> None:
    with pytest.raises(NotFound, match="Nothing was deployed to memory switchyard from here"):
        deployer().rollback()
    deployer().apply(ONE)
    deployer().apply(ONE)
    with pytest.raises(NotFound, match="memory switchyard has no earlier good release"):
        deployer().rollback()


def test_an_earlier_release_is_asked_where_it_was(deployer: Make, cloud: Cloud) -> None:
    deployer(port=1).apply(ONE)
    cloud.answers["switchyard:2"] = Reply(500, b"")
    with pytest.raises(DeployFailed, match=r"Release 1 .* is back"):
        deployer("switchyard:2", port=2).apply(TWO)
    assert cloud.there["server"]["port"] == 1
    assert deployer("switchyard:2", port=2).status().seen.differences == ()


def test_a_rollback_asks_the_earlier_release_where_it_was(deployer: Make, cloud: Cloud) -> None:
    deployer(port=1).apply(ONE)
    deployer("switchyard:2", port=2).apply(TWO)
    assert deployer("switchyard:2", port=2).rollback().status == "good"
    assert cloud.there["server"]["port"] == 1


def test_values_that_an_older_version_recorded_are_no_hindrance(
    deployer: Make, cloud: Cloud, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer().apply(ONE)
    known = [replace(each, values={"gone": 1}) for each in state.releases("memory", "switchyard")]
    monkeypatch.setattr(state, "releases", lambda *_: known)
    assert deployer().status().seen.state == "ready"


def test_neither_rollback_nor_going_back_needs_the_bento_of_before(
    deployer: Make, cloud: Cloud
) -> None:
    """A runner of a pipeline has its own new Bento in its store and no other."""
    deployer().apply(ONE)
    cloud.answers["switchyard:2"] = Reply(500, b"")
    with pytest.raises(DeployFailed, match=r"Release 1 .* is back"):
        deployer("switchyard:2").apply(TWO)
    assert deployer().status().release.probe == Probe.of(TWO, deployer()._values.smoke).as_dict()


# Status and delete


def test_what_was_changed_by_hand_is_seen_and_put_right_by_the_next_apply(
    deployer: Make, cloud: Cloud
) -> None:
    deployer().apply(ONE)
    cloud.there["server"] = {**cloud.there["server"], "image": "by-hand:1"}
    standing = deployer().status()
    assert standing.seen.differences == ("server is there otherwise than it was sent.",)
    deployer().apply(ONE)
    assert deployer().status().seen.differences == ()


def test_what_was_taken_away_by_hand_is_absent(deployer: Make, cloud: Cloud) -> None:
    deployer().apply(ONE)
    cloud.there.clear()
    standing = deployer().status()
    assert (standing.release.status, standing.seen.state) == ("good", "absent")


def test_status_of_a_place_that_was_never_deployed_to(deployer: Make) -> None:
    for call in (deployer().status, deployer().delete):
        with pytest.raises(NotFound, match="Nothing was deployed to memory switchyard from here"):
            call()


def test_status_without_an_answer_of_the_platform_is_one_sentence(
    deployer: Make, cloud: Cloud
) -> None:
    def timeout() -> None:
        raise TimeoutError("timed out")

    deployer().apply(ONE)
    cloud.on["look"] = timeout
    with pytest.raises(DeployFailed, match="could not be reached: TimeoutError: timed out"):
        deployer().status()


def test_delete_takes_away_what_all_releases_made(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    deployer(size=2).apply(ONE)
    cloud.on["put server"] = refusal("no")
    with pytest.raises(DeployFailed):
        deployer("switchyard:2").apply(TWO)
    assert set(cloud.there) == {"server", "size"}
    release = deployer().delete()
    assert (release.status, release.facts) == ("deleted", {})
    assert cloud.there == {}
    assert statuses(state) == ["deleted", "deleted"]
    assert deployer().status().seen.state == "absent"
    with pytest.raises(NotFound, match="no earlier good release"):
        deployer().rollback()
    deployer().delete()  # once more is fine


def test_a_delete_that_is_refused_changes_nothing_that_is_recorded(
    deployer: Make, cloud: Cloud, state: State
) -> None:
    deployer().apply(ONE)
    cloud.on["delete"] = refusal("the resource is locked")
    with pytest.raises(DeployFailed, match="the resource is locked"):
        deployer().delete()
    assert statuses(state) == ["good"]
    assert deployer().status().seen.state == "ready"


def test_after_a_delete_the_next_release_begins_anew(deployer: Make, cloud: Cloud) -> None:
    deployer().apply(ONE)
    deployer().delete()
    cloud.answers["switchyard:2"] = Reply(500, b"")
    with pytest.raises(DeployFailed, match=r"Release 2 failed: .* what it made was taken away"):
        deployer("switchyard:2").apply(TWO)
    assert deployer().apply(ONE).number == 3


def test_what_was_deployed_from_elsewhere_is_not_taken_away(
    deployer: Make, state: State, cloud: Cloud
) -> None:
    cloud.there["server"] = {"image": "theirs:1", "port": 443}
    cloud.answers["switchyard:1"] = Reply(500, b"no model")
    with pytest.raises(DeployFailed, match="Nothing was taken away"):
        deployer().apply(ONE)
    with pytest.raises(DeployFailed, match="Nothing was taken away"):
        deployer().apply(ONE)  # that it was tried before makes it no more ours
    assert statuses(state) == ["failed", "failed"]
    assert "delete" not in cloud.calls
    assert cloud.there
