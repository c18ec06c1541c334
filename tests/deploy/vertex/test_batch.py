"""Batch predictions, by Google's own SDK against a Vertex AI on loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import typer
from bentos import made
from typer.testing import CliRunner, Result

from deploy.releases import Deployer
from deploy.vertex import batch

if TYPE_CHECKING:
    from vertex.vertex_fake import Vertex

pytestmark = pytest.mark.slow

VALUES = """\
project: my-project-1
region: europe-west4
image: europe-west4-docker.pkg.dev/my-project-1/models/switchyard:1.0
"""
BATCH = """\
batch: { input: ["gs://bucket/in.jsonl"], output: "gs://bucket/out", replicas: { maximum: 3 } }
"""
Run = Callable[..., Result]


@pytest.fixture
def run(vertex: Vertex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `python -m deploy.vertex.batch` with values."""
    monkeypatch.setattr(batch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr("deploy.bento.find", lambda tag: made())
    app = typer.Typer()
    app.command()(batch.main)

    def command(text: str = VALUES + BATCH, *more: str) -> Result:
        path = tmp_path / "values.yaml"
        path.write_text(text)
        return CliRunner().invoke(app, ["-f", str(path), "--set", f"api={vertex.host}", *more])

    return command


def test_batch_prediction(run: Run, vertex: Vertex, deployer: Callable[..., Deployer]) -> None:
    deployer().apply(made())
    del vertex.calls[:]
    result = run()
    assert result.exit_code == 0, result.output
    assert "3 predicted, 0 failed" in result.output
    assert "predictions are in gs://bucket/out/prediction-switchyard" in result.output
    assert vertex.calls == ["CreateBatchPredictionJob"]
    job: Any = next(iter(vertex.jobs.values()))
    assert job.model.rpartition("@")[2].startswith("release-")
    assert job.dedicated_resources.max_replica_count == 3


def test_version_that_was_never_applied(run: Run) -> None:
    result = run()
    assert result.exit_code == 1
    assert "Vertex AI refused to start the batch prediction: The Model does not exist" in (
        result.output
    )


def test_job_that_fails(run: Run, vertex: Vertex, deployer: Callable[..., Deployer]) -> None:
    deployer().apply(made())
    vertex.broken["CreateBatchPredictionJob"] = (
        grpc.StatusCode.NOT_FOUND,
        "gs://bucket/in.jsonl does not exist.",
    )
    result = run()
    assert result.exit_code == 1
    assert "has failed: gs://bucket/in.jsonl does not exist." in result.output


def test_values_without_a_batch(run: Run, vertex: Vertex) -> None:
    result = run(VALUES)
    assert result.exit_code == 1
    assert "The values hold no 'batch'" in result.output
    assert vertex.calls == []
