"""Shadows: every answered request is mirrored, logged as shadow, and cannot hurt the answer."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import orjson
from e2e.calls import flights, send_all
from e2e.plans import two_variants
from e2e.server import Server, wait_until

from monitoring import log


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
    assert server.stop() == 0
