"""`switchyard deploy vertex`, from the first word to the last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bentos import PLAN, made
from commands import Run, commands

from cli.deploy import app
from deploy.targets import example_values
from switchyard.errors import NotFound

if TYPE_CHECKING:
    from vertex.vertex_fake import Vertex

pytestmark = pytest.mark.slow

EXAMPLE = str(example_values("vertex"))


@pytest.fixture
def run(vertex: Vertex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def find(tag: str | None) -> object:
        if tag == "router:gone":
            raise NotFound("There is no Bento 'router:gone' in the store.")
        return made(tag=tag or "router:abc123")

    monkeypatch.setattr("deploy.bento.find", find)
    return commands(app, tmp_path, monkeypatch, PLAN, "vertex")


def test_from_render_to_delete(run: Run, vertex: Vertex) -> None:
    given = ("-f", EXAMPLE, "--set", f"api={vertex.host}")
    assert "ModelService.UploadModel" in run("render", *given).output
    assert vertex.calls == []

    first = run("apply", *given)
    assert first.exit_code == 0, first.output
    assert "release 1 of router:abc123 is good" in first.output
    assert "CreateBatchPredictionJob" not in vertex.calls

    second = run("apply", *given, "--bento", "router:def456", "--set", "traffic=25", "--json")
    assert json.loads(second.stdout)["status"] == "good"
    assert vertex.split() == {"1": 75, "2": 25}

    status = run("status")
    assert status.exit_code == 0, status.output
    assert f"ready at https://{vertex.host}/v1/projects/my-project-1/" in status.output
    assert "25% of the traffic, n1-standard-4, 2 to 6 replicas, 2 there" in status.output

    assert run("rollback").exit_code == 0
    assert vertex.split() == {"1": 100}

    vertex.endpoint().deployed_models[0].dedicated_resources.min_replica_count = 1
    changed = run("status")
    assert changed.exit_code == 3
    assert "dedicatedResources.minReplicaCount is 1, but 2 was sent." in changed.output

    assert run("delete").exit_code == 0
    assert vertex.is_empty


def test_bento_that_is_not_there(run: Run, vertex: Vertex) -> None:
    result = run("apply", "-f", EXAMPLE, "--bento", "router:gone")
    assert result.exit_code == 1
    assert isinstance(result.exception, NotFound)
    assert vertex.calls == []
