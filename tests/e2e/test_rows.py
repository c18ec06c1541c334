"""Rows on which the model itself fails, beside rows that it can answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.lines import own_models, remove_models
from e2e.server import Server, wait_until

from monitoring.log import predictions as log

PLAN = """
endpoints:
  line:
    stable: only
    variants:
      only: {model: "line:production"}
"""


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    own = make_server(plan=PLAN)
    own_models(own)
    yield own.start()
    remove_models(own)


def ask(server: Server, values: list[Any], **more: Any) -> httpx.Response:
    body = {"inputs": [{"x": value} for value in values], **more}
    return httpx.post(f"{server.url}/predict", json=body, timeout=10)


def test_such_rows_refuse_the_request_and_are_named(server: Server) -> None:
    reply = ask(server, [1, 1e308, 2, 1e308])
    assert (reply.status_code, reply.json()["code"]) == (500, "model_failed")
    assert [problem["row"] for problem in reply.json()["details"]] == [1, 3]


def test_by_row_they_fail_alone_beside_malformed_ones(server: Server) -> None:
    reply = ask(server, [1, "no number", 1e308, 2, 1e308, 3], on_error="row")
    assert reply.status_code == 200
    answer = reply.json()
    assert answer["predictions"] == pytest.approx([10, None, None, 20, None, 30], nan_ok=True)
    assert [problem["row"] for problem in answer["errors"]] == [1, 2, 4]
    assert "NaN or infinity" in answer["errors"][1]["problem"]
    rows = _logged(server, answer["request_id"], 5)
    assert [(row["row"], row["x"], row["prediction"]) for row in rows] == [
        (0, 1, 10), (2, 1e308, None), (3, 2, 20), (4, 1e308, None), (5, 3, 30),
    ]  # fmt: skip


def test_by_row_a_request_of_nothing_else_is_answered_too(server: Server) -> None:
    answer = ask(server, [1e308, "no number"], on_error="row").json()
    assert answer["predictions"] == [None, None]
    assert [problem["row"] for problem in answer["errors"]] == [0, 1]


def test_feedback_finds_its_row(server: Server) -> None:
    answer = ask(server, [1e308, 4], on_error="row").json()
    rows = _logged(server, answer["request_id"], 2)
    assert [(row["row"], row["status"]) for row in rows] == [(0, "error"), (1, "ok")]


def _logged(server: Server, request_id: str, count: int) -> list[dict[str, Any]]:
    def rows() -> list[dict[str, Any]]:
        found = log.read(Path(server.home) / "log", "line").to_pylist()
        return sorted(
            (row for row in found if row["request_id"] == request_id), key=lambda row: row["row"]
        )

    wait_until(lambda: len(rows()) >= count, "the log has the rows")
    return rows()
