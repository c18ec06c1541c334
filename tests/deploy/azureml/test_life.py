"""Releases on a loopback Azure, through Azure's own client."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from azureml.azure_fake import FakeAzure, Refusal
from bentos import made

from deploy.errors import ValuesError
from deploy.releases import Deployer
from switchyard.state import State

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ONE, TWO, THREE = made(), made(tag="router:def456"), made(tag="router:ghi789")
NAME = "switchyard"

Make = Callable[..., Deployer]


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


def test_delete_takes_everything_away(azure: FakeAzure, deployer: Make) -> None:
    deployer("1").apply(ONE)
    deployer("2").apply(TWO)
    assert deployer("2").delete().status == "deleted"
    assert (azure.endpoints, azure.deployments, azure.autoscale) == ({}, {}, {})
    seen = deployer("2").status().seen
    assert seen.state == "absent"
