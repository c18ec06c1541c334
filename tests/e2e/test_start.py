"""What the start says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest
from e2e.plans import DIGITS
from e2e.server import ROOT, Server


def test_a_bad_plan_stops_the_start_with_one_sentence(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=DIGITS.replace("stable: sklearn", "stable: sklaern"))
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", server.target, "--port", str(server.port)],
        cwd=ROOT, env=server.environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    (sentence,) = done.stderr.strip().splitlines()
    assert "line 4" in sentence
    assert "sklaern" in sentence


def test_the_start_says_where_the_token_is_and_when_it_is_ready(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(plan=DIGITS, env={"SWITCHYARD_ADMIN_TOKEN": ""}).start()
    assert server.stop() == 0
    said = server.output.read_text()
    assert f"the admin token is in {server.home / 'admin.token'}" in said
    assert "every variant is loaded and warm" in said
    assert (server.home / "admin.token").stat().st_mode & 0o777 == 0o600


GPU = "hosts: {sklearn: {resources: {gpu: 1}}}\n"
NO_GPU = "finds none that works here"


@pytest.mark.slow
def test_a_declared_gpu_that_is_missing_is_said_once(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=DIGITS + GPU, env={"CUDA_VISIBLE_DEVICES": ""}).start()
    report = httpx.get(f"{server.url}/health").json()
    assert report["hosts"]["sklearn"]["device"] == "cpu"
    server.stop()
    assert server.output.read_text().count(NO_GPU) == 1


@pytest.mark.slow
def test_a_required_gpu_that_is_missing_stops_the_serve(make_server: Callable[..., Server]) -> None:
    plan = DIGITS + GPU.replace("}}}", "}, gpu_required: true}}")
    server = make_server(plan=plan, env={"CUDA_VISIBLE_DEVICES": ""})
    server.launch()
    assert server.process is not None
    server.process.wait(60)
    assert server.output.read_text().count(NO_GPU) == 1
