"""Live drift on a real server: two router workers, one of which is killed."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import orjson
import pytest
from e2e.calls import flight, flights, send_all
from e2e.plans import two_variants
from e2e.server import Server, wait_until

from monitoring.log import predictions as log
from switchyard.state import State

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
PLAN = two_variants(0.7, 0.3, shadow="{torch: 0.5}", workers=2).replace(
    "router:", "    drift: {minimum: 200, ignore: [dest], every: 20s}\nrouter:"
)


def counted(state: State) -> Counter[tuple[str, str]]:
    """Rows by variant and name of the column; the fields of requests have no variant."""
    found: Counter[tuple[str, str]] = Counter()
    for one in state.drift_counts("flights", EPOCH):
        for name, counts in one.counts.items():
            assert sum(counts) == one.rows
            found[one.variant, name] += one.rows
    return found


def gauges(server: Server) -> dict[str, float]:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if "drift_" in line and line[0] != "#")
    return {name: float(value) for name, value in pairs}


@pytest.mark.slow
def test_two_workers_count_to_the_last_row(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=PLAN).start()
    state = State.open(f"sqlite:///{server.home / 'state.db'}")
    patient = {"timeout_ms": 20_000}
    bodies = [{"inputs": flights(1 + n % 3), "key": f"k{n}", **patient} for n in range(300)]
    bodies += [{"inputs": [flight(origin="LAX")]} for _ in range(20)]  # refused
    replies = send_all(server.port, bodies, at_once=8)
    assert Counter(reply.status for reply in replies) == {200: 300, 400: 20}
    wait_until(lambda: counted(state)["", "temp"] == 600, "all rows are in the database", 10)

    last = 'drift_counted_ratio{endpoint="flights"}'
    wait_until(lambda: last in gauges(server), "the scores are published", 40)
    name = 'feature_drift_score{endpoint="flights",feature_name="distance",method="ks"}'
    shown = gauges(server)
    assert shown[name] > shown[name.replace("score", "threshold")] > 0  # 100 to 102 miles
    assert not any("dest" in label for label in shown)
    assert shown[last] == 1.0
    assert {one.split('method="')[1][:3] for one in shown if "prediction_drift_score" in one} == {
        'ks"',
        "psi",
    }

    report = 'drift_report_verdict{endpoint="flights",kind="data"}'
    wait_until(lambda: gauges(server).get(report) == 1.0, "a report is made on schedule", 90)
    token = {"authorization": f"Bearer {server.environ['SWITCHYARD_ADMIN_TOKEN']}"}
    url = f"{server.url}/admin/v1/endpoints/flights/drift"
    said = httpx.get(url, headers=token).json()
    assert (said["verdict"]["rows"], said["verdict"]["status"]) == (600, "drift")
    assert (server.home / "reports" / "drift" / "flights").is_dir()
    live = {(one["variant"], one["name"]): one for one in said["live"]}
    assert live[None, "distance"]["score"] == pytest.approx(shown[name], abs=1e-9)
    assert live[None, "distance"]["rows"] == 600

    killed, _ = server.workers("Router")
    killed.send_signal(signal.SIGKILL)
    wait_until(lambda: server.status("/readyz") == 200, "the other worker answers")
    again = send_all(server.port, ({"inputs": flights(2)} for _ in range(100)), at_once=4)
    answered = [orjson.loads(one.body) for one in (*replies, *again) if one.status == 200]
    assert server.stop() == 0

    rows = Counter[tuple[str, str]]()
    for answer in answered:
        rows["", "temp"] += len(answer["predictions"])
        rows[answer["variant"], "score"] += len(answer["predictions"])
    total = counted(state)
    assert {key: total[key] for key in rows} == rows
    assert total["sklearn", "predicted"] == total["sklearn", "score"]
    table = log.read(server.home / "log").to_pylist()
    assert sum(row["role"] == "primary" for row in table) == total["", "temp"]
    state.close()
