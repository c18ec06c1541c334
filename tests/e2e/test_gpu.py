"""A host that was given a GPU; where this machine has none, these tests are skipped."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from e2e.calls import digits, flights, send_all
from e2e.server import Server
from e2e.versions import another, own_store, switchyard

import models.torch as loader
from switchyard.state import State

pytestmark = pytest.mark.skipif(loader.device() != "cuda", reason="torch finds no GPU here")

PLAN = """
endpoints:
  flights:
    default: true
    stable: torch
    variants:
      torch: {model: "flights-torch:production"}
  digits:
    stable: torch
    variants:
      torch: {model: "digits-torch:production"}
hosts:
  torch: {gpu_required: true, threads: 2, resources: {gpu: 1}}
"""


@pytest.fixture(scope="module")
def served(make_server: Callable[..., Server], store, tmp_path_factory):
    own = own_store(store, tmp_path_factory.mktemp("store"))
    made = make_server(plan=PLAN)
    (made.bentoml_home / "models").unlink()
    (made.bentoml_home / "models").symlink_to(own / "models")
    yield made.start()
    assert made.stop() == 0


def test_the_host_runs_on_the_gpu_and_says_so(served: Server) -> None:
    report = httpx.get(f"{served.url}/health").json()
    assert report["hosts"]["torch"]["device"] == "cuda"


def test_answers_equal_those_of_the_cpu(served: Server, make_server: Callable[..., Server]) -> None:
    bodies = [{"inputs": flights(n)} for n in (1, 7, 64)]
    bodies += [{"endpoint": "digits", "inputs": digits(n).tolist()} for n in (1, 33)]
    answers = [json.loads(reply.body) for reply in send_all(served.port, bodies)]
    plan = PLAN.replace("gpu_required: true, ", "")
    cpu = make_server(plan=plan, env={"CUDA_VISIBLE_DEVICES": ""}).start()
    assert httpx.get(f"{cpu.url}/health").json()["hosts"]["torch"]["device"] == "cpu"
    expected = [json.loads(reply.body) for reply in send_all(cpu.port, bodies)]
    cpu.stop()
    for one, other in zip(answers, expected, strict=True):
        np.testing.assert_allclose(one["probabilities"], other["probabilities"], atol=1e-3)


def test_requests_at_once_get_their_own_rows(served: Server) -> None:
    rows = digits(400)
    bodies = [{"endpoint": "digits", "inputs": [row]} for row in rows.tolist()]
    replies = send_all(served.port, bodies, at_once=64)
    assert {reply.status for reply in replies} == {200}
    together = httpx.post(
        f"{served.url}/predict",
        json={"endpoint": "digits", "inputs": rows.tolist()}, timeout=30,
    ).json()  # fmt: skip
    single = [json.loads(reply.body)["probabilities"][0] for reply in replies]
    np.testing.assert_allclose(single, together["probabilities"], atol=1e-3)


def test_a_promotion_checks_the_new_version_on_the_gpu(served: Server) -> None:
    state = State.open(f"sqlite:///{served.home / 'state.db'}")
    old = state.alias("flights-torch", "production")
    state.close()
    new = another(served, f"flights-torch:{old}")
    moved = json.loads(switchyard(served, "models", "promote", "flights-torch", new, "--json"))
    assert (moved["version"], moved["changed"]) == (new, True)
    body = {"inputs": flights(1)}
    answer = httpx.post(f"{served.url}/predict", json=body).json()
    assert answer["model"] == f"flights-torch:{new}"
