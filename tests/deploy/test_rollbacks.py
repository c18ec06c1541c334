"""Ways back on a platform in memory: rollback, status and delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from bentos import made
from memory_target import Cloud, refusal, statuses

from deploy.errors import DeployFailed
from deploy.releases import Deployer
from deploy.smoke import Probe
from deploy.target import Reply
from switchyard.errors import NotFound
from switchyard.state import State

ONE = made()
TWO = made(tag="router:def456")
Make = Callable[..., Deployer]


# Rollback


def test_a_rollback_returns_to_the_release_before_and_a_second_one_comes_back(
    deployer: Make, cloud: Cloud, ledger: State
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
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    deployer().apply(ONE)
    deployer("switchyard:2").apply(TWO)
    cloud.answers["switchyard:1"] = Reply(500, b"model is gone")
    with pytest.raises(DeployFailed, match=r"model is gone\. Release 2 .* is back, and answers"):
        deployer().rollback()
    assert cloud.image() == "switchyard:2"
    assert statuses(ledger) == ["good", "good", "failed"]


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
    deployer: Make, cloud: Cloud, ledger: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer().apply(ONE)
    known = [replace(each, values={"gone": 1}) for each in ledger.releases("memory", "switchyard")]
    monkeypatch.setattr(ledger, "releases", lambda *_: known)
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
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    deployer(size=2).apply(ONE)
    cloud.on["put server"] = refusal("no")
    with pytest.raises(DeployFailed):
        deployer("switchyard:2").apply(TWO)
    assert set(cloud.there) == {"server", "size"}
    release = deployer().delete()
    assert (release.status, release.facts) == ("deleted", {})
    assert cloud.there == {}
    assert statuses(ledger) == ["deleted", "deleted"]
    assert deployer().status().seen.state == "absent"
    with pytest.raises(NotFound, match="no earlier good release"):
        deployer().rollback()
    deployer().delete()  # once more is fine


def test_a_delete_that_is_refused_changes_nothing_that_is_recorded(
    deployer: Make, cloud: Cloud, ledger: State
) -> None:
    deployer().apply(ONE)
    cloud.on["delete"] = refusal("the resource is locked")
    with pytest.raises(DeployFailed, match="the resource is locked"):
        deployer().delete()
    assert statuses(ledger) == ["good"]
    assert deployer().status().seen.state == "ready"


def test_after_a_delete_the_next_release_begins_anew(deployer: Make, cloud: Cloud) -> None:
    deployer().apply(ONE)
    deployer().delete()
    cloud.answers["switchyard:2"] = Reply(500, b"")
    with pytest.raises(DeployFailed, match=r"Release 2 failed: .* what it made was taken away"):
        deployer("switchyard:2").apply(TWO)
    assert deployer().apply(ONE).number == 3
