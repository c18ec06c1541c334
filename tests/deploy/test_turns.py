"""Deployers that meet at one place, are killed, or stand still for long."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from bentos import made
from databases import Clock
from memory_target import ADDRESS, Cloud, statuses

from deploy import lease
from deploy.errors import DeployFailed, LeaseLost
from deploy.lease import LEASE_SECONDS
from deploy.releases import INTERRUPTED, Deployer
from switchyard.errors import Conflict, NotReady
from switchyard.state import State

ONE = made()
TWO = made(tag="router:def456")
Make = Callable[..., Deployer]


def test_a_second_apply_at_the_same_time_is_refused(
    deployer: Make, cloud: Cloud, ledger: State
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
    assert statuses(ledger) == ["good"]
    cloud.on.clear()
    assert deployer().apply(TWO).number == 2


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


@pytest.fixture
def killed(deployer: Make, cloud: Cloud, ledger: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good release, and one whose process was killed between two calls."""
    deployer().apply(ONE)

    def kill() -> None:
        raise Killed

    cloud.on["put size"] = kill
    with monkeypatch.context() as gone:
        gone.setattr(ledger, "end_release", lambda *_, **__: None)
        renew = ledger.renew_lease
        gone.setattr(ledger, "renew_lease", lambda *words: words[2] == 0 or renew(*words))
        with pytest.raises(Killed):
            deployer("switchyard:2", size=2).apply(TWO)
    cloud.on.clear()


def test_a_place_whose_deployer_was_killed_is_free_after_a_while(
    killed: None, deployer: Make, cloud: Cloud, ledger: State, clock: Clock
) -> None:
    assert statuses(ledger) == ["good", "applying"]
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
    assert statuses(ledger) == ["good", "failed", "good"]


def test_the_next_apply_finishes_what_was_interrupted(
    killed: None, deployer: Make, cloud: Cloud, ledger: State, clock: Clock
) -> None:
    clock.forward(LEASE_SECONDS + 1)
    assert deployer("switchyard:2", size=2).apply(TWO).number == 3
    assert set(cloud.there) == {"server", "size"}
    assert statuses(ledger) == ["good", "failed", "good"]


def test_what_was_interrupted_can_be_deleted(
    killed: None, deployer: Make, cloud: Cloud, ledger: State, clock: Clock
) -> None:
    clock.forward(LEASE_SECONDS + 1)
    deployer().delete()
    assert cloud.there == {}
    assert set(statuses(ledger)) == {"deleted"}


def test_an_interrupt_from_the_keyboard_is_recorded(
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cloud.on["wait"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        deployer().apply(ONE)
    (release,) = ledger.releases("memory")
    assert (release.status, release.why) == ("failed", INTERRUPTED)
    cloud.on.clear()
    assert deployer().apply(ONE).status == "good"


def test_the_lease_is_renewed_even_if_the_database_is_away_for_a_moment(
    deployer: Make, cloud: Cloud, ledger: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.005)
    renew = ledger.renew_lease
    asked: list[float] = []
    enough = threading.Event()

    def renew_lease(name: str, holder: str, seconds: float) -> bool:
        asked.append(seconds)
        if len(asked) in (2, 5):
            raise NotReady("The state database does not answer.", retry_after=0.001)
        if len(asked) > 12:
            enough.set()
        return renew(name, holder, seconds)

    def long_work() -> None:
        assert enough.wait(20)

    monkeypatch.setattr(ledger, "renew_lease", renew_lease)
    cloud.on["wait"] = long_work
    assert deployer().apply(ONE).status == "good"
    assert asked[-1] == 0
    assert ledger.acquire_lease("deploy/memory/switchyard", "somebody", 1)


def test_a_good_release_is_good_even_if_the_place_cannot_be_given_back(
    deployer: Make, ledger: State, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew = ledger.renew_lease

    def renew_lease(name: str, holder: str, seconds: float) -> bool:
        if seconds == 0:
            raise NotReady("The state database does not answer.")
        return renew(name, holder, seconds)

    with monkeypatch.context() as away:
        away.setattr(ledger, "renew_lease", renew_lease)
        assert deployer().apply(ONE).status == "good"
    with pytest.raises(Conflict, match="Somebody else is deploying"):
        deployer().rollback()
    clock.forward(LEASE_SECONDS)
    assert deployer().apply(TWO).number == 2


# A deployer that stood still for long


def taken_over(clock: Clock, ledger: State, *, ended: bool) -> Callable[[], None]:
    """Returns what lets a deployer stand still while somebody else takes its place."""

    def stand_still() -> None:
        clock.forward(LEASE_SECONDS + 1)
        assert ledger.acquire_lease("deploy/memory/switchyard", "grace", LEASE_SECONDS)
        if ended:
            assert ledger.renew_lease("deploy/memory/switchyard", "grace", 0)

    return stand_still


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("call", ["put server", "wait", "call flights"])
def test_a_deployer_that_lost_its_place_changes_nothing_more(
    deployer: Make, cloud: Cloud, ledger: State, clock: Clock, call: str, ended: bool
) -> None:
    deployer().apply(ONE)
    cloud.calls.clear()
    cloud.on[call] = taken_over(clock, ledger, ended=ended)
    with pytest.raises(LeaseLost) as caught:
        deployer("switchyard:2", size=2).apply(TWO)
    assert caught.value.message == (
        "Somebody else has taken over memory switchyard: this deployer stood still for more than "
        "60 seconds. It has stopped, and changes nothing any more; `status` says what is there."
    )
    assert cloud.calls[-1] == call
    assert statuses(ledger) == ["good", "applying"]  # which is for whoever has the place now
    assert ledger.acquire_lease("deploy/memory/switchyard", "grace", 1)  # it was not given back


def test_a_deployer_that_lost_its_place_does_not_delete(
    deployer: Make, cloud: Cloud, ledger: State, clock: Clock
) -> None:
    deployer().apply(ONE)
    cloud.on["connect"] = taken_over(clock, ledger, ended=False)
    with pytest.raises(LeaseLost):
        deployer().delete()
    assert "delete" not in cloud.calls
    assert statuses(ledger) == ["good"]


def test_a_deployer_that_lost_its_place_does_not_take_its_release_back(
    deployer: Make, cloud: Cloud, ledger: State, clock: Clock
) -> None:
    deployer().apply(ONE)
    lose = taken_over(clock, ledger, ended=True)

    def fail() -> None:
        lose()
        raise DeployFailed("the quota is used up")

    cloud.on["put size"] = fail
    with pytest.raises(LeaseLost):
        deployer("switchyard:2", size=2).apply(TWO)
    assert cloud.image() == "switchyard:2"
    assert statuses(ledger) == ["good", "applying"]
    cloud.on.clear()
    assert deployer().apply(ONE).number == 3
    assert statuses(ledger) == ["good", "failed", "good"]


def test_a_deployer_that_slept_while_nobody_came_goes_on(
    deployer: Make, cloud: Cloud, clock: Clock
) -> None:
    cloud.on["put server"] = lambda: clock.forward(LEASE_SECONDS + 1)
    assert deployer().apply(ONE).status == "good"


def test_a_database_that_stays_away_ends_the_release(
    deployer: Make, cloud: Cloud, ledger: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 0.01)

    def away() -> None:
        def renew_lease(*_: object) -> bool:
            raise NotReady("The state database does not answer.", retry_after=0.001)

        monkeypatch.setattr(ledger, "renew_lease", renew_lease)

    cloud.on["put server"] = away
    with pytest.raises(NotReady, match="does not answer"):
        deployer(size=2).apply(ONE)
    assert "put size" not in cloud.calls
