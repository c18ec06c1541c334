"""Shadows: every answered request is mirrored, logged as shadow, and cannot hurt the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from e2e.calls import flights, send_all
from e2e.plans import two_variants
from e2e.server import Server, wait_until

from monitoring.log import predictions as log

Rows = dict[tuple[str, int], dict[str, Any]]


def assert_compared(server: Server, primary: Rows, shadow: Rows) -> None:
    """What the admin route says of the shadow is what the log says."""
    reply = httpx.get(
        f"{server.url}/admin/v1/endpoints/flights/shadow?window=10m&worst=1",
        headers={"authorization": f"Bearer {server.environ['SWITCHYARD_ADMIN_TOKEN']}"},
        timeout=30,
    )
    assert reply.status_code == 200, reply.text
    (torch,) = reply.json()["shadows"]
    assert (torch["variant"], torch["rows"], torch["unpaired"], torch["errors"]) == (
        "torch", len(primary), 0, 0,
    )  # fmt: skip
    same = [shadow[at]["prediction"] == primary[at]["prediction"] for at in primary]
    assert torch["agreement"] == pytest.approx(sum(same) / len(same))
    scores = {at: row["probabilities"][1] for at, row in primary.items()}
    apart = {at: shadow[at]["probabilities"][1] - score for at, score in scores.items()}
    assert torch["differences"]["largest"] == pytest.approx(max(map(abs, apart.values())))
    assert torch["differences"]["mean"] == pytest.approx(sum(apart.values()) / len(apart))
    (worst,) = torch["worst"]
    at = (worst["request_id"], worst["row"])
    assert worst["difference"] == pytest.approx(apart[at])
    assert worst["fields"]["distance"] == primary[at]["distance"]


def test_shadows_are_logged_beside_the_answers(make_server: Callable[..., Server]) -> None:
    plan = two_variants(1.0, 0.0, shadow="{torch: 1.0}")
    server = make_server(plan=plan).start()
    bodies = ({"inputs": flights(1 + n % 2), "key": f"k{n}"} for n in range(300))
    replies = send_all(server.port, bodies, at_once=8)
    answers = {a["request_id"]: a for a in (orjson.loads(reply.body) for reply in replies)}
    assert {answer["variant"] for answer in answers.values()} == {"sklearn"}
    folder = server.home / "log"
    wait_until(lambda: log.read(folder).num_rows == 900, "all rows of both roles are logged")

    rows = log.read(folder).to_pylist()
    primary = {(r["request_id"], r["row"]): r for r in rows if r["role"] == "primary"}
    shadow = {(r["request_id"], r["row"]): r for r in rows if r["role"] == "shadow"}
    assert primary.keys() == shadow.keys()
    assert {r["variant"] for r in shadow.values()} == {"torch"}
    assert {r["assigned"] for r in shadow.values()} == {"sklearn"}
    assert all(shadow[at]["distance"] == primary[at]["distance"] for at in primary)
    assert_compared(server, primary, shadow)

    (torch,) = server.workers("TorchHost")
    torch.suspend()
    wait_until(
        lambda: httpx.get(f"{server.url}/health").json()["hosts"]["torch"]["up"] is False,
        "the router notices",
    )
    replies = send_all(server.port, ({"inputs": flights(1)} for _ in range(200)), at_once=8)
    assert {reply.status for reply in replies} == {200}
    torch.resume()

    def shed() -> bool:
        text = httpx.get(f"{server.url}/metrics").text
        line = 'requests_shed_total{endpoint="flights",reason="shadow"} '
        return any(row.startswith(line) and float(row.split()[-1]) > 0 for row in text.splitlines())

    wait_until(shed, "what could not be mirrored is counted", 20)
    ratio = 'shadow_agreement_ratio{endpoint="flights",variant="torch"}'
    wait_until(
        lambda: ratio in httpx.get(f"{server.url}/metrics").text, "the agreement is published", 40
    )
    assert server.stop() == 0
