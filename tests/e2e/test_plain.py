"""The lean way answers what BentoML's own way answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from e2e.calls import digits, flight, flights
from e2e.server import ROOT, Server, wait_until
from e2e.test_predict import BAD
from prometheus_client.parser import text_string_to_metric_families

VALID: list[dict[str, Any]] = [
    {"inputs": [flight()], "variant": "torch"},
    {"inputs": flights(7), "variant": "sklearn", "key": "a"},
    {"inputs": {k: [v, v] for k, v in flight().items()}, "variant": "tensorflow"},
    {"inputs": [list(flight().values())], "variant": "sklearn", "timeout_ms": 1500},
    {"inputs": digits(3).tolist(), "endpoint": "digits", "variant": "torch"},
    {"inputs": [flight(), flight(origin="LAX")], "variant": "torch", "on_error": "row"},
    {"inputs": [flight()], "key": "sticky"},
]

ELSEWHERE: list[tuple[str, dict[str, Any]]] = [
    ("/invocations", {"dataframe_records": flights(3), "params": {"variant": "torch"}}),
    ("/invocations", {"inputs": digits(2).tolist(), "endpoint": "digits", "variant": "sklearn"}),
    ("/score", {"data": flights(2), "variant": "tensorflow"}),
]
"""Requests of other platforms, which BentoML's own way knows as well."""

BAD_ELSEWHERE: list[tuple[str, Any]] = [
    ("/invocations", {}),
    ("/invocations", [1]),
    ("/invocations", {"instances": [flight(origin="LAX")]}),
    ("/invocations", {"instances": flights(1), "params": {"variants": "torch"}}),
    ("/score", {"input_data": 5}),
    ("/score", {"data": flights(1), "key": 5}),
]


@pytest.fixture(scope="module")
def plain(make_server: Callable[..., Server]) -> Server:
    server: Server = make_server(
        target="e2e.plain:Router", cwd=ROOT, env={"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
    )
    server.launch()
    return server


@pytest.fixture(scope="module")
def both(server: Server, plain: Server) -> tuple[str, str]:
    def answers() -> bool:
        try:
            body = {"inputs": [flight()], "variant": "tensorflow"}
            return all(
                httpx.post(f"{plain.url}/predict", json={**body, "variant": v}).status_code == 200
                for v in ("sklearn", "torch", "tensorflow")
            )
        except httpx.TransportError:
            return False

    wait_until(answers, f"the plain server is ready: {plain.said()}", 120)
    return server.url, plain.url


@pytest.mark.parametrize(
    ("path", "body"),
    [*(("/predict", body) for body in VALID), *ELSEWHERE],
    ids=range(len(VALID) + len(ELSEWHERE)),
)
def test_valid_requests_get_equal_answers(
    both: tuple[str, str], path: str, body: dict[str, Any]
) -> None:
    lean, plain = (httpx.post(f"{url}{path}", json=body) for url in both)
    assert (lean.status_code, plain.status_code) == (200, 200), plain.text
    ours, theirs = lean.json(), plain.json()
    for key in ("probabilities", "confidence"):  # two processes may round differently
        np.testing.assert_allclose(_numbers(ours, key), _numbers(theirs, key), rtol=1e-5, atol=1e-6)
    for answer in (ours, theirs):
        for key in ("request_id", "latency_ms", "probabilities", "confidence"):
            del answer[key]
    assert ours == theirs
    for header in ("x-switchyard-variant", "x-switchyard-model", "content-type"):
        assert lean.headers[header] == plain.headers[header]


def _numbers(answer: dict[str, Any], key: str) -> list[float]:
    """The numbers of an answer, one after the other; NaN for a refused row."""
    rows = ([np.nan] if row is None else np.ravel(row) for row in answer[key])
    return [float(number) for row in rows for number in row]


@pytest.mark.parametrize(
    ("path", "body"),
    [*(("/predict", body) for _, body, *_ in BAD), *BAD_ELSEWHERE],
    ids=[*(name for name, *_ in BAD), *range(len(BAD_ELSEWHERE))],
)
def test_bad_requests_are_refused_by_both(both: tuple[str, str], path: str, body: Any) -> None:
    lean, plain = (httpx.post(f"{url}{path}", json=body) for url in both)
    assert 400 <= lean.status_code < 500
    assert 400 <= plain.status_code < 500, plain.text


def test_feedback_is_taken_by_both(both: tuple[str, str]) -> None:
    for body in ({"request_id": "r", "actual": 1}, [{"request_id": "r", "reward": 1.0}]):
        lean, plain = (httpx.post(f"{url}/feedback", json=body) for url in both)
        assert (lean.status_code, lean.json()) == (plain.status_code, plain.json())


def test_both_count_the_same_request_in_the_same_series_of_bentoml(both: tuple[str, str]) -> None:
    """A dashboard that was made for BentoML reads the names and labels of its own middleware."""
    for url in both:
        assert httpx.post(f"{url}/predict", json=VALID[0]).status_code == 200
        assert httpx.post(f"{url}/predict", json={"inputs": 1}).status_code == 400
        assert httpx.get(f"{url}/livez").status_code == 200
    plain = _series(both[1])
    wait_until(lambda: not plain - _series(both[0]), "the lean way has folded", 10)
    assert _series(both[0]) == plain
    names = {name for name, _ in plain}
    for name in ("request_total", "request_duration_seconds_bucket", "request_in_progress"):
        assert f"bentoml_service_{name}" in names
    assert "bentoml_service_last_request_timestamp_seconds" in names


def _series(url: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """BentoML's series of routes that both answer; the service is named after another file."""
    return {
        (
            sample.name,
            tuple(
                (name, value)
                for name, value in sorted(sample.labels.items())
                if name not in ("pid", "service_name")
            ),
        )
        for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
        for sample in family.samples
        if sample.name.startswith(("bentoml_service_request_", "bentoml_service_last_request_"))
        if sample.labels.get("endpoint", "/predict") in ("/predict", "/livez")
        and sample.labels.get("http_response_code", "200") in ("200", "400")
        and sample.labels["runner_name"] == "Router"
    }
