"""Starts the batch prediction of the values: `python -m deploy.vertex.batch -f values.yaml`.

It runs on machines of its own from the version of the model that `apply` has uploaded; the endpoint
is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.documents import Document
from deploy.errors import DeployFailed, ValuesError
from deploy.target import Say
from deploy.vertex import sent
from deploy.vertex.client import CALL_SECONDS, Client, connect, patient, told
from switchyard.errors import SwitchyardError

__all__ = ["start", "wait"]

POLL_SECONDS: Final = 30.0


def start(client: Client, documents: Sequence[Document], say: Say) -> str:
    """Starts the job, and returns its name.

    Args:
        client: The services.
        documents: As rendered.
        say: Takes progress.

    Raises:
        ValuesError: The values hold no batch prediction.
        DeployFailed: The platform refused; a version that was never applied is not there.
    """
    request = sent.batch(documents)
    if request is None:
        raise ValuesError("The values hold no 'batch', so there is no batch prediction to start.")
    with told("start the batch prediction"):
        job = client.jobs.create_batch_prediction_job(request, timeout=CALL_SECONDS)
    say(f"started {job.name}")
    return str(job.name)


def wait(client: Client, name: str, say: Say) -> str:
    """Waits for a job, and returns where its predictions are.

    Raises:
        DeployFailed: It failed or was stopped.
    """
    from google.cloud.aiplatform_v1 import JobState

    ended = (JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_PARTIALLY_SUCCEEDED)
    broken = (JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED, JobState.JOB_STATE_EXPIRED)
    while True:
        with told(f"look at {name}"):
            job = client.jobs.get_batch_prediction_job(
                name=name, retry=patient(), timeout=CALL_SECONDS
            )
        if job.state in broken:
            state = job.state.name.removeprefix("JOB_STATE_").lower()
            raise DeployFailed(f"{name} has {state}: {job.error.message}")
        if job.state in ended:
            counted = job.completion_stats
            say(f"{counted.successful_count} predicted, {counted.failed_count} failed")
            return str(job.output_info.gcs_output_directory)
        say(f"{job.state.name.removeprefix('JOB_STATE_').lower()}")
        time.sleep(POLL_SECONDS)


def main(
    files: Annotated[list[Path], typer.Option("-f", "--values", help="YAML file of values.")],
    bento: Annotated[str | None, typer.Option(help="Tag of the Bento.")] = None,
    image: Annotated[str | None, typer.Option(help="Image of the Bento.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="A value, key=value.")] = None,
) -> None:
    """Starts the batch prediction of the values, and waits for it."""
    from deploy.bento import find
    from deploy.values import read_values
    from deploy.vertex.requests import render
    from deploy.vertex.values import VertexValues

    try:
        values = read_values(VertexValues, files, changes or (), image)
        client = connect(values.host)
        name = start(client, render(find(bento), values), typer.echo)
        typer.echo(f"predictions are in {wait(client, name, typer.echo)}")
    except SwitchyardError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
