"""The wire contract, against the example plan served for real."""

from __future__ import annotations

import io
from typing import Any

import bentoml
import httpx
import numpy as np
import pyarrow as pa
import pytest
from e2e.calls import digits, flight, flights
from e2e.server import Server, wait_until

JSON = {"content-type": "application/json"}
NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def http(server: Server) -> Any:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def predict(http: httpx.Client, **body: Any) -> dict[str, Any]:
    response = http.post("/predict", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def as_npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def as_arrow(rows: list[dict[str, Any]]) -> bytes:
    table = pa.Table.from_pylist(rows)
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def test_a_flight_is_answered_as_the_contract_says(http: httpx.Client) -> None:
    response = http.post("/predict", json={"inputs": [flight()]}, headers={"x-request-id": "r-1"})
    answer = response.json()
    assert list(answer) == [
        "request_id", "endpoint", "variant", "model", "predictions", "probabilities",
        "confidence", "latency_ms",
    ]  # fmt: skip
    assert answer["request_id"] == response.headers["x-request-id"] == "r-1"
    assert answer["endpoint"] == "flights"
    assert answer["variant"] == response.headers["x-switchyard-variant"]
    assert answer["model"] == response.headers["x-switchyard-model"]
    assert answer["model"].startswith(f"flights-{answer['variant']}:")
    (probabilities,) = answer["probabilities"]
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert answer["confidence"] == [max(probabilities)]
    assert answer["predictions"] == [int(np.argmax(probabilities))]
    assert answer["latency_ms"] > 0


@pytest.mark.parametrize("variant", ["sklearn", "torch", "tensorflow"])
def test_records_columns_and_nested_rows_are_the_same_request(
    http: httpx.Client, variant: str
) -> None:
    rows = flights(5)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    nested = [list(row.values()) for row in rows]
    answers = [predict(http, inputs=inputs, variant=variant) for inputs in (rows, columns, nested)]
    assert all(answer["variant"] == variant for answer in answers)
    assert answers[0]["probabilities"] == answers[1]["probabilities"]
    assert answers[0]["probabilities"] == answers[2]["probabilities"]
    alone = [predict(http, inputs=[row], variant=variant)["probabilities"][0] for row in rows]
    np.testing.assert_allclose(answers[0]["probabilities"], alone, atol=1e-5)


def test_arrow_gives_what_json_gives(http: httpx.Client) -> None:
    rows = flights(40)
    by_json = predict(http, inputs=rows, variant="torch")
    headers = {"content-type": ARROW, "x-switchyard-variant": "torch"}
    by_arrow = http.post("/predict", content=as_arrow(rows), headers=headers).json()
    assert by_arrow["probabilities"] == by_json["probabilities"]
    headers["accept"] = ARROW
    response = http.post("/predict", content=as_arrow(rows), headers=headers)
    assert response.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(response.content).read_all()
    assert table["prediction"].to_pylist() == by_json["predictions"]
    np.testing.assert_allclose(table["probabilities"].to_pylist(), by_json["probabilities"])
    assert table.schema.metadata[b"variant"] == b"torch"


@pytest.mark.parametrize("variant", ["sklearn", "torch", "tensorflow"])
def test_npy_in_and_out(http: httpx.Client, variant: str) -> None:
    rows = digits(33)
    headers = {
        "content-type": NPY,
        "accept": NPY,
        "x-switchyard-endpoint": "digits",
        "x-switchyard-variant": variant,
    }
    response = http.post("/predict", content=as_npy(rows), headers=headers)
    assert response.headers["content-type"] == NPY
    probabilities = np.load(io.BytesIO(response.content))
    by_json = predict(http, endpoint="digits", inputs=rows.tolist(), variant=variant)
    np.testing.assert_allclose(probabilities, by_json["probabilities"], rtol=1e-5, atol=1e-7)
    assert probabilities.shape == (33, 10)


def test_more_rows_than_a_batch_come_back_in_order(http: httpx.Client) -> None:
    rows = digits(1024)
    whole = predict(http, endpoint="digits", inputs=rows.tolist(), variant="sklearn")
    parts = [
        predict(http, endpoint="digits", inputs=rows[start : start + 100].tolist(),
                variant="sklearn")["probabilities"]
        for start in range(0, 1024, 100)
    ]  # fmt: skip
    np.testing.assert_allclose(whole["probabilities"], np.concatenate(parts), atol=1e-6)


def test_bad_rows_fail_alone_where_the_caller_says_so(http: httpx.Client) -> None:
    rows = [flight(), flight(origin="XXX"), flight(distance="far"), flight(distance=300)]
    answer = predict(http, inputs=rows, on_error="row", variant="sklearn")
    assert [p is None for p in answer["predictions"]] == [False, True, True, False]
    assert [p is None for p in answer["probabilities"]] == [False, True, True, False]
    assert [(e["row"], e["field"]) for e in answer["errors"]] == [(1, "origin"), (2, "distance")]


def test_a_request_of_bad_rows_alone_is_answered_with_their_errors(http: httpx.Client) -> None:
    answer = predict(http, inputs=[flight(origin="XXX")], on_error="row", variant="torch")
    assert (answer["predictions"], answer["probabilities"]) == ([None], [None])
    assert answer["errors"][0]["field"] == "origin"


def test_weather_may_be_missing_and_a_new_carrier_is_other(http: httpx.Client) -> None:
    bare = {k: flight()[k] for k in
            ("scheduled_departure", "carrier", "origin", "dest", "distance")}  # fmt: skip
    answer = predict(http, inputs=[{**bare, "carrier": "ZZ", "temp": None}])
    assert answer["predictions"][0] in (0, 1)


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("unknown category", {"inputs": [flight(origin="LAX")]}, 400, "origin"),
    ("missing field", {"inputs": [{"carrier": "UA"}]}, 400, "origin"),
    ("unknown field", {"inputs": [flight(dep_delay=3)]}, 400, "dep_delay"),
    ("wrong type", {"inputs": [flight(distance="719")]}, 400, "distance"),
    ("bool for a number", {"inputs": [flight(distance=True)]}, 400, "distance"),
    ("null where not nullable", {"inputs": [flight(distance=None)]}, 400, "distance"),
    ("no time", {"inputs": [flight(scheduled_departure="soon")]}, 400, "scheduled_departure"),
    ("empty", {"inputs": []}, 400, "inputs"),
    ("flat list", {"inputs": [1, 2, 3]}, 400, "inputs"),
    ("ragged rows", {"endpoint": "digits", "inputs": [[0] * 64, [0] * 63]}, 400, "63"),
    ("ragged columns", {"inputs": {"carrier": ["UA", "AA"], "origin": ["EWR"]}}, 400, "origin"),
    ("no inputs", {"input": [flight()]}, 400, "inputs"),
    ("unknown key", {"inputs": [flight()], "keey": "a"}, 400, "keey"),
    ("too many rows", {"endpoint": "digits", "inputs": [[0] * 64] * 1025}, 413, "1024"),
    ("unknown endpoint", {"inputs": [flight()], "endpoint": "trains"}, 404, "trains"),
    ("unknown variant", {"inputs": [flight()], "variant": "onnx"}, 404, "onnx"),
    ("explain", {"inputs": [flight()], "explain": True}, 400, "explain"),
    ("event_time is for admins", {"inputs": [flight()], "event_time": "2013-07-01"}, 403, "admin"),
    ("negative time limit", {"inputs": [flight()], "timeout_ms": -5}, 400, "timeout_ms"),
]


