"""What goes wrong between here and Azure: sentences, states, and the way back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from azureml.azure_fake import FakeAzure, Refusal
from bentos import made

from deploy.errors import DeployFailed, LeaseLost
from deploy.releases import Deployer
from switchyard.errors import Conflict

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ONE, TWO = made(), made(tag="router:def456")
NAME = "switchyard"

Make = Callable[..., Deployer]


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


def test_deployer_that_lost_its_place_sends_nothing_more(
    azure: FakeAzure, deployer: Make, names: tuple[str, str]
) -> None:
    deployer("1").apply(ONE)

    def lose(words: str) -> None:
        if words.startswith("moving the traffic"):
            azure.calls.clear()
            raise LeaseLost("Somebody else has taken over.")

    with pytest.raises(LeaseLost):
        deployer("2", said=lose).apply(TWO)
    assert {method for method, _ in azure.calls} <= {"GET"}
    assert azure.moves == [({names[0]: 100}, {})]
    assert deployer("2").apply(TWO).status == "good"


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
