"""A first release that fails over what another machine deployed to SageMaker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bentos import made
from sagemaker.conftest import client

from deploy.errors import DeployFailed
from deploy.releases import Deployer
from switchyard.state import State

if TYPE_CHECKING:
    from sagemaker.sagemaker_cloud import Cloud

pytestmark = pytest.mark.slow

ONE, TWO = made(), made(tag="router:def456")
WATCHED: dict[str, Any] = {
    "update": {"shift": "canary", "percent": 50},
    "alarms": {"server_errors": 5},
    "scaling": {"min": 2, "max": 4, "target": 100.0},
}
Make = Callable[..., Deployer]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[State]:
    """The state database of another machine."""
    with closing(State.open(f"sqlite:///{tmp_path / 'other.db'}")) as opened:
        yield opened


def failure(deployer: Deployer) -> str:
    with pytest.raises(DeployFailed) as caught:
        deployer.apply(TWO)
    return caught.value.message


def present() -> str:
    found = client("sagemaker").describe_endpoint(EndpointName="switchyard")
    return str(found["EndpointConfigName"])


def things() -> dict[str, list[str]]:
    """The names of all that is there."""
    sagemaker, scaling = client("sagemaker"), client("application-autoscaling")
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    configs = sagemaker.list_endpoint_configs()["EndpointConfigs"]
    alarms = client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {
        "models": sorted(each["ModelName"] for each in sagemaker.list_models()["Models"]),
        "configs": sorted(each["EndpointConfigName"] for each in configs),
        "alarms": sorted(each["AlarmName"] for each in alarms),
        "scaling": sorted(each["ResourceId"] for each in targets),
    }


def _rights_are_missing(cloud: Cloud) -> None:
    cloud.refusals["CreateEndpointConfig"] = "AccessDeniedException", "not authorized"


def _update_is_refused(cloud: Cloud) -> None:
    cloud.cuts["UpdateEndpoint"] = 1


def _alarms_take_it_back(cloud: Cloud) -> None:
    cloud.takes_back = "One or more alarms went into ALARM state"


def _smoke_fails(cloud: Cloud) -> None:
    before = present()
    cloud.container = lambda _: (200 if present() == before else 500, b'{"predictions": [0]}')


@pytest.mark.parametrize(
    "misbehave", [_rights_are_missing, _update_is_refused, _alarms_take_it_back, _smoke_fails]
)
def test_what_it_made_goes_and_the_configuration_comes_back(
    deployer: Make, cloud: Cloud, other: State, misbehave: Callable[[Cloud], None]
) -> None:
    deployer(**WATCHED).apply(ONE)
    before, there = present(), things()
    misbehave(cloud)
    changed = WATCHED | {
        "alarms": {"server_errors": 50},
        "scaling": {"min": 2, "max": 9, "target": 7.0},
    }
    assert failure(deployer(state=other, **changed)).endswith(
        f"The endpoint switchyard was there before it, and has its configuration {before} as it "
        "had then; what it made was taken away."
    )
    assert (present(), things()) == (before, there)
    assert deployer(**WATCHED).status().seen.differences == ()
    assert other.releases("sagemaker")[0].status == "failed"


def test_alarms_and_scaling_that_were_not_there_go(
    deployer: Make, cloud: Cloud, other: State
) -> None:
    deployer().apply(ONE)
    there = things()
    _smoke_fails(cloud)
    assert "was there before it" in failure(deployer(state=other, **WATCHED))
    assert things() == there
    assert deployer().status().seen.differences == ()


def test_a_model_that_was_made_with_another_secret_is_not_made_anew(
    deployer: Make, cloud: Cloud, other: State
) -> None:
    live = {"mode": "live", "database": "URL", "log_store": "s3://bucket/log"}
    deployer({"URL": "postgresql://one"}, shared=live).apply(ONE)
    before, there = present(), things()
    more = {"instances": {"type": "ml.c7i.xlarge", "count": 3}}
    with pytest.raises(DeployFailed, match="Raise 'generation' in the values by one"):
        deployer({"URL": "postgresql://two"}, shared=live, state=other, **more).apply(ONE)
    assert (present(), things()) == (before, there)
    (model,) = there["models"]
    found = client("sagemaker").describe_model(ModelName=model)["PrimaryContainer"]["Environment"]
    assert found["SWITCHYARD_DATABASE_URL"] == "postgresql://one"


def test_an_endpoint_that_is_lost_meanwhile_is_made_as_it_was(
    deployer: Make, cloud: Cloud, other: State
) -> None:
    deployer().apply(ONE)
    before, there = present(), things()

    def container(body: bytes) -> tuple[int, bytes]:
        client("sagemaker").delete_endpoint(EndpointName="switchyard")
        return 200, b"{}"

    cloud.container = container
    assert f"has its configuration {before}" in failure(deployer(state=other))
    assert (present(), things()) == (before, there)


def test_a_model_without_an_endpoint_stays(deployer: Make, cloud: Cloud, other: State) -> None:
    deployer().apply(ONE)
    client("sagemaker").delete_endpoint(EndpointName="switchyard")
    there = things()
    cloud.container = lambda _: (500, b"{}")
    assert "so what it made was taken away" in failure(deployer(state=other))
    assert things() == there
    assert client("sagemaker").list_endpoints()["Endpoints"] == []


def test_nothing_is_sent_while_nobody_can_tell_what_is_there(
    deployer: Make, cloud: Cloud, other: State
) -> None:
    deployer().apply(ONE)
    cloud.sent.clear()
    cloud.cuts["DescribeEndpoint"] = 9
    assert failure(deployer(state=other)).startswith("AWS was not reached (sagemaker, describe_end")
    assert cloud.operations() == []
    assert other.releases("sagemaker") == []
