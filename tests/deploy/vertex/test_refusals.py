"""What goes wrong on the way to Vertex AI: a clear sentence, and a consistent place after it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import pytest
from bentos import made
from e2e.server import wait_until

from deploy.errors import DeployFailed, ExtraMissing, ValuesError
from deploy.releases import Deployer
from deploy.vertex import client
from switchyard.errors import Conflict
from switchyard.state import State

if TYPE_CHECKING:
    from vertex.vertex_fake import Vertex

pytestmark = pytest.mark.slow

ONE = made()
TWO = made(tag="router:def456")
Make = Callable[..., Deployer]

DENIED = "Permission 'aiplatform.models.upload' denied on resource '//aiplatform.googleapis.com'."
QUOTA = "The following quotas are exceeded: CustomModelServingT4GPUsPerProjectPerRegion"
NO_IMAGE = "Image europe-west4-docker.pkg.dev/my-project-1/models/switchyard:1.0 not found."
NOT_READY = "Model server never became ready. Please validate that your container is valid."


def failure(deployer: Deployer, bento: object = ONE) -> str:
    with pytest.raises(DeployFailed) as caught:
        deployer.apply(bento)  # type: ignore[arg-type]
    return caught.value.message


def test_account_without_rights(deployer: Make, vertex: Vertex, records: State) -> None:
    vertex.refused["UploadModel"] = [(grpc.StatusCode.PERMISSION_DENIED, DENIED)]
    message = failure(deployer())
    assert "This account may not upload projects/my-project-1/" in message
    assert DENIED.rstrip(".") in message
    assert "so what it made was taken away" in message
    assert vertex.is_empty
    assert records.releases("vertex")[0].status == "failed"
    assert deployer().status().seen.state == "absent"
    assert deployer().apply(ONE).status == "good"


def test_account_that_may_only_upload(deployer: Make, vertex: Vertex) -> None:
    vertex.refused["CreateEndpoint"] = [(grpc.StatusCode.PERMISSION_DENIED, "No rights.")]
    assert "This account may not create projects/" in failure(deployer())
    assert vertex.is_empty


def test_image_that_cannot_be_pulled(deployer: Make, vertex: Vertex) -> None:
    vertex.broken["UploadModel"] = (grpc.StatusCode.NOT_FOUND, NO_IMAGE)
    message = failure(deployer())
    assert "Vertex AI refused to upload projects/my-project-1/locations" in message
    assert NO_IMAGE in message
    assert vertex.is_empty


def test_quota_refused(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    vertex.broken["DeployModel"] = (grpc.StatusCode.RESOURCE_EXHAUSTED, QUOTA)
    message = failure(deployer(), TWO)
    assert "A quota of the project does not allow to deploy switchyard-" in message
    assert QUOTA in message
    assert "Release 1 (router:abc123) is back, and answers." in message
    assert vertex.split() == {"1": 100}
    seen = deployer().status().seen
    assert (seen.state, seen.differences) == ("ready", ())


def test_container_that_fails(deployer: Make, vertex: Vertex) -> None:
    vertex.broken["DeployModel"] = (grpc.StatusCode.FAILED_PRECONDITION, NOT_READY)
    assert NOT_READY in failure(deployer())
    assert vertex.is_empty


def test_never_ready(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    vertex.hanging.add("DeployModel")
    message = failure(deployer(ready_within=0.2), TWO)
    assert "Vertex AI did not deploy switchyard-" in message
    assert "within 0.2 seconds" in message
    assert "Cloud Logging" in message
    assert "Release 1 (router:abc123) is back, and answers." in message
    assert vertex.split() == {"1": 100}
    assert all(each.done for each in vertex.operations.values())


def test_never_ready_and_cannot_be_stopped(deployer: Make, vertex: Vertex) -> None:
    deployer(ready_within=2).apply(ONE)  # going back waits as long as that release may
    vertex.hanging.add("DeployModel")
    vertex.stubborn = True
    message = failure(deployer(ready_within=2), TWO)
    assert "Release 1 (router:abc123) is back, and answers." in message
    assert vertex.split() == {"1": 100}
    assert deployer().status().seen.state == "progressing"
    message = failure(deployer(ready_within=2), TWO)
    assert "has not ended an earlier operation on projects/" in message
    assert vertex.calls.count("DeployModel") == 2
    vertex.hanging.clear()  # it ends after all, and what it has made is used
    deployer(ready_within=2).apply(TWO)
    assert vertex.calls.count("DeployModel") == 2
    assert vertex.split() == {"1": 0, "2": 100}


def test_smoke_test_fails(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)

    def answers(version: str, body: object) -> list[float]:
        if version == "2":
            raise vertex.refusal("Host unreachable: torch")
        return [0.0]

    vertex.answers = answers
    message = failure(deployer(), TWO)
    assert "The smoke test of 'flights' failed: the answer was HTTP 400" in message
    assert "Host unreachable: torch" in message
    assert "Release 1 (router:abc123) is back, and answers." in message
    assert vertex.split() == {"1": 100}
    assert deployer().status().seen.differences == ()


def test_first_smoke_test_fails(deployer: Make, vertex: Vertex) -> None:
    vertex.answers = lambda version, body: []
    message = failure(deployer())
    assert "the answer holds no prediction for the row" in message
    assert vertex.is_empty


def test_network_is_away_for_a_moment(deployer: Make, vertex: Vertex) -> None:
    vertex.unreachable = 3
    assert deployer().apply(ONE).status == "good"
    assert vertex.unreachable == 0


def test_network_is_away(deployer: Make, vertex: Vertex, monkeypatch: pytest.MonkeyPatch) -> None:
    deployer().apply(ONE)
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.1)
    vertex.unreachable = 1000
    message = failure(deployer(), TWO)
    assert "Vertex AI could not be reached to" in message
    assert "Socket closed" in message
    assert "Going back failed too" in message
    with pytest.raises(DeployFailed, match="Vertex AI could not be reached to look at"):
        deployer().status()
    vertex.unreachable = 0
    assert deployer().status().seen.state == "ready"
    deployer().rollback()
    assert vertex.split() == {"1": 100}


def test_answer_lost_in_the_middle(deployer: Make, vertex: Vertex) -> None:
    """The deployment goes on without us: it is waited for, and not made twice."""
    deployer().apply(ONE)
    vertex.lost.add("DeployModel")
    message = failure(deployer(), TWO)
    assert "Connection reset by peer" in message
    assert "Release 1 (router:abc123) is back" in message
    assert vertex.split() == {"1": 100}
    deployer().apply(TWO)
    assert vertex.split() == {"1": 0, "2": 100}


def test_answer_lost_of_the_first_release(deployer: Make, vertex: Vertex) -> None:
    for method in ("UploadModel", "CreateEndpoint", "DeployModel", "UpdateEndpoint"):
        vertex.lost.add(method)
        assert "Connection reset by peer" in failure(deployer())
        assert vertex.is_empty, method


def test_killed_in_the_middle(deployer: Make, vertex: Vertex, said: list[str]) -> None:
    """The next one finishes what was begun, and deploys nothing twice."""
    vertex.hanging.add("DeployModel")
    killed = deployer()
    killed._tell = interrupted  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        killed.apply(ONE)
    seen = deployer().status().seen
    assert seen.state == "progressing"
    vertex.hanging.clear()
    deployer().apply(ONE)
    assert vertex.calls.count("DeployModel") == 1
    assert vertex.split() == {"1": 100}


def interrupted(what: str) -> None:
    if what.startswith("waiting for Vertex AI to deploy"):
        raise KeyboardInterrupt


def test_second_apply_at_once(deployer: Make, vertex: Vertex) -> None:
    vertex.hanging.add("DeployModel")
    first = threading.Thread(target=deployer().apply, args=(ONE,))
    first.start()
    wait_until(lambda: "DeployModel" in vertex.calls, "it is being deployed")
    with pytest.raises(Conflict, match="Somebody else is deploying to vertex my-project-1/"):
        deployer().apply(TWO)
    vertex.hanging.clear()
    first.join()
    assert vertex.split() == {"1": 100}
    assert vertex.calls.count("UploadModel") == 1


def test_changed_by_hand(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    deployer().apply(TWO)
    old, new = vertex.endpoint().deployed_models
    vertex.endpoint().traffic_split = {old.id: 60, new.id: 40}
    new.dedicated_resources.max_replica_count = 9
    assert deployer().status().seen.differences == (
        f"{new.display_name}: dedicatedResources.maxReplicaCount is 9, but 1 was sent.",
        f"{new.display_name} gets 40% of the traffic, but 100% was sent; the others: "
        f"{old.display_name} 60%.",
    )
    deployer().apply(TWO)
    assert deployer().status().seen.differences == ()


def test_undeployed_by_hand(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    vertex.endpoint().traffic_split = {}
    vertex.endpoint().deployed_models = []
    seen = deployer().status().seen
    assert seen.state == "failed"
    assert any("is not deployed" in each for each in seen.differences)
    deployer().apply(ONE)
    assert deployer().status().seen.state == "ready"


def test_alias_moved_by_hand(deployer: Make, vertex: Vertex) -> None:
    deployer().apply(ONE)
    (version,) = next(iter(vertex.versions.values()))
    version.version_aliases = ["default"]
    seen = deployer().status().seen
    assert any("has no version with the alias release-" in each for each in seen.differences)
    deployer().apply(ONE)
    assert deployer().status().seen.differences == ()


def test_split_changed_while_we_did(deployer: Make, vertex: Vertex) -> None:
    """A change by another hand between our look and ours is not overwritten."""
    deployer().apply(ONE)
    vertex.refused["UpdateEndpoint"] = [(grpc.StatusCode.ABORTED, "The etag is stale.")]
    message = failure(deployer(), TWO)
    assert "Vertex AI refused to change the traffic split of projects/" in message
    assert "The etag is stale" in message
    assert vertex.split() == {"1": 100}


def test_no_credentials(
    deployer: Make, vertex: Vertex, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(DeployFailed, match="There are no usable credentials of Google Cloud"):
        deployer().apply(ONE)
    assert vertex.calls == []


def test_broken_credentials(
    deployer: Make, vertex: Vertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/account.json")
    with pytest.raises(DeployFailed, match=r"/nowhere/account\.json was not found"):
        deployer().apply(ONE)


def test_packages_are_missing(
    deployer: Make, vertex: Vertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform_v1", None)
    monkeypatch.delattr("google.cloud.aiplatform_v1", raising=False)
    with pytest.raises(ExtraMissing, match=r"-e '\.\[vertex\]'"):
        deployer().apply(ONE)


def test_secret_is_missing(deployer: Make, vertex: Vertex) -> None:
    with pytest.raises(ValuesError, match="SALT is not set"):
        deployer(secrets={"SWITCHYARD_LOG_SALT": "SALT"}).apply(ONE)
    assert vertex.calls == []
