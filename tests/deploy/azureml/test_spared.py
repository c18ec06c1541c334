"""A first release that fails over what another machine deployed to Azure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from azureml.azure_fake import FakeAzure, Refusal
from bentos import made

from deploy.errors import DeployFailed
from deploy.releases import Deployer
from switchyard.state import State

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ONE, TWO, THREE = made(), made(tag="router:def456"), made(tag="router:ghi789")
NAME = "switchyard"

Make = Callable[..., Deployer]


def _smoke_fails(azure: FakeAzure) -> None:
    azure.answers["example.azurecr.io/switchyard:2"] = (500, {"error": "no model"})


def _quota_is_refused(azure: FakeAzure) -> None:
    azure.refuse["PUT", "deployment"] = Refusal(400, "OutOfQuota", "no")


def _deployment_fails(azure: FakeAzure) -> None:
    azure.fail["example.azurecr.io/switchyard:2"] = Refusal(400, "BadArgument", "no")


def _public_smoke_fails(azure: FakeAzure) -> None:
    """It answers as long as it is asked alone, and no more once it has all of the traffic."""

    def meddle(fake: FakeAzure) -> None:
        if list(fake.moves[-1][0].values()) == [100] and fake.moves[-1] != fake.moves[0]:
            _smoke_fails(fake)

    azure.meanwhile = meddle


@pytest.fixture
def other(tmp_path: Path) -> Iterator[State]:
    """The state database of another machine."""
    with closing(State.open(f"sqlite:///{tmp_path / 'other.db'}")) as opened:
        yield opened


@pytest.mark.parametrize("keep", ["true", "false"])
@pytest.mark.parametrize(
    "misbehave", [_smoke_fails, _public_smoke_fails, _quota_is_refused, _deployment_fails]
)
def test_release_that_fails_leaves_what_another_machine_deployed(
    azure: FakeAzure,
    deployer: Make,
    names: tuple[str, str],
    other: State,
    misbehave: Callable[[FakeAzure], None],
    keep: str,
) -> None:
    deployer("1").apply(ONE)
    tags, rules = dict(azure.endpoints[NAME]["tags"]), dict(azure.autoscale)
    misbehave(azure)
    with pytest.raises(DeployFailed) as caught:
        deployer("2", f"traffic.keep={keep}", state=other).apply(TWO)
    assert caught.value.message.endswith(
        f"The endpoint {NAME} was there before it, and has its traffic as it was then: 100 % to "
        f"{names[0]}. What it made was taken away."
    )
    assert azure.endpoints[NAME]["properties"]["traffic"] == {names[0]: 100}
    assert azure.endpoints[NAME]["tags"] == tags
    assert list(azure.deployments) == [(NAME, names[0])]
    assert azure.autoscale == rules
    assert deployer("1").status().seen.differences == ()
    assert other.releases("azureml")[0].status == "failed"


def test_deployments_of_another_machine_without_traffic_stay_too(
    azure: FakeAzure, deployer: Make, names: tuple[str, str], other: State
) -> None:
    deployer("1").apply(ONE)
    deployer("2").apply(TWO)
    azure.answers["example.azurecr.io/switchyard:3"] = (500, {"error": "no model"})
    with pytest.raises(DeployFailed, match=r"What it made was taken away"):
        deployer("3", state=other).apply(THREE)
    assert {name for _, name in azure.deployments} == set(names)
    assert deployer("2").rollback().bento == ONE.tag


def test_settings_of_the_endpoint_come_back(azure: FakeAzure, deployer: Make, other: State) -> None:
    deployer("1").apply(ONE)
    _deployment_fails(azure)
    with pytest.raises(DeployFailed, match="was there before it"):
        deployer("2", "auth=aml_token", "public=false", state=other).apply(TWO)
    assert deployer("1").status().seen.differences == ()


def test_network_that_breaks_before_it_is_known_what_is_there(
    azure: FakeAzure, deployer: Make, other: State
) -> None:
    deployer("1").apply(ONE)
    azure.cut["GET", "endpoint"] = 4  # as often as the client tries
    azure.calls.clear()
    with pytest.raises(DeployFailed, match="could not be reached in looking at the endpoint"):
        deployer("2", state=other).apply(TWO)
    assert {method for method, _ in azure.calls} == {"GET"}
    assert other.releases("azureml") == []


def test_traffic_that_somebody_moves_meanwhile_comes_back(
    azure: FakeAzure, deployer: Make, names: tuple[str, str], other: State
) -> None:
    deployer("1").apply(ONE)

    def meddle(fake: FakeAzure) -> None:
        fake.meanwhile = None
        traffic = fake.endpoints[NAME]["properties"]["traffic"]
        fake.endpoints[NAME]["properties"]["traffic"] = dict.fromkeys(traffic, 50)

    azure.meanwhile = meddle
    with pytest.raises(DeployFailed, match="Somebody else moved the traffic"):
        deployer("2", state=other).apply(TWO)
    assert azure.endpoints[NAME]["properties"]["traffic"] == {names[0]: 100}


def test_deployment_that_azure_is_still_at_is_told(
    azure: FakeAzure, deployer: Make, names: tuple[str, str], other: State
) -> None:
    deployer("1").apply(ONE)
    azure.slow.add("example.azurecr.io/switchyard:2")
    with pytest.raises(DeployFailed, match=f"Its own deployment {names[1]} is still creating"):
        deployer("2", "ready_within=0.3", state=other).apply(TWO)
    assert azure.endpoints[NAME]["properties"]["traffic"] == {names[0]: 100}


def test_same_release_from_another_machine_stays(
    azure: FakeAzure, deployer: Make, names: tuple[str, str], other: State
) -> None:
    deployer("1").apply(ONE)
    azure.answers["example.azurecr.io/switchyard:1"] = (500, {"error": "no model"})
    with pytest.raises(DeployFailed, match=f"So was its deployment {names[0]}, which stays"):
        deployer("1", state=other).apply(ONE)
    assert list(azure.deployments) == [(NAME, names[0])]


def test_good_release_takes_over_and_clears_up(
    azure: FakeAzure, deployer: Make, names: tuple[str, str], other: State
) -> None:
    deployer("1").apply(ONE)
    deployer("2", "traffic.keep=false", state=other).apply(TWO)
    assert azure.endpoints[NAME]["properties"]["traffic"] == {names[1]: 100}
    deployer("2", "traffic.keep=false", state=other).apply(TWO)
    assert list(azure.deployments) == [(NAME, names[1])]
