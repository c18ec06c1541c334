"""The platforms' contracts against the example plan served for real: one server meets them all."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from typing import Any

import bentoml
import httpx
import numpy as np
import orjson
import pandas as pd
import pytest
from e2e.calls import digits, flights
from e2e.server import Server, wait_until
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from prometheus_client.parser import text_string_to_metric_families

from monitoring.log import predictions

ROWS = flights(40)
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
SPLIT = {"columns": list(ROWS[0]), "data": [list(row.values()) for row in ROWS]}


def table(rows: list[dict[str, Any]], *, header: bool) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def lines(rows: list[Any]) -> bytes:
    return b"\n".join(map(orjson.dumps, rows))


BODIES: list[tuple[str, str, bytes]] = [
    ("/invocations", "application/json", orjson.dumps({"dataframe_split": SPLIT})),
    ("/invocations", "application/json", orjson.dumps({"dataframe_records": ROWS})),
    ("/invocations", "application/json", orjson.dumps({"instances": ROWS})),
    ("/invocations", "application/json", orjson.dumps({"inputs": COLUMNS})),
    ("/invocations", "text/csv", table(ROWS, header=True)),
    ("/invocations", "text/csv", table(ROWS * 5, header=False)),
    ("/invocations", "application/jsonlines", lines(ROWS)),
    ("/score", "application/json", orjson.dumps({"input_data": SPLIT})),
    ("/score", "application/json", orjson.dumps({"data": SPLIT["data"]})),
    ("/score", "text/csv; header=present", table(ROWS, header=True)),
]


@pytest.fixture(scope="module")
def http(server: Server) -> Any:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(("path", "kind", "body"), BODIES, ids=range(len(BODIES)))
def test_every_contract_gives_the_predictions_of_predict(
    http: httpx.Client, path: str, kind: str, body: bytes
) -> None:
    expected = http.post("/predict", json={"inputs": ROWS, "variant": "torch"}).json()
    headers = {"content-type": kind, "x-switchyard-variant": "torch"}
    response = http.post(path, content=body, headers=headers)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert list(answer) == list(expected)
    assert answer["predictions"][:40] == expected["predictions"]
    np.testing.assert_allclose(answer["probabilities"][:40], expected["probabilities"], atol=1e-6)
    assert answer["variant"] == "torch"


def test_digits_as_text_in_and_out(http: httpx.Client) -> None:
    rows = digits(200)
    body = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    headers = {
        "content-type": "text/csv",
        "accept": "text/csv; header=present",
        "x-amzn-sagemaker-custom-attributes": "endpoint=digits,variant=sklearn,job-7",
    }
    response = http.post("/invocations", content=body, headers=headers)
    assert response.status_code == 200, response.text
    name = "x-amzn-sagemaker-custom-attributes"
    assert response.headers[name] == headers[name]
    found = pd.read_csv(io.StringIO(response.text))
    by_json = {"endpoint": "digits", "inputs": rows.tolist(), "variant": "sklearn"}
    expected = http.post("/predict", json=by_json).json()
    assert found["prediction"].tolist() == expected["predictions"]
    assert list(found)[1:] == [f"probability_{digit}" for digit in range(10)]
    np.testing.assert_allclose(found.iloc[:, 1:], expected["probabilities"], atol=1e-6)


@pytest.mark.parametrize("path", ["/invocations", "/score"])
def test_bad_rows_are_named_in_text_as_in_json(http: httpx.Client, path: str) -> None:
    rows = [ROWS[0], {**ROWS[1], "origin": "LAX", "distance": "far"}]
    by_json = http.post("/predict", json={"inputs": rows})
    by_lines = http.post(
        path, content=lines(rows), headers={"content-type": "application/jsonlines"}
    )
    by_text = http.post(
        path, content=table(rows, header=True), headers={"content-type": "text/csv"}
    )
    for response in (by_json, by_lines, by_text):
        assert response.status_code == 400, response.text
        assert response.json()["details"] == by_json.json()["details"]
    assert {detail["field"] for detail in by_json.json()["details"]} == {"origin", "distance"}


def test_what_comes_by_a_platform_is_counted_and_logged_as_any_request(
    http: httpx.Client, server: Server
) -> None:
    def counted() -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(http.get("/metrics").text)
            for sample in family.samples
            if sample.name == "model_predictions_total" and sample.labels["variant"] == "tensorflow"
        )

    before = counted()
    headers = {"x-request-id": f"platforms-{time.time_ns()}"}
    params = {"variant": "tensorflow", "key": "traveller"}
    http.post("/invocations", json={"instances": ROWS, "params": params}, headers=headers)
    wait_until(lambda: counted() >= before + len(ROWS), "the rows are counted", 10)

    def logged() -> int:
        table = predictions.read(server.home / "log", endpoint="flights")
        mine = table.filter(np.equal(table["request_id"].to_pylist(), headers["x-request-id"]))
        assert set(mine["assignment"].to_pylist()) <= {"forced"}
        return int(mine.num_rows)

    wait_until(lambda: logged() == len(ROWS), "the rows are logged", 10)


def test_the_server_describes_the_routes(http: httpx.Client) -> None:
    paths = http.get("/docs.json").json()["paths"]
    assert {"/predict", "/invocations", "/score"} <= set(paths)
    assert "dataframe_split" in str(paths["/invocations"])
    swagger = http.get("/swagger.json").json()
    example = swagger["definitions"]["Request"]["example"]
    assert http.post("/score", json=example).status_code == 200
    page = http.get("/", headers={"accept": "text/html"})
    assert "<html" in page.text
    for path in ("/", "/ping", "/livez", "/readyz"):
        assert (http.get(path).status_code, len(http.get(path).content)) == (200, 1)


def test_bentomls_own_client_calls_them(server: Server) -> None:
    with bentoml.SyncHTTPClient(server.url) as client:
        assert len(client.invocations({"dataframe_split": SPLIT})["predictions"]) == 40
        assert len(client.score({"data": SPLIT["data"]})["predictions"]) == 40


def test_mlflows_own_client_scores(server: Server) -> None:
    client = ScoringServerClient("127.0.0.1", server.port)
    client.wait_server_ready(timeout=10)
    frame = pd.DataFrame(ROWS)
    answer = client.invoke(frame, params={"variant": "torch"})
    assert answer["variant"] == "torch"
    assert len(answer.get_predictions()) == 40
    array = pd.DataFrame(digits(3))
    answer = client.invoke(array, params={"endpoint": "digits"})
    assert answer.get_predictions("ndarray").shape == (3,)
    with pytest.raises(Exception, match=r"LAX.*BAD_REQUEST"):
        client.invoke(frame.assign(origin="LAX"))


@pytest.mark.slow
def test_vertex_ai_finds_the_paths_that_it_asked_for(make_server: Callable[..., Server]) -> None:
    probe = "/v1/endpoints/1/deployedModels/2"
    env = {"AIP_HEALTH_ROUTE": probe, "AIP_PREDICT_ROUTE": f"{probe}:predict"}
    server = make_server(env=env).start()
    assert server.status(probe) == 200
    with httpx.Client(base_url=server.url, timeout=30) as http:
        body = {"instances": ROWS, "parameters": {"variant": "torch"}}
        answer = http.post(f"{probe}:predict", json=body)
        assert (answer.status_code, set(answer.json())) == (200, {"predictions", "metadata"})
        assert answer.json()["metadata"]["variant"] == "torch"
        assert http.post(f"{probe}:predict", json={"instances": 5}).status_code == 400
        large = http.post(f"{probe}:predict", json={"instances": [[0.5] * 64] * 8000})
        assert (large.status_code, large.json()["code"]) == (413, "too_large")
        assert "Vertex AI carries at most 1.5 MB" in large.json()["error"]

        def labels() -> set[str]:
            return {
                sample.labels["endpoint"]
                for family in text_string_to_metric_families(http.get("/metrics").text)
                for sample in family.samples
                if sample.name == "bentoml_service_request_total"
            }

        wait_until(lambda: "AIP_PREDICT_ROUTE" in labels(), "the requests are counted", 10)
        assert not any("deployedModels" in label for label in labels())
    assert server.stop() == 0
