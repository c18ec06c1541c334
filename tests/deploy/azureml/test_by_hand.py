"""What was changed by hand on Azure: it is told, and put right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from azureml.azure_fake import FakeAzure
from bentos import made

from deploy.errors import DeployFailed
from deploy.releases import Deployer

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ONE, TWO = made(), made(tag="router:def456")
NAME = "switchyard"

Make = Callable[..., Deployer]


def test_status_names_traffic_that_was_moved_by_hand(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)
    deployer("2").apply(TWO)
    azure.endpoints[NAME]["properties"]["traffic"] = {names[0]: 60, names[1]: 40}
    (sentence,) = deployer("2").status().seen.differences
    assert "was changed by hand" in sentence
    assert f"60 % to {names[0]}" in sentence
    deployer("2").apply(TWO)
    assert azure.moves[-1] == ({names[1]: 100}, {})
    assert deployer("2").status().seen.differences == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda body: body["properties"].update(instanceType="Standard_F4s_v2"), "instance_type"),
        (lambda body: body["properties"]["environmentVariables"].clear(), "SWITCHYARD_MODE of"),
        (
            lambda body: body["properties"]["environmentVariables"].update(DEBUG="1"),
            "The variable DEBUG of",
        ),
        (
            lambda body: body["properties"]["livenessProbe"].update(failureThreshold=1),
            "liveness_probe.failure_threshold of",
        ),
        (
            lambda body: body["properties"].update(environmentId="/x/versions/other"),
            r"environment \(image and routes\)",
        ),
        (lambda body: body["properties"].update(dataCollector=None), "data_collector .* is off"),
    ],
)
def test_status_names_a_deployment_that_was_changed_by_hand_and_apply_mends_it(
    azure: FakeAzure, deployer: Make, change: Callable[[Any], None], sentence: str
) -> None:
    deployer("1").apply(ONE)
    (body,) = azure.deployments.values()
    change(body)
    (found,) = deployer("1").status().seen.differences
    assert re.search(sentence, found)
    deployer("1").apply(ONE)
    assert deployer("1").status().seen.differences == ()


def test_status_names_rules_and_endpoint_that_were_changed_by_hand(
    azure: FakeAzure, deployer: Make
) -> None:
    deployer("1").apply(ONE)
    (setting,) = azure.autoscale.values()
    setting["properties"]["enabled"] = False
    azure.endpoints[NAME]["properties"]["publicNetworkAccess"] = "Disabled"
    found = " ".join(deployer("1").status().seen.differences)
    assert "enabled of the autoscale setting" in found
    assert "public_network_access of the endpoint switchyard is 'disabled'" in found
    deployer("1").apply(ONE)
    assert deployer("1").status().seen.differences == ()


def test_status_names_what_is_gone(azure: FakeAzure, deployer: Make) -> None:
    deployer("1").apply(ONE)
    azure.endpoints[NAME]["properties"]["traffic"] = {}
    azure.deployments.clear()
    azure.autoscale.clear()
    seen = deployer("1").status().seen
    assert seen.state == "failed"
    assert "The deployment release-" in " ".join(seen.differences)
    deployer("1").apply(ONE)
    assert deployer("1").status().seen.state == "ready"


def test_instances_that_the_load_asked_for_are_no_difference(
    azure: FakeAzure, deployer: Make
) -> None:
    deployer("1").apply(ONE)
    (body,) = azure.deployments.values()
    body["sku"]["capacity"] = 5
    assert deployer("1").status().seen.differences == ()
    body["properties"]["environmentVariables"]["DEBUG"] = "1"
    deployer("1").apply(ONE)
    assert next(iter(azure.deployments.values()))["sku"]["capacity"] == 5


def test_traffic_moved_by_somebody_else_in_between_ends_the_release(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)

    def meddle(fake: FakeAzure) -> None:
        fake.meanwhile = None
        fake.endpoints[NAME]["properties"]["traffic"] = {names[0]: 50, names[1]: 50}

    azure.meanwhile = meddle
    with pytest.raises(DeployFailed, match="Somebody else moved the traffic"):
        deployer("2").apply(TWO)
    assert azure.endpoints[NAME]["properties"]["traffic"] == {names[0]: 100}
