"""Releases on a loopback Azure, through Azure's own client."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from azureml.azure_fake import FakeAzure, Refusal
from bentos import made

from deploy.azureml.documents import DEPLOYMENT
from deploy.azureml.target import TARGET
from deploy.azureml.values import AzureMLValues
from deploy.errors import DeployFailed, ValuesError
from deploy.releases import Deployer
from switchyard.errors import Conflict
from switchyard.state import State

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ONE, TWO, THREE = made(), made(tag="router:def456"), made(tag="router:ghi789")
NAME = "switchyard"

Make = Callable[..., Deployer]


def deployment(values: AzureMLValues, bento: Any) -> str:
    """Returns the name of the deployment of a release."""
    documents = {each.name: each.content for each in TARGET.render(bento, values)}
    return str(documents[DEPLOYMENT]["name"])  # type: ignore[index]


@pytest.fixture
def names(values: Callable[..., AzureMLValues]) -> tuple[str, str]:
    """The deployments of images `1` and `2`."""
    return deployment(values(image="1"), ONE), deployment(values(image="2"), TWO)


def test_first_release_gets_all_of_the_traffic(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    release = deployer("1").apply(ONE)
    assert release.status == "good"
    assert azure.moves == [({names[0]: 100}, {})]
    body = azure.deployments[NAME, names[0]]
    assert body["sku"] == {"name": "Default", "capacity": 2}
    assert body["properties"]["environmentVariables"] == {"SWITCHYARD_MODE": "static"}
    assert body["properties"]["requestSettings"]["maxConcurrentRequestsPerInstance"] == 64
    assert body["properties"]["dataCollector"]["collections"]["request"]["samplingRate"] == 0.1
    assert azure.image(NAME, names[0]) == "example.azurecr.io/switchyard:1"
    assert f"{NAME}-{names[0]}" in azure.autoscale
    # Asked alone before it had any traffic, then as callers ask.
    assert azure.scored == [(names[0], names[0]), (None, names[0])]


def test_second_apply_changes_nothing(azure: FakeAzure, deployer: Make) -> None:
    deployer("1").apply(ONE)
    azure.calls.clear()
    deployer("1").apply(ONE)
    assert {method for method, _ in azure.calls} == {"GET"}


def test_next_release_gets_its_share_and_then_all(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    one, two = names
    deployer("1").apply(ONE)
    deployer("2", "traffic.mirror=25").apply(TWO)
    assert azure.moves[1:] == [
        ({one: 100}, {two: 25}),
        ({one: 90, two: 10}, {}),
        ({two: 100}, {}),
    ]
    assert {name for _, name in azure.deployments} == {one, two}


def test_rollback_moves_the_traffic_back_and_makes_nothing(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)
    deployer("2").apply(TWO)
    azure.calls.clear()
    release = deployer("2").rollback()
    assert release.bento == ONE.tag
    assert azure.moves[-2:] == [({names[1]: 100}, {}), ({names[0]: 100}, {})]
    assert ("PUT", "deployment") not in azure.calls
    assert deployer("1").status().seen.state == "ready"


def test_rollback_of_traffic_that_somebody_moved_back_already(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)
    deployer("2").apply(TWO)
    azure.endpoints[NAME]["properties"]["traffic"] = {names[0]: 100}
    assert deployer("2").rollback().bento == ONE.tag
    assert {name for _, name in azure.deployments} == set(names)
    assert azure.endpoints[NAME]["tags"]["whole"] == names[0]


def test_only_the_release_before_is_kept(azure: FakeAzure, deployer: Make) -> None:
    deployer("1").apply(ONE)
    deployer("2").apply(TWO)
    deployer("3").apply(THREE)
    images = {azure.image(NAME, name)[-1] for _, name in azure.deployments}
    assert images == {"2", "3"}
    assert len(azure.autoscale) == 2


def test_release_before_is_not_kept_where_values_say_so(azure: FakeAzure, deployer: Make) -> None:
    deployer("1", "traffic.keep=false").apply(ONE)
    deployer("2", "traffic.keep=false").apply(TWO)
    assert {azure.image(NAME, name)[-1] for _, name in azure.deployments} == {"2"}
    deployer("2", "traffic.keep=false").rollback()  # by the values of the release it returns to
    assert {azure.image(NAME, name)[-1] for _, name in azure.deployments} == {"1"}


def test_more_instances_are_the_same_deployment(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    without = ("autoscale=null", "instances=1")
    deployer("1", *without).apply(ONE)
    deployer("1", "autoscale=null", "instances=3").apply(ONE)
    (body,) = azure.deployments.values()
    assert body["sku"]["capacity"] == 3
    assert len(azure.moves) == 1


def test_who_never_scales_needs_no_rights_on_azure_monitor(
    azure: FakeAzure, deployer: Make
) -> None:
    for method in ("GET", "PUT", "DELETE"):
        azure.refuse[method, "autoscale"] = Refusal(403, "AuthorizationFailed", "no")
    deployer("1", "autoscale=null").apply(ONE)
    deployer("2", "autoscale=null", "traffic.keep=false").apply(TWO)
    assert deployer("2", "autoscale=null").delete().status == "deleted"


def test_secrets_go_out_and_are_nowhere_recorded(
    azure: FakeAzure, deployer: Make, state: State
) -> None:
    live = (
        "shared.mode=live",
        "shared.database=DATABASE_URL",
        "shared.log_store=abfs://log@account.dfs.core.windows.net/p",
    )
    with pytest.raises(ValuesError, match="DATABASE_URL is not set"):
        deployer("1", *live).apply(ONE)
    assert not azure.endpoints
    environ = {"DATABASE_URL": "postgresql://u:sesame@db/s"}
    deployer("1", *live, environ=environ).apply(ONE)
    (body,) = azure.deployments.values()
    sent = body["properties"]["environmentVariables"]
    assert sent["SWITCHYARD_DATABASE_URL"] == environ["DATABASE_URL"]
    assert "sesame" not in str(state.releases("azureml"))
    assert deployer("1", *live, environ=environ).status().seen.differences == ()


@pytest.mark.parametrize("auth", ["key", "aml_token", "aad_token"])
def test_callers_show_what_the_values_say(azure: FakeAzure, deployer: Make, auth: str) -> None:
    assert deployer("1", f"auth={auth}").apply(ONE).status == "good"


def test_release_that_was_interrupted_goes_on_from_where_it_was(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)

    def stop(words: str) -> None:
        if words.startswith("holding"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deployer("2", said=stop).apply(TWO)
    assert azure.moves[-1] == ({names[0]: 90, names[1]: 10}, {})
    seen = deployer("1").status().seen
    assert "The traffic of switchyard was changed by hand" in seen.differences[0]
    deployer("2").apply(TWO)
    assert azure.moves[-1] == ({names[1]: 100}, {})
    assert len(azure.moves) == 3


def _smoke_fails(azure: FakeAzure) -> None:
    azure.answers["example.azurecr.io/switchyard:2"] = (500, {"error": "no model"})


def _quota_is_refused(azure: FakeAzure) -> None:
    azure.refuse["PUT", "deployment"] = Refusal(400, "OutOfQuota", "no")


def _deployment_fails(azure: FakeAzure) -> None:
    azure.fail["example.azurecr.io/switchyard:2"] = Refusal(400, "BadArgument", "no")


def _network_breaks_at_first(azure: FakeAzure) -> None:
    azure.cut["GET", "endpoint"] = 8  # twice as often as the client tries: to look, and to begin


def _somebody_moves_the_traffic(azure: FakeAzure) -> None:
    def meddle(fake: FakeAzure) -> None:
        fake.meanwhile = None
        traffic = fake.endpoints[NAME]["properties"]["traffic"]
        fake.endpoints[NAME]["properties"]["traffic"] = dict.fromkeys(traffic, 50)

    azure.meanwhile = meddle


@pytest.mark.parametrize(
    "misbehave",
    [
        _smoke_fails,
        _quota_is_refused,
        _deployment_fails,
        _network_breaks_at_first,
        _somebody_moves_the_traffic,
    ],
)
def test_release_of_another_machine_is_not_deleted_where_ours_fails(
    azure: FakeAzure,
    deployer: Make,
    names: tuple[str, str],
    tmp_path: Path,
    misbehave: Callable[[FakeAzure], None],
) -> None:
    deployer("1").apply(ONE)
    misbehave(azure)
    with (
        closing(State.open(f"sqlite:///{tmp_path / 'other.db'}")) as other,
        pytest.raises(DeployFailed, match="Nothing was taken away"),
    ):
        deployer("2", state=other).apply(TWO)
    assert azure.endpoints[NAME]["properties"]["traffic"][names[0]] > 0
    assert (NAME, names[0]) in azure.deployments


def test_delete_takes_everything_away(azure: FakeAzure, deployer: Make) -> None:
    deployer("1").apply(ONE)
    deployer("2").apply(TWO)
    assert deployer("2").delete().status == "deleted"
    assert (azure.endpoints, azure.deployments, azure.autoscale) == ({}, {}, {})
    seen = deployer("2").status().seen
    assert seen.state == "absent"


# What was changed by hand.


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


# What goes wrong.


def test_endpoint_of_others_is_left_alone(azure: FakeAzure, deployer: Make) -> None:
    deployer("1").apply(ONE)
    azure.endpoints[NAME]["tags"] = {}
    with pytest.raises(DeployFailed, match="was not made by Switchyard, and is left alone"):
        deployer("2").apply(TWO)
    with pytest.raises(DeployFailed, match="was not made by Switchyard"):
        deployer("1").delete()
    assert NAME in azure.endpoints


def test_deployment_of_others_is_left_alone(azure: FakeAzure, deployer: Make) -> None:
    deployer("1").apply(ONE)
    (body,) = azure.deployments.values()
    azure.deployments[NAME, "theirs"] = body | {"name": "theirs", "tags": {}}
    deployer("2", "traffic.keep=false").apply(TWO)
    assert (NAME, "theirs") in azure.deployments


def test_image_that_cannot_be_pulled(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)
    azure.fail["example.azurecr.io/switchyard:2"] = Refusal(
        400, "ResourceNotReady", "User container has crashed or terminated: image pull error"
    )
    azure.logs = "ErrImagePull: manifest for switchyard:2 not found"
    with pytest.raises(DeployFailed) as caught:
        deployer("2").apply(TWO)
    sentence = caught.value.message
    assert "image pull error (ResourceNotReady)" in sentence
    assert "Its log ends: ...ErrImagePull: manifest for switchyard:2 not found" in sentence
    assert "Release 1 (router:abc123) is back, and answers." in sentence
    assert azure.moves == [({names[0]: 100}, {})]
    assert list(azure.deployments) == [(NAME, names[0])]
    standing = deployer("1").status()
    assert (standing.release.status, standing.seen.state) == ("failed", "ready")


def test_first_release_that_fails_leaves_nothing(azure: FakeAzure, deployer: Make) -> None:
    azure.fail["example.azurecr.io/switchyard:1"] = Refusal(400, "BadArgument", "crashed")
    with pytest.raises(DeployFailed, match=r"crashed \(BadArgument\).*was taken away"):
        deployer("1").apply(ONE)
    assert (azure.endpoints, azure.deployments, azure.autoscale) == ({}, {}, {})


def test_failed_deployment_is_made_anew(azure: FakeAzure, deployer: Make) -> None:
    deployer("1").apply(ONE)
    (body,) = azure.deployments.values()
    body["properties"]["provisioningState"] = "Failed"
    azure.endpoints[NAME]["properties"]["traffic"] = {}
    azure.logs = "out of memory"
    seen = deployer("1").status().seen
    assert (seen.state, seen.why) == ("failed", "Its log ends: ...out of memory")
    assert deployer("1").apply(ONE).status == "good"


def test_account_without_rights(azure: FakeAzure, deployer: Make) -> None:
    said = (
        "The client 'ann' does not have authorization to perform action "
        "'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write' over scope '/s'."
    )
    azure.refuse["PUT", "endpoint"] = Refusal(403, "AuthorizationFailed", said)
    with pytest.raises(DeployFailed) as caught:
        deployer("1").apply(ONE)
    sentence = caught.value.message
    assert "Azure failed in making the endpoint 'switchyard': The client 'ann' does" in sentence
    assert "(AuthorizationFailed)" in sentence


def test_quota_refused(azure: FakeAzure, deployer: Make, names: tuple[str, str]) -> None:
    deployer("1").apply(ONE)
    azure.refuse["PUT", "deployment"] = Refusal(
        400, "OutOfQuota", "Not enough quota available for Standard_DS3_v2 in SubscriptionId x."
    )
    with pytest.raises(DeployFailed, match=r"Not enough quota available .* \(OutOfQuota\)"):
        deployer("2").apply(TWO)
    assert azure.endpoints[NAME]["properties"]["traffic"] == {names[0]: 100}


def test_deployment_that_is_never_ready(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)
    azure.slow.add("example.azurecr.io/switchyard:2")
    said: list[str] = []
    with pytest.raises(DeployFailed, match=r"has not ended making the deployment .* within 0.3 s"):
        deployer("2", "ready_within=0.3", said=said.append).apply(TWO)
    assert azure.endpoints[NAME]["properties"]["traffic"] == {names[0]: 100}
    assert f"{names[1]} is still creating; the next release takes it away" in said
    # What Azure is still at is waited for by the next release.
    azure.slow.clear()
    azure.deployments[NAME, names[1]]["properties"]["provisioningState"] = "Succeeded"
    assert deployer("2").apply(TWO).status == "good"


def test_release_that_does_not_predict_gets_no_traffic(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)
    azure.answers["example.azurecr.io/switchyard:2"] = (500, {"error": "no model"})
    with pytest.raises(DeployFailed, match=r"smoke test of 'flights' failed.*HTTP 500.*no model"):
        deployer("2").apply(TWO)
    assert azure.moves == [({names[0]: 100}, {})]
    assert deployer("2").rollback().bento == ONE.tag


def test_network_that_breaks_in_the_middle(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)
    azure.cut["PUT", "endpoint"] = 100
    with pytest.raises(DeployFailed, match="Azure could not be reached in moving the traffic"):
        deployer("2").apply(TWO)
    azure.cut.clear()
    assert deployer("1").status().seen.state == "ready"
    assert deployer("2").apply(TWO).status == "good"
    assert azure.moves[-1] == ({names[1]: 100}, {})


def test_network_that_breaks_while_azure_works_on_it(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)
    azure.cut["GET", "operation"] = 100
    with pytest.raises(DeployFailed, match="could not be reached in making the deployment"):
        deployer("2").apply(TWO)
    azure.cut.clear()
    azure.deployments[NAME, names[1]]["properties"]["provisioningState"] = "Succeeded"
    assert deployer("1").status().seen.differences == ()
    assert deployer("2").apply(TWO).status == "good"


def test_network_that_breaks_once_is_tried_again(azure: FakeAzure, deployer: Make) -> None:
    azure.cut["PUT", "deployment"] = 1
    assert deployer("1").apply(ONE).status == "good"


def test_second_apply_at_once(azure: FakeAzure, deployer: Make) -> None:
    caught: list[Exception] = []

    def meanwhile(_: FakeAzure) -> None:
        azure.meanwhile = None
        try:
            deployer("2").apply(TWO)
        except Conflict as error:
            caught.append(error)

    azure.meanwhile = meanwhile
    deployer("1").apply(ONE)
    assert "Somebody else is deploying" in str(caught[0])


def test_workspace_that_is_not_there(azure: FakeAzure, deployer: Make) -> None:
    with pytest.raises(DeployFailed, match=r"workspaces/other' under resource group .* not found"):
        deployer("1", "workspace=other").apply(ONE)


def test_credentials_that_are_not_there(
    azure: FakeAzure, deployer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "environmentcredential")
    with pytest.raises(DeployFailed, match=r"There are no credentials for Azure .*`az login`"):
        deployer("1").apply(ONE)


def test_credentials_that_are_refused(
    azure: FakeAzure, deployer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("azureml.azure_fake.TOKEN", "another")
    said = Refusal(401, "InvalidAuthenticationToken", "The access token has expired.")
    azure.refuse["GET", "endpoint"] = said
    with pytest.raises(DeployFailed, match=r"refused the credentials: .*expired \(InvalidAuth"):
        deployer("1").apply(ONE)
