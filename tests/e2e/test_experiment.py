"""From predictions and feedback over HTTP to what `switchyard experiment show` says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from e2e.calls import digits
from e2e.server import ROOT, Server, wait_until

PLAN = """
endpoints:
  digits:
    stable: old
    variants:
      old: {model: "digits-sklearn:production"}
      new: {model: "digits-sklearn:production"}
    traffic: {split: {old: 0.5, new: 0.5}}
    limits: {timeout_ms: 500}
    metrics:
      primary: accuracy
      guardrails: [latency]
      define:
        profit: {sql: "CASE WHEN actual = '1' THEN reward ELSE 0 END"}
      outcome_window: 1s
      minimum: 5
"""


def switchyard(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cli.main import main; main()", *words]
    return subprocess.run(
        command, cwd=ROOT, env=server.environ, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
def test_feedback_over_http_becomes_an_experiment(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=PLAN).start()
    with httpx.Client(base_url=server.url) as client:
        arms: dict[str, list[float]] = {"old": [], "new": []}
        for number, row in enumerate(digits(40).tolist()):
            body = {"inputs": [row], "key": f"user {number}"}
            answer = client.post("/predict", json=body).raise_for_status().json()
            predicted = answer["predictions"][0]
            right = number % 2 == 0
            told = {"request_id": answer["request_id"], "reward": 1e308}
            told["actual"] = predicted if right else (predicted + 1) % 10
            assert client.post("/feedback", json=[told, told]).status_code == 202
            arms[answer["variant"]].append(float(right))
        assert client.post("/feedback", json={"request_id": "?", "actual": 1}).status_code == 202
        assert min(map(len, arms.values())) > 5

        found: dict[str, Any] = {}

        def all_in() -> bool:
            done = switchyard(server, "experiment", "show", "--json")
            assert done.returncode == 0, done.stderr
            found.update(orjson.loads(done.stdout))
            return sum(arm["n"] for arm in found["metrics"][0]["arms"]) == 40

        wait_until(all_in, "all windows have closed", 40)
        accuracy, latency, _ = found["metrics"]
        means = {arm["arm"]: (arm["n"], arm["mean"]) for arm in accuracy["arms"]}
        right_share = {arm: pytest.approx(sum(of) / len(of)) for arm, of in arms.items()}
        assert means == {arm: (len(of), right_share[arm]) for arm, of in arms.items()}
        assert found["ratio"]["observed"] == [len(arms["old"]), len(arms["new"])]
        assert found["verdict"] == "no difference yet"
        assert (latency["role"], latency["higher_is_better"]) == ("guardrail", False)

        token = {"authorization": f"Bearer {server.environ['SWITCHYARD_ADMIN_TOKEN']}"}
        path = "/admin/v1/endpoints/digits/experiment"
        shown = client.get(path, headers=token).raise_for_status().json()
        assert shown["metrics"] == found["metrics"]
        assert client.get(f"{path}?number=2", headers=token).status_code == 404
        assert client.get(f"{path}?number=-1", headers=token).status_code == 400
        assert client.get(path).status_code == 401
    text = switchyard(server, "experiment", "show", "digits").stdout
    assert "No difference yet." in text
    assert f"old {len(arms['old'])} of 20 planned" in text
    assert server.stop() == 0
