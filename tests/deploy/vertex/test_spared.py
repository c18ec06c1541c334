"""A first release that fails over what another machine deployed to Vertex AI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bentos import made

from deploy.errors import DeployFailed
from deploy.releases import Deployer
from deploy.vertex import client
from switchyard.state import State

if TYPE_CHECKING:
    from vertex.vertex_fake import Vertex

pytestmark = pytest.mark.slow

ONE, TWO, THREE = made(), made(tag="router:def456"), made(tag="router:fff789")
Make = Callable[..., Deployer]

QUOTA = (grpc.StatusCode.RESOURCE_EXHAUSTED, "The quota is used up.")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[State]:
    """The state database of another machine."""
    with closing(State.open(f"sqlite:///{tmp_path / 'other.db'}")) as opened:
        yield opened


def failure(deployer: Deployer, bento: Any) -> str:
    with pytest.raises(DeployFailed) as caught:
        deployer.apply(bento)
    return caught.value.message


def _upload_fails(vertex: Vertex) -> None:
    vertex.broken["UploadModel"] = QUOTA


def _deployment_fails(vertex: Vertex) -> None:
    vertex.broken["DeployModel"] = QUOTA


def _split_is_refused(vertex: Vertex) -> None:
    vertex.refused["UpdateEndpoint"] = [(grpc.StatusCode.ABORTED, "The etag is stale.")]


def _smoke_fails(vertex: Vertex) -> None:
    vertex.answers = lambda version, body: [0.0 if version == "1" else None]


@pytest.mark.parametrize("standby", [True, False])
@pytest.mark.parametrize(
    "misbehave", [_upload_fails, _deployment_fails, _split_is_refused, _smoke_fails]
)
def test_what_it_made_goes_and_the_traffic_comes_back(
    deployer: Make,
    vertex: Vertex,
    other: State,
    misbehave: Callable[[Vertex], None],
    standby: bool,
) -> None:
    deployer().apply(ONE)
    (name,) = vertex.deployed()
    misbehave(vertex)
    assert failure(deployer(state=other, standby=standby), TWO).endswith(
        "What it made was taken away; projects/my-project-1/locations/europe-west4/endpoints/"
        f"switchyard was there before it, and has its traffic as it was then: 100% to {name}."
    )
    assert vertex.split() == {"1": 100}
    assert [each.version_id for made in vertex.versions.values() for each in made] == ["1"]
    assert deployer().status().seen.differences == ()
    assert deployer().apply(ONE).status == "good"


def test_mixed_traffic_and_what_has_none_stay_as_they_were(
    deployer: Make, vertex: Vertex, other: State
) -> None:
    deployer().apply(ONE)
    deployer().apply(TWO)
    deployer(traffic=30).apply(THREE)
    vertex.answers = lambda version, body: [None if version == "4" else 0.0]
    fourth = made(tag="router:aaa111")
    assert "70% to" in failure(deployer(state=other, standby=False), fourth)
    assert vertex.split() == {"2": 70, "3": 30}
    deployer().rollback()
    assert vertex.split()["2"] == 100


def test_the_same_version_with_another_secret_gets_its_alias_back(
    deployer: Make, vertex: Vertex, other: State
) -> None:
    live = {"mode": "live", "database": "URL", "log_store": "gs://bucket/log"}
    deployer({"URL": "postgresql://one"}, shared=live).apply(ONE)
    aliases = list(vertex.version("1").version_aliases)
    vertex.broken["DeployModel"] = QUOTA
    failure(deployer({"URL": "postgresql://two"}, shared=live, state=other), ONE)
    assert sorted(vertex.version("1").version_aliases) == sorted(aliases)
    assert deployer(shared=live).status().seen.differences == ()


def test_a_model_without_an_endpoint_stays(deployer: Make, vertex: Vertex, other: State) -> None:
    deployer().apply(ONE)
    vertex.endpoints.clear()
    _smoke_fails(vertex)
    assert "what it made was taken away" in failure(deployer(state=other), TWO)
    assert not vertex.endpoints
    assert [each.version_id for made in vertex.versions.values() for each in made] == ["1"]


def test_nothing_is_sent_while_nobody_can_tell_what_is_there(
    deployer: Make, vertex: Vertex, other: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer().apply(ONE)
    vertex.calls.clear()
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.1)
    vertex.unreachable = 1000
    assert failure(deployer(state=other), TWO).startswith("Vertex AI could not be reached to look")
    assert vertex.calls == []
    assert other.releases("vertex") == []


def test_a_good_release_takes_over_and_clears_up(
    deployer: Make, vertex: Vertex, other: State
) -> None:
    deployer().apply(ONE)
    deployer(state=other, standby=False).apply(TWO)
    assert vertex.split() == {"1": 0, "2": 100}
    deployer(state=other, standby=False).apply(TWO)
    assert vertex.split() == {"2": 100}
