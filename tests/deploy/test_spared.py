"""A first release that fails over what somebody deployed from elsewhere: that is as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bentos import made
from memory_target import Cloud, refusal, statuses

from deploy.errors import DeployFailed
from deploy.releases import Deployer
from deploy.target import Reply
from switchyard.state import State

ONE = made()
Make = Callable[..., Deployer]


@pytest.fixture
def theirs(cloud: Cloud) -> dict[str, Any]:
    """What is there already, of which this state database knows nothing."""
    cloud.there["server"] = {"image": "theirs:1", "port": 443}
    return dict(cloud.there)


def test_what_it_made_goes_and_what_was_there_is_as_before(
    deployer: Make, ledger: State, cloud: Cloud, theirs: dict[str, Any]
) -> None:
    cloud.answers["switchyard:1"] = Reply(500, b"no model")
    with pytest.raises(DeployFailed) as caught:
        deployer(size=2).apply(ONE)
    assert caught.value.message == (
        "Release 1 failed: The smoke test of 'flights' failed: the answer was HTTP 500: no model. "
        "server is there as before."
    )
    assert cloud.there == theirs
    with pytest.raises(DeployFailed, match="server is there as before"):
        deployer().apply(ONE)  # that it was tried before makes it no more ours
    assert cloud.there == theirs
    assert statuses(ledger) == ["failed", "failed"]


def test_it_is_noted_anew_for_each_release(
    deployer: Make, cloud: Cloud, theirs: dict[str, Any]
) -> None:
    cloud.answers["switchyard:1"] = Reply(500, b"no model")
    with pytest.raises(DeployFailed):
        deployer().apply(ONE)
    cloud.there["server"] = {"image": "theirs:2", "port": 443}
    with pytest.raises(DeployFailed):
        deployer().apply(ONE)
    assert cloud.image() == "theirs:2"


def test_what_is_there_must_be_known_before_anything_is_sent(
    deployer: Make, ledger: State, cloud: Cloud, theirs: dict[str, Any]
) -> None:
    cloud.on["spare"] = refusal("it was not made by Switchyard")
    with pytest.raises(DeployFailed, match="not made by Switchyard"):
        deployer().apply(ONE)
    assert "apply" not in cloud.calls
    assert ledger.releases("memory") == []
    assert cloud.there == theirs


def test_when_taking_back_fails_too_both_are_said(
    deployer: Make, cloud: Cloud, theirs: dict[str, Any]
) -> None:
    cloud.on["wait"] = refusal("the quota is used up")
    cloud.on["delete"] = refusal("the platform is down")
    with pytest.raises(DeployFailed) as caught:
        deployer().apply(ONE)
    assert caught.value.message == (
        "Release 1 failed: the quota is used up. Going back failed too: the platform is down. Look "
        "at it by `switchyard deploy memory status`, and apply again, or `delete` what is there."
    )


def test_a_good_release_takes_over_what_was_there(
    deployer: Make, cloud: Cloud, theirs: dict[str, Any]
) -> None:
    deployer(size=2).apply(ONE)
    cloud.answers["switchyard:2"] = Reply(500, b"no model")
    with pytest.raises(DeployFailed, match=r"Release 1 .* is back, and answers"):
        deployer("switchyard:2").apply(ONE)
    assert cloud.image() == "switchyard:1"
    deployer().delete()
    assert cloud.there == {}
