"""The whole life of an endpoint, by Google's own SDK against a Vertex AI on loopback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from bentos import SERVICES, made

from deploy.errors import DeployFailed
from deploy.releases import Deployer

if TYPE_CHECKING:
    from vertex.vertex_fake import Vertex

pytestmark = pytest.mark.slow

ONE = made()
TWO = made(tag="router:def456")
THREE = made(tag="router:fff789")
FIRST = ["UploadModel", "CreateEndpoint", "DeployModel", "UpdateEndpoint", "Predict"]
Make = Callable[..., Deployer]


def test_first_release(deployer: Make, vertex: Vertex, said: list[str]) -> None:
    release = deployer().apply(ONE)
    assert release.status == "good"
    assert vertex.calls == FIRST
    assert vertex.split() == {"1": 100}
    assert vertex.tokens
    assert all(token.startswith("Bearer ey") for token in vertex.tokens)
    assert any("deploy switchyard-" in each for each in said)

    seen = deployer().status().seen
    assert (seen.state, seen.differences, seen.why) == ("ready", (), "")
    assert seen.address == (
        f"https://{vertex.host}/v1/projects/my-project-1/locations/europe-west4/"
        "endpoints/switchyard:predict"
    )
    assert [state for _, state in seen.parts] == [
        "there",
        "version 1",
        "100% of the traffic, n1-standard-4, 1 to 1 replicas, 1 there",
    ]


def test_second_time_changes_nothing(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer().apply(ONE)
    assert vertex.calls == [*FIRST, "Predict"]


def test_new_release_takes_over_and_the_old_one_stands_by(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer().apply(TWO)
    assert vertex.split() == {"1": 0, "2": 100}
    upload = next(each for each in reversed(vertex.requests) if hasattr(each, "parent_model"))
    assert (upload.model_id, upload.parent_model[-17:]) == ("", "models/switchyard")
    deployer().apply(THREE)
    assert vertex.split() == {"2": 0, "3": 100}
    assert deployer().status().seen.differences == ()


def test_without_standby_the_old_one_goes(deployer: Make, vertex: Vertex) -> None:
    deployer(standby=False).apply(ONE)
    deployer(standby=False).apply(TWO)
    assert vertex.split() == {"2": 100}
    deployer(standby=False).rollback()
    assert vertex.split() == {"1": 100}
    assert vertex.calls.count("UploadModel") == 2  # the version is still there


def test_standby_goes_when_it_is_no_longer_wanted(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer().apply(TWO)
    deployer(standby=False).apply(TWO)
    assert vertex.split() == {"2": 100}


def test_release_takes_over_step_by_step(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer(traffic=20).apply(TWO)
    assert vertex.split() == {"1": 80, "2": 20}
    assert deployer().status().seen.differences == ()
    deployer(traffic=50).apply(TWO)
    assert vertex.split() == {"1": 50, "2": 50}
    deployer(traffic=100).apply(TWO)
    assert vertex.split() == {"1": 0, "2": 100}
    deployer().rollback()
    assert vertex.split() == {"1": 50, "2": 50}
    assert vertex.calls.count("DeployModel") == 2


def test_smoke_test_waits_for_the_release_itself(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    del vertex.calls[:]
    answered: list[str] = []
    vertex.answers = lambda version, body: answered.append(version) or [0.0]
    deployer(traffic=5).apply(TWO)
    assert answered[-1] == "2"
    assert set(answered[:-1]) == {"1"}


@pytest.mark.parametrize("standby", [True, False])
def test_mixed_traffic_comes_back_after_a_bad_release(
    deployer: Make, vertex: Vertex, standby: bool
) -> None:
    deployer(standby=standby).apply(ONE)
    deployer(standby=standby, traffic=20).apply(TWO)
    vertex.answers = lambda version, body: [None if version == "3" else 0.0]
    with pytest.raises(DeployFailed, match=r"Release 2 .* is back"):
        deployer(standby=standby).apply(THREE)
    assert vertex.split() == {"1": 80, "2": 20}


def test_rollback_moves_the_traffic_and_undeploys(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer().apply(TWO)
    del vertex.calls[:]
    release = deployer().rollback()
    assert release.why == "rollback to release 1"
    assert vertex.calls == ["UpdateEndpoint", "UndeployModel", "Predict"]
    assert vertex.split() == {"1": 100}


def test_replicas_are_changed_in_place(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer(replicas={"minimum": 2, "maximum": 4}).apply(ONE)
    assert "MutateDeployedModel" in vertex.calls
    assert vertex.calls.count("DeployModel") == 1
    resources = vertex.endpoint().deployed_models[0].dedicated_resources
    assert (resources.min_replica_count, resources.max_replica_count) == (2, 4)
    deployer().rollback()
    assert resources.min_replica_count == 1


def test_another_machine_is_another_deployed_model(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer(machine="n1-standard-8").apply(ONE)
    assert len(set(vertex.deployed())) == 2
    assert vertex.calls.count("UploadModel") == 1


def test_gpus_come_from_the_bento(deployer: Make, vertex: Vertex) -> None:
    services = [
        replace(e, gpu=1, gpu_type="nvidia-l4") if "Torch" in e.name else e for e in SERVICES
    ]
    deployer().apply(made(services=tuple(services)))
    machine = vertex.endpoint().deployed_models[0].dedicated_resources.machine_spec
    assert (machine.machine_type, machine.accelerator_type.name) == ("g2-standard-8", "NVIDIA_L4")


def test_another_secret_is_another_version(deployer: Make, vertex: Vertex) -> None:
    live = {"mode": "live", "database": "URL", "log_store": "gs://bucket/log"}
    deployer({"URL": "postgresql://old"}, shared=live).apply(ONE)
    deployer({"URL": "postgresql://new"}, shared=live).apply(ONE)
    assert vertex.split() == {"1": 0, "2": 100}
    urls = [each.value for each in vertex.version("2").container_spec.env if "URL" in each.name]
    assert urls == ["postgresql://new"]
    standing = deployer(shared=live).status()
    assert standing.seen.differences == ()
    assert "postgresql" not in str(standing.release.documents)


def test_delete_takes_all_away(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer(traffic=30).apply(TWO)
    assert deployer().delete().status == "deleted"
    assert vertex.is_empty
    assert deployer().status().seen.state == "absent"
    deployer().apply(ONE)
    assert deployer().status().seen.state == "ready"


def test_delete_leaves_what_others_have_deployed(
    deployer: Make, vertex: Vertex, said: list[str]
) -> None:
    deployer().apply(ONE)
    vertex.deploy_by_hand("switchyard-of-theirs", 30)
    deployer().delete()
    assert vertex.deployed() == ["switchyard-of-theirs"]
    assert vertex.endpoint().traffic_split == {vertex.endpoint().deployed_models[0].id: 100}
    assert any("others have deployed models to it" in each for each in said)


@pytest.mark.parametrize("kind", ["models", "endpoints"])
def test_what_others_have_made_is_not_touched(deployer: Make, vertex: Vertex, kind: str) -> None:
    vertex.make_by_hand(kind)
    with pytest.raises(DeployFailed, match=r"was not made from here .* take another 'name'"):
        deployer().apply(ONE)
    assert not vertex.is_empty


def test_model_that_is_told_without_its_container(deployer: Make, vertex: Vertex) -> None:
    vertex.discreet = True
    deployer().apply(ONE)
    deployer().apply(ONE)
    assert vertex.calls.count("UploadModel") == 1
    assert deployer().status().seen.differences == ()
