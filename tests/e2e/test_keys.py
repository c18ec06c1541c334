"""Who may: API keys and scopes where the plan asks for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import httpx
from e2e.calls import FLIGHT
from e2e.plans import two_variants
from e2e.server import ROOT, Server


def switchyard(server: Server, *words: str) -> str:
    command = [sys.executable, "-c", "from cli.main import main; main()", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=server.environ, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_keys_open_what_their_scopes_name(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=two_variants(auth="required")).start()
    made = switchyard(server, "keys", "create", "caller", "--scope", "predict", "--json")
    secret = httpx.Response(200, content=made).json()["secret"]
    body = {"inputs": [FLIGHT]}

    def post(path: str, token: str | None, content: object = body) -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.post(server.url + path, json=content, headers=headers).status_code

    assert post("/predict", None) == 401
    assert post("/predict", "wrong") == 401
    assert post("/predict", secret) == 200
    assert post("/feedback", secret, {"request_id": "r", "actual": 1}) == 403
    forced = {**body, "variant": "torch"}
    assert post("/predict", secret, forced) == 403
    assert post("/predict", "admin-of-the-tests", forced) == 200
    server.stop()