@pytest.mark.parametrize(("body", "status", "word"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_requests_are_refused_in_the_contracts_shape(
    http: httpx.Client, body: dict[str, Any], status: int, word: str
) -> None:
    response = http.post("/predict", json=body)
    assert response.status_code == status, response.text
    error = response.json()
    assert set(error) == {"error", "code", "details", "request_id"}
    assert word in response.text
    assert error["request_id"] == response.headers["x-request-id"]


BYTES: list[tuple[str, bytes, str, int]] = [
    ("not json", b'{"inputs": [', "application/json", 400),
    ("not an object", b"[1]", "application/json", 400),
    ("nan", b'{"inputs": [{"distance": NaN}]}', "application/json", 400),
    ("empty body", b"", "application/json", 400),
    ("form", b"inputs=1", "application/x-www-form-urlencoded", 415),
    ("pickle", b"\x80\x04.", "application/vnd.bentoml+pickle", 415),
    ("no type", b"{}", "", 415),
    ("npy for categories", as_npy(np.zeros((1, 13))), NPY, 415),
    ("broken arrow", b"ARROW1\0\0", ARROW, 400),
    ("truncated arrow", as_arrow(flights(3))[:-60], ARROW, 400),
    ("other columns", as_arrow([{"a": 1}]), ARROW, 400),
]


@pytest.mark.parametrize(
    ("body", "kind", "status"), [b[1:] for b in BYTES], ids=[b[0] for b in BYTES]
)
def test_bad_bytes_are_refused(http: httpx.Client, body: bytes, kind: str, status: int) -> None:
    headers = {"content-type": kind} if kind else {}
    response = http.post("/predict", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "code", "details", "request_id"}


@pytest.mark.parametrize(
    "body",
    [
        as_npy(np.array([[{}] * 64], dtype=object), allow_pickle=True),
        as_npy(np.zeros((2, 63))),
        as_npy(np.zeros((2, 64)))[:-1],
        as_npy(np.full((1, 64), np.nan)),
        as_npy(np.array([["a"] * 64])),
        b"not npy",
    ],
    ids=["pickled", "narrow", "truncated", "nan", "text", "noise"],
)
def test_bad_npy_is_refused(http: httpx.Client, body: bytes) -> None:
    headers = {"content-type": NPY, "x-switchyard-endpoint": "digits"}
    response = http.post("/predict", content=body, headers=headers)
    assert response.status_code == 400, response.text


def test_a_large_body_is_refused_before_it_is_read(server: Server) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 900000000\r\n\r\n"
        )
        assert b" 413 " in raw.recv(4096)


def test_a_chunked_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    chunks = (b" " * 1_000_000 for _ in range(12))
    try:
        response = http.post("/predict", content=chunks, headers=JSON)
    except httpx.WriteError:
        return  # the refusal closed the connection while the client was still sending
    assert response.status_code == 413


def test_a_bad_request_id_is_refused(http: httpx.Client) -> None:
    response = http.post("/predict", json={"inputs": [flight()]}, headers={"x-request-id": "a b"})
    assert response.status_code == 400


def test_the_wrong_method_is_named(http: httpx.Client) -> None:
    response = http.get("/predict")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/nothing", "/admin/v1/nothing", "/predict/1"])
def test_an_unknown_path_is_refused_in_the_contracts_shape(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_wrong_token_is_refused_even_where_none_is_needed(http: httpx.Client) -> None:
    response = http.post(
        "/predict", json={"inputs": [flight()]}, headers={"authorization": "Bearer nobody"}
    )
    assert response.status_code == 401


def test_an_admin_may_set_the_event_time(http: httpx.Client) -> None:
    response = http.post(
        "/predict",
        json={"inputs": [flight()], "event_time": "2013-07-01T10:00:00"},
        headers={"authorization": "Bearer admin-of-the-tests"},
    )
    assert response.status_code == 200, response.text


def test_feedback_is_accepted(http: httpx.Client) -> None:
    one = http.post("/feedback", json={"request_id": "r-1", "actual": 1})
    many = http.post("/feedback", json=[{"request_id": f"r-{n}", "reward": 0.5} for n in range(3)])
    assert (one.status_code, one.json()) == (202, {"accepted": 1})
    assert (many.status_code, many.json()) == (202, {"accepted": 3})
    bad = http.post("/feedback", json=[{"request_id": "r-1", "actual": 1}, {"actual": 1}])
    assert bad.status_code == 400
    assert bad.json()["details"][0]["row"] == 1


def test_bentomls_own_client_predicts(server: Server) -> None:
    with bentoml.SyncHTTPClient(server.url) as client:
        answer = client.predict(inputs=[flight()])
        assert answer["predictions"][0] in (0, 1)
        assert client.predict(inputs=digits(2).tolist(), endpoint="digits")["endpoint"] == "digits"


def test_the_documentation_describes_the_api(http: httpx.Client) -> None:
    paths = http.get("/docs.json").json()["paths"]
    assert {"/predict", "/feedback"} <= set(paths)
    assert "inputs" in str(paths["/predict"])
    assert http.get("/").status_code == 200
    routes = {route["route"] for route in http.get("/schema.json").json()["routes"]}
    assert {"/predict", "/feedback"} <= routes


def test_health_says_what_is_loaded(http: httpx.Client) -> None:
    report = http.get("/health").json()
    assert report["status"] == "ready"
    for endpoint in ("flights", "digits"):
        variants = report["endpoints"][endpoint]["variants"]
        assert set(variants) == {"sklearn", "torch", "tensorflow"}
        assert all(v["ready"] and v["device"] == "cpu" for v in variants.values())
    for path in ("/livez", "/readyz", "/healthz"):
        assert http.get(path).status_code == 200


def series(http: httpx.Client) -> set[str]:
    lines = http.get("/metrics").text.splitlines()
    return {line.split()[2] for line in lines if line.startswith("# TYPE ")}


def test_metrics_name_the_contracts_series(http: httpx.Client) -> None:
    predict(http, inputs=[flight()], variant="sklearn")
    names = {"model_predictions_total", "model_prediction_latency_seconds", "model_queue_seconds",
             "model_compute_seconds", "model_batch_rows", "model_confidence",
             "model_active_requests", "model_predicted_class_total",
             "prediction_log_dropped_total"}  # fmt: skip
    wait_until(lambda: names <= series(http), f"all of {sorted(names)}")  # once a second
