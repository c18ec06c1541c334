"""The prediction log of a real server holds exactly what was answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import httpx
import orjson
from e2e.calls import digits, flight, flights, send_all
from e2e.plans import example
from e2e.server import Server

from monitoring.log import feedback as feedback_log
from monitoring.log import predictions as log


def test_the_log_holds_exactly_the_answered_rows(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=example()).start()
    bodies = [{"inputs": flights(1 + n % 3), "key": f"k{n}"} for n in range(400)]
    bodies += [{"inputs": digits(300, n).tolist(), "endpoint": "digits"} for n in range(4)]
    bodies += [{"inputs": [flight(origin="LAX")]} for _ in range(20)]
    bodies += [{"inputs": [flight(), flight(origin="LAX")], "on_error": "row"} for _ in range(20)]
    replies = send_all(server.port, bodies)
    statuses = Counter(reply.status for reply in replies)
    assert statuses == {200: 424, 400: 20}
    httpx.post(f"{server.url}/feedback", json={"request_id": "f", "actual": 1}).raise_for_status()
    assert server.stop() == 0

    answered: Counter[tuple[str, str]] = Counter()
    for reply in replies:
        if reply.status == 200:
            answer = orjson.loads(reply.body)
            rows = sum(p is not None for p in answer["predictions"])
            answered[answer["request_id"], answer["model"]] += rows
    table = log.read(server.home / "log")
    logged = Counter(zip(table["request_id"].to_pylist(), table["model"].to_pylist(), strict=True))
    assert logged == answered
    assert set(table["role"].to_pylist()) == {"primary"}
    assert set(table["status"].to_pylist()) == {"ok"}
    parquet = list((server.home / "log" / "predictions").rglob("*.parquet"))
    assert {path.parent.parent.name for path in parquet} == {"endpoint=flights", "endpoint=digits"}

    one = orjson.loads(replies[1].body)
    rows = [r for r in table.to_pylist() if r["request_id"] == one["request_id"]]
    assert [row["row"] for row in sorted(rows, key=lambda row: row["row"])] == [0, 1]
    assert [row["distance"] for row in rows] == [100, 101]
    assert rows[0]["prediction"] == one["predictions"][0]
    assert rows[0]["assigned"] == rows[0]["variant"] == one["variant"]
    assert rows[0]["key"] not in (None, "k1")  # hashed
    assert feedback_log.read(server.home / "log")["request_id"].to_pylist() == ["f"]
