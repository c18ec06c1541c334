"""Releases on a loopback BentoCloud, through BentoML's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bentocloud.cloud_stub import Refusal, Stub
from bentos import made

from deploy.bentocloud.client import Cloud
from deploy.errors import DeployFailed, LeaseLost, ValuesError
from deploy.releases import Deployer
from switchyard.errors import Conflict
from switchyard.state import State

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ONE, TWO = made(), made(tag="router:def456")
NAME = "switchyard"
DEPLOYMENTS = "/api/v2/deployments"

Make = Callable[..., Deployer]


def test_first_release(stub: Stub, deployer: Make, state: State) -> None:
    assert deployer().apply(ONE).status == "good"
    sent = stub.deployments[NAME]
    assert sent["bento"] == ONE.tag
    assert sent["access_authorization"] is True
    assert sent["services"]["Router"]["scaling"]["max_replicas"] == 4
    assert sent["services"]["Router"]["scaling"]["policy"]["scale_up_behavior"] == "fast"
    assert sent["services"]["Controller"]["scaling"]["max_replicas"] == 1
    assert sent["envs"] == [{"name": "SWITCHYARD_MODE", "value": "static"}]
    assert stub.secrets == {"switchyard-env": {"SWITCHYARD_HOP_TOKEN": "sesame"}}
    assert "sesame" not in str(state.releases("bentocloud"))
    seen = deployer().status().seen
    assert (seen.state, seen.differences) == ("ready", ())
    assert seen.address == f"{stub.base}/run/{NAME}"


def test_second_apply_sends_no_deployment(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.calls.clear()
    deployer().apply(ONE)
    assert not [each for each in stub.calls if each[0] in ("PUT", "POST") and "run" not in each[1]]


def test_next_release_and_rollback(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    deployer("services.TorchHost.maximum=8").apply(TWO)
    assert stub.deployments[NAME]["bento"] == TWO.tag
    assert stub.deployments[NAME]["services"]["TorchHost"]["scaling"]["max_replicas"] == 8
    deployer().rollback()
    assert stub.deployments[NAME]["bento"] == ONE.tag
    assert stub.deployments[NAME]["services"]["TorchHost"]["scaling"]["max_replicas"] == 4


def test_delete(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    assert deployer().delete().status == "deleted"
    assert (stub.deployments, stub.secrets) == ({}, {})
    assert ("bento", "router", "abc123") in stub.stored
    assert deployer().status().seen.state == "absent"


def test_shared_database_goes_by_the_secret(stub: Stub, deployer: Make) -> None:
    live = (
        "shared.mode=live",
        "shared.database=DATABASE_URL",
        "shared.log_store=s3://bucket/log",
        "admin_token=ADMIN",
    )
    environ = {"HOP_TOKEN": "a", "DATABASE_URL": "postgresql://db", "ADMIN": "b"}
    deployer(*live, environ=environ).apply(ONE)
    assert stub.secrets["switchyard-env"]["SWITCHYARD_DATABASE_URL"] == "postgresql://db"
    names = {each["name"] for each in stub.deployments[NAME]["envs"]}
    assert names == {"SWITCHYARD_MODE", "SWITCHYARD_LOG_STORE"}


def test_secret_that_is_not_set(stub: Stub, deployer: Make) -> None:
    with pytest.raises(ValuesError, match="HOP_TOKEN is not set"):
        deployer(environ={}).apply(ONE)
    assert not stub.calls


# What another machine deployed, whose state database is another.


@pytest.fixture
def other(tmp_path: Path) -> Iterator[State]:
    """The state database of another machine."""
    with closing(State.open(f"sqlite:///{tmp_path / 'other.db'}")) as opened:
        yield opened


@pytest.mark.parametrize("misbehave", ["comes up failed", "is refused", "does not predict"])
def test_release_of_another_machine_is_there_again_where_ours_fails(
    stub: Stub, deployer: Make, other: State, misbehave: str
) -> None:
    deployer().apply(ONE)
    match misbehave:
        case "comes up failed":
            stub.becomes[TWO.tag] = ["failed"]
        case "is refused":
            stub.refuse["PATCH", "/api/v1/org_secrets"] = Refusal(400, "no")
        case _:
            stub.answers[TWO.tag] = (500, {"error": "no model"})
    with pytest.raises(DeployFailed) as caught:
        deployer("services.TorchHost.maximum=8", state=other).apply(TWO)
    assert caught.value.message.endswith(
        "router:abc123, which was there before it, is there as it was then. The secret "
        "switchyard-env may hold what this release was to get: BentoCloud shows no values that "
        "could be put back."
    )
    standing = deployer().status()
    assert (standing.seen.state, standing.seen.differences) == ("ready", ())
    assert stub.secrets["switchyard-env"] == {"SWITCHYARD_HOP_TOKEN": "sesame"}


def test_release_of_another_machine_is_untouched_where_it_cannot_be_seen(
    stub: Stub, deployer: Make, other: State
) -> None:
    deployer().apply(ONE)
    before = dict(stub.deployments[NAME])
    stub.cut.add(("GET", DEPLOYMENTS))
    with pytest.raises(DeployFailed, match="could not be reached in looking at the deployment"):
        deployer(state=other).apply(TWO)
    assert stub.deployments[NAME] == before
    assert other.releases("bentocloud") == []


def test_release_of_another_machine_that_could_not_come_back_is_left_alone(
    stub: Stub, deployer: Make, other: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bentoml._internal.cloud.deployment import Deployment

    deployer().apply(ONE)
    before = dict(stub.deployments[NAME])
    monkeypatch.setattr(Deployment, "get_config", lambda *_, **__: None)
    with pytest.raises(DeployFailed, match="does not tell what the deployment 'switchyard' was"):
        deployer(state=other).apply(TWO)
    assert stub.deployments[NAME] == before
    assert other.releases("bentocloud") == []


def test_nothing_is_deployed_where_the_place_was_lost_in_the_push(
    stub: Stub, deployer: Make, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = Cloud._push

    def lost(cloud: Cloud, tag: str) -> None:
        push(cloud, tag)
        monkeypatch.setattr(state, "renew_lease", lambda *_: False)

    monkeypatch.setattr(Cloud, "_push", lost)
    with pytest.raises(LeaseLost):
        deployer().apply(ONE)
    assert stub.deployments == {}


def test_release_of_another_machine_that_does_not_come_back_is_told(
    stub: Stub, deployer: Make, other: State
) -> None:
    deployer().apply(ONE)
    stub.becomes |= {ONE.tag: ["failed"], TWO.tag: ["failed"]}
    with pytest.raises(DeployFailed, match="Going back failed too: BentoCloud says that"):
        deployer(state=other).apply(TWO)


# What was changed by hand.


def test_status_names_what_was_changed_by_hand_and_apply_mends_it(
    stub: Stub, deployer: Make
) -> None:
    deployer().apply(ONE)
    held = stub.deployments[NAME]
    held["services"]["Router"]["scaling"]["max_replicas"] = 9
    held["envs"][0]["value"] = "live"
    held["envs"].append({"name": "DEBUG", "value": "1"})
    held["access_authorization"] = False
    held["bento"] = TWO.tag
    assert deployer().status().seen.differences == (
        "bento is 'router:def456', but was sent as 'router:abc123'.",
        "access_authorization is False, but was sent as True.",
        "envs.SWITCHYARD_MODE is 'live', but was sent as 'static'.",
        "envs.DEBUG was added by hand.",
        "services.Router.scaling.max_replicas is 9, but was sent as 4.",
    )
    deployer().apply(ONE)
    assert deployer().status().seen.differences == ()


def test_what_bentocloud_fills_in_is_no_difference(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.deployments[NAME]["services"]["Controller"]["instance_type"] = "cpu.1"
    assert deployer().status().seen.differences == ()


def test_deployment_that_is_gone(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.deployments.clear()
    seen = deployer().status().seen
    assert (seen.state, seen.differences) == ("absent", ("The deployment switchyard is gone.",))
    assert deployer().apply(ONE).status == "good"


def test_deployment_that_was_stopped_by_hand(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.status[NAME] = ["terminated"]
    seen = deployer().status().seen
    assert seen.state == "failed"
    assert "Its log stands at" in seen.why
    assert deployer().apply(ONE).status == "good"


def test_deployment_of_others_is_left_alone(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.deployments[NAME]["labels"] = []
    before = dict(stub.deployments[NAME])
    with pytest.raises(DeployFailed, match="was not made by Switchyard, and is left alone"):
        deployer().apply(TWO)
    with pytest.raises(DeployFailed, match="was not made by Switchyard"):
        deployer().delete()
    assert stub.deployments[NAME] == before


# What goes wrong.


@pytest.mark.parametrize("status", ["image-build-failed", "failed", "unhealthy"])
def test_release_that_does_not_come_up_makes_way(stub: Stub, deployer: Make, status: str) -> None:
    deployer().apply(ONE)
    stub.becomes[TWO.tag] = ["image-building", status]
    with pytest.raises(DeployFailed) as caught:
        deployer().apply(TWO)
    assert f"is {status!r}; what its log says stands at {stub.base}" in caught.value.message
    assert "Release 1 (router:abc123) is back, and answers." in caught.value.message
    assert stub.deployments[NAME]["bento"] == ONE.tag
    standing = deployer().status()
    assert (standing.release.status, standing.seen.state) == ("failed", "ready")


def test_first_release_that_does_not_come_up_leaves_nothing(stub: Stub, deployer: Make) -> None:
    stub.becomes[ONE.tag] = ["deploying", "failed"]
    with pytest.raises(DeployFailed, match="what it made was taken away"):
        deployer().apply(ONE)
    assert (stub.deployments, stub.secrets) == ({}, {})


def test_release_that_is_never_ready(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.becomes[TWO.tag] = ["deploying"]
    with pytest.raises(DeployFailed, match=r"is still 'deploying' after 0\.2 s"):
        deployer("ready_within=0.2").apply(TWO)
    assert stub.deployments[NAME]["bento"] == ONE.tag


def test_smoke_test_that_fails(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.answers[TWO.tag] = (500, {"error": "no model"})
    with pytest.raises(DeployFailed, match=r"smoke test of 'flights' failed.*no model"):
        deployer().apply(TWO)
    assert stub.deployments[NAME]["bento"] == ONE.tag


def test_bento_that_is_nowhere(stub: Stub, deployer: Make) -> None:
    with pytest.raises(
        DeployFailed, match='pushing the Bento router:none: Bento "router:none" not'
    ):
        deployer().apply(made(tag="router:none"))
    assert stub.deployments == {}


def test_token_without_rights(stub: Stub, deployer: Make) -> None:
    stub.refuse["GET", DEPLOYMENTS] = Refusal(403, "you may not do this")
    with pytest.raises(DeployFailed) as caught:
        deployer().apply(ONE)
    assert "(the API token; `bentoml cloud login` sets another): you may not do this" in (
        caught.value.message
    )


def test_quota_refused(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.refuse["PUT", DEPLOYMENTS] = Refusal(400, "the limit of 4 instances is reached")
    with pytest.raises(
        DeployFailed, match="making the deployment 'switchyard': the limit of 4 instances is reach"
    ):
        deployer().apply(TWO)
    assert stub.deployments[NAME]["bento"] == ONE.tag
    assert deployer().status().seen.state == "ready"


def test_cluster_that_is_not_there(stub: Stub, deployer: Make) -> None:
    with pytest.raises(DeployFailed, match="cluster moon not found"):
        deployer("cluster=moon").apply(ONE)


def test_network_that_breaks_in_the_middle(stub: Stub, deployer: Make) -> None:
    deployer().apply(ONE)
    stub.cut.add(("PUT", DEPLOYMENTS))
    with pytest.raises(DeployFailed, match="BentoCloud could not be reached in making the dep"):
        deployer().apply(TWO)
    stub.cut.clear()
    assert deployer().status().seen.state == "ready"
    assert deployer().apply(TWO).status == "good"


def test_second_apply_at_once(stub: Stub, deployer: Make) -> None:
    caught: list[Conflict] = []

    def meanwhile(_: Stub) -> None:
        stub.meanwhile = None
        try:
            deployer().apply(TWO)
        except Conflict as error:
            caught.append(error)

    stub.meanwhile = meanwhile
    deployer().apply(ONE)
    assert "Somebody else is deploying" in str(caught[0])


def test_credentials_that_are_not_there(
    stub: Stub, deployer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENTO_CLOUD_API_KEY")
    monkeypatch.setenv("BENTOML_CLOUD_CONTEXT", "nobody")
    with pytest.raises(DeployFailed, match=r"no credentials for BentoCloud; run `bentoml cloud"):
        deployer().apply(ONE)


def test_key_that_is_refused(stub: Stub, deployer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTO_CLOUD_API_KEY", "wrong")
    with pytest.raises(DeployFailed, match="the token is not valid"):
        deployer().apply(ONE)
