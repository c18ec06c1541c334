"""All platforms' routes over real endpoints, whose variants answer with the sum of a row."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from monitoring.log.predictions import PredictionLog
from monitoring.metrics import Metrics
from services import revisions, topology
from services.admin.auth import Gate
from services.board import Board
from services.dataplane.endpoint import Endpoint
from services.dataplane.front import Front
from services.dataplane.hop import Address, HopClient
from services.dataplane.link import HostLink
from services.dataplane.observer import Observer
from services.dataplane.variant import Variant
from services.dataplane.work import Work
from services.health import Health
from services.routes import Routes
from services.wire.answer import Scores
from switchyard.errors import SwitchyardError
from switchyard.plan import Plan
from switchyard.state import State

JSON = "application/json"
NPY = "application/x-npy"
ROWS = [[1.0, 2.5], [3.0, 4.0]]
RECORDS = [{"a": a, "b": b} for a, b in ROWS]
SPLIT = {"columns": ["b", "a"], "data": [[b, a] for a, b in ROWS]}
SUMS = [3.5, 7.0]
VERTEX = "/v1/endpoints/1/deployedModels/2:predict"
PROBE = "/v1/endpoints/1/deployedModels/2"
PREDICTING = ("/predict", "/invocations", "/score", VERTEX)
PROBES = ("/ping", PROBE, "/readyz", "/health", "/livez", "/healthz", "/", "/swagger.json")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Sums:
    """Stands in for the hosts: the sum of a row, and its half."""

    async def ask(self, work: Work, seconds: float) -> Scores:
        return Scores.from_output(work.columns.blocks["f4"].sum(axis=1, keepdims=True), None)


class Reply:
    """What came back."""

    def __init__(self, sent: list[dict[str, Any]]) -> None:
        self.status: int = sent[0]["status"]
        self.headers = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
        self.body: bytes = sent[1]["body"]

    def json(self) -> Any:
        return orjson.loads(self.body)


class Router:
    """The routes of a router with two endpoints of the fields `a` and `b`."""

    def __init__(self, state: State, folder: Path, auth: Any, forced: str) -> None:
        variants = {"s": {"model": "one:production"}}
        settings = {"stable": "s", "variants": variants, "forced_variant": forced}
        plan = {"endpoints": {"e": {**settings, "default": True}, "f": settings}}
        specs = topology.resolve(Plan.model_validate(plan), state)
        metrics = Metrics(CollectorRegistry())
        log = PredictionLog(folder / "log", worker="w", on_drop=metrics.dropped)
        self.link = HostLink("sklearn", HopClient(Address(path="/nowhere")), local=True)
        self.tag = specs["e"].variants["s"].tag
        endpoints = {}
        for name, spec in specs.items():
            made = {
                k: Variant(spec, v, self.link, 1, log, metrics) for k, v in spec.variants.items()
            }
            revision = revisions.current(name, spec.settings, state)
            endpoints[name] = Endpoint(spec, made, revision, metrics)
            endpoints[name]._tries = Sums()  # type: ignore[assignment]
        observer = Observer(Quiet(), None)  # type: ignore[arg-type]
        gate = Gate(auth, "admin", state)
        front = Front(endpoints, "e", gate, None, observer)  # type: ignore[arg-type]
        self.health = Health(endpoints, {"sklearn": self.link}, Board(folder / "board", 1), 1)
        self.routes = Routes(front, self.health, "e")

    def up(self) -> None:
        self.link.up, self.link.down_since = True, None
        self.link.status = {"device": "cpu", "models": {self.tag: None}}

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        path, _, query = path.partition("?")
        scope = {
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items()],
        }
        handler = self.routes.find(scope)
        assert handler is not None
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        assert asyncio.run(handler(scope, receive, send)) == sent[0]["status"]
        return Reply(sent)

    def post(self, path: str, document: Any, **headers: str) -> Reply:
        return self.ask("POST", path, orjson.dumps(document), content_type=JSON, **headers)


class Quiet:
    """Logs that nobody wants."""

    access = None


@pytest.fixture
def make(
    register: Callable[..., str], state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Router]:
    register("one")

    def made(
        predict: str = VERTEX, probe: str = PROBE, auth: str = "open", forced: str = "anyone"
    ) -> Router:
        monkeypatch.setenv("AIP_PREDICT_ROUTE", predict)
        monkeypatch.setenv("AIP_HEALTH_ROUTE", probe)
        return Router(state, tmp_path, auth, forced)

    return made


@pytest.fixture
def router(make: Callable[..., Router]) -> Router:
    return make()


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array, np.float32))
    return out.getvalue()


VALID: list[tuple[str, bytes, str]] = [
    ("/predict", orjson.dumps({"inputs": ROWS}), JSON),
    ("/invocations", orjson.dumps({"inputs": ROWS}), JSON),
    ("/invocations", orjson.dumps({"instances": RECORDS}), JSON),
    ("/invocations", orjson.dumps({"dataframe_records": RECORDS, "params": {}}), JSON),
    ("/invocations", orjson.dumps({"dataframe_split": SPLIT}), JSON),
    ("/invocations", b"a,b\n1,2.5\n3,4\n", "text/csv"),
    ("/invocations", b"1,2.5\n3,4", "text/csv; charset=utf-8"),
    ("/invocations", b"b,a\r\n2.5,1\r\n4,3\r\n", "text/csv; header=present"),
    ("/invocations", b'{"a":1,"b":2.5}\n[3,4]\n'.replace(b"[3,4]", b'{"b":4,"a":3}'),
     "application/jsonlines"),
    ("/invocations", npy(ROWS), NPY),
    ("/score", orjson.dumps({"input_data": SPLIT}), JSON),
    ("/score", orjson.dumps({"data": ROWS}), JSON),
    ("/score", b"1,2.5\n3,4", "text/csv"),
    (VERTEX, orjson.dumps({"instances": RECORDS}), JSON),
    (VERTEX, orjson.dumps({"instances": ROWS, "parameters": {"variant": "s"}}), JSON),
    (VERTEX, orjson.dumps({"inputs": ROWS}), JSON),
    (VERTEX, npy(ROWS), NPY),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "kind"), VALID, ids=range(len(VALID)))
def test_every_contract_gives_the_same_predictions(
    router: Router, path: str, body: bytes, kind: str
) -> None:
    reply = router.ask("POST", path, body, content_type=kind)
    assert (reply.status, reply.json()["predictions"]) == (200, SUMS), reply.body
    assert reply.headers["x-switchyard-variant"] == "s"
    lines = router.ask("POST", path, body, content_type=kind, accept="application/jsonlines")
    assert lines.headers["content-type"] == "application/jsonlines"
    assert [orjson.loads(line)["prediction"] for line in lines.body.splitlines()] == SUMS
    text = router.ask("POST", path, body, content_type=kind, accept="text/csv, */*")
    assert (text.headers["content-type"], text.body) == ("text/csv", b"3.5\n7.0\n")
    array = router.ask("POST", path, body, content_type=kind, accept=NPY)
    assert np.load(io.BytesIO(array.body)).tolist() == [[3.5], [7.0]]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", JSON),
        ("text/html,application/xhtml+xml", JSON),
        ("application/json, text/csv", JSON),
        ("Text/CSV, application/json", "text/csv"),
    ],
)
def test_the_first_form_that_is_accepted_is_sent(router: Router, accept: str, kind: str) -> None:
    reply = router.post("/invocations", {"inputs": ROWS}, accept=accept)
    assert reply.headers["content-type"] == kind
    with_header = router.post("/invocations", {"inputs": ROWS}, accept="text/csv; header=present")
    assert with_header.body.startswith(b"prediction\n")


def test_sagemakers_attributes_say_what_headers_cannot_and_come_back(router: Router) -> None:
    attributes = {"x_amzn_sagemaker_custom_attributes": "endpoint=f,key=k, trace-7"}
    body = {"instances": ROWS}
    for reply in (
        router.post("/invocations", body, **attributes),
        router.ask("POST", "/invocations", b"1,2.5", content_type="text/csv", **attributes),
    ):
        assert (reply.status, reply.json()["endpoint"]) == (200, "f")
        assert reply.headers["x-amzn-sagemaker-custom-attributes"] == "endpoint=f,key=k, trace-7"
    refused = router.post("/invocations", {}, **attributes)
    assert refused.status == 400
    assert refused.headers["x-amzn-sagemaker-custom-attributes"] == "endpoint=f,key=k, trace-7"
    elsewhere = router.post("/score", {"data": ROWS}, **attributes)
    assert elsewhere.json()["endpoint"] == "e"
    assert "x-amzn-sagemaker-custom-attributes" not in elsewhere.headers
    ours = router.post("/invocations", body, x_switchyard_endpoint="e", **attributes)
    assert ours.json()["endpoint"] == "e"


def test_rows_may_fail_alone_in_every_envelope(router: Router) -> None:
    rows = [[1, 2], ["far", 2]]
    for path, document in (
        ("/invocations", {"instances": rows, "params": {"on_error": "row"}}),
        ("/score", {"data": rows, "params": {"on_error": "row"}}),
        (VERTEX, {"instances": rows, "parameters": {"on_error": "row"}}),
    ):
        answer = router.post(path, document).json()
        assert answer["predictions"] == [3.0, None]
        errors = (answer.get("metadata") or answer)["errors"]
        assert [(error["row"], error["field"]) for error in errors] == [(1, "a")]


def test_errors_have_the_shape_that_each_platform_fixed(router: Router) -> None:
    ours = {"error", "code", "details", "request_id"}
    bad = [[1, "far"]]
    for path, document, keys in (
        ("/score", {"data": bad}, ours),
        (VERTEX, {"instances": bad}, ours),
        ("/invocations", {"instances": bad}, ours | {"error_code", "message"}),
    ):
        reply = router.post(path, document)
        assert (reply.status, set(reply.json())) == (400, keys)
        (detail,) = reply.json()["details"]
        assert (detail["row"], detail["field"]) == (0, "b")
    missing = router.post("/invocations", {"instances": ROWS, "params": {"endpoint": "x"}})
    assert (missing.status, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    unspoken = router.ask("POST", "/invocations", b"x", content_type="application/x-parquet")
    assert unspoken.status == 415
    assert "send application/json, text/csv, application/jsonlines" in unspoken.json()["error"]
    assert router.ask("POST", "/predict", b"1,2", content_type="text/csv").status == 415


def test_vertex_ai_is_told_what_it_does_not_carry(
    make: Callable[..., Router], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {"instances": [[0.123456789012345] * 2] * 45_000}
    reply = make().post(VERTEX, large)
    assert (reply.status, reply.json()["code"]) == (413, "too_large")
    assert "Vertex AI carries at most 1.5 MB" in reply.json()["error"]
    assert (
        make().post("/invocations", large).json()["error"].startswith("The request has 45000 rows")
    )
    monkeypatch.setenv("SWITCHYARD_VERTEX_MB", "10")
    assert "45000 rows" in make().post(VERTEX, large).json()["error"]
    monkeypatch.setenv("SWITCHYARD_VERTEX_MB", "0.0001")
    answer = make().post(VERTEX, {"instances": ROWS})
    assert (answer.status, answer.json()["error"][:10]) == (413, "The answer")
    for wrong in ("0", "much", "nan", "inf"):
        monkeypatch.setenv("SWITCHYARD_VERTEX_MB", wrong)
        with pytest.raises(SwitchyardError, match="SWITCHYARD_VERTEX_MB must be a number above 0"):
            make()


def test_vertex_ai_may_ask_for_paths_that_mean_something_already(
    make: Callable[..., Router],
) -> None:
    router = make(predict="/predict", probe="/health")
    router.up()
    assert router.post("/predict", {"instances": ROWS}).json().keys() == {"predictions", "metadata"}
    assert "metadata" not in router.post("/predict", {"inputs": ROWS}).json()
    assert router.ask("GET", "/health").status == 200
    router.health.leaving = True
    assert router.ask("GET", "/health").status == 503
    both = make(predict="/v1/same", probe="/v1/same")
    assert both.post("/v1/same", {"instances": ROWS}).status == 200
    assert both.ask("GET", "/v1/same").status == 503
    assert "takes GET or POST" in both.ask("PUT", "/v1/same").json()["error"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"predict": "predict"}, r"AIP_PREDICT_ROUTE must be a path .* not 'predict'"),
        ({"probe": "health"}, r"AIP_HEALTH_ROUTE must be a path .* not 'health'"),
        ({"predict": "/metrics"}, r"AIP_PREDICT_ROUTE is '/metrics', which is a route of Switch"),
        ({"predict": "/feedback"}, r"AIP_PREDICT_ROUTE is '/feedback'"),
        ({"probe": "/admin/v1/models"}, r"AIP_HEALTH_ROUTE is '/admin/v1/models'"),
    ],
)
def test_paths_that_vertex_ai_cannot_ask_for_stop_the_start(
    make: Callable[..., Router], given: dict[str, str], said: str
) -> None:
    with pytest.raises(SwitchyardError, match=said):
        make(**given)
    assert make(predict="/metrics-of-vertex")


@pytest.mark.parametrize("path", ["/ping", PROBE, "/readyz"])
def test_probes_answer_when_requests_may_come(router: Router, path: str) -> None:
    assert router.ask("GET", path).status == 503
    router.up()
    assert router.ask("GET", path).status == router.ask("HEAD", path).status == 200
    router.health.leaving = True
    assert router.ask("GET", path).status == 503


def test_the_root_is_a_probe_for_machines_and_a_page_for_people(router: Router) -> None:
    assert router.ask("GET", "/").status == 200
    scope = {"method": "GET", "path": "/", "headers": [(b"accept", b"text/html,*/*;q=0.8")]}
    assert router.routes.find(scope) is None
    assert router.ask("POST", "/", accept="text/html").status == 405


def test_swagger_describes_the_default_endpoint(router: Router) -> None:
    assert router.ask("GET", "/swagger.json").json()["swagger"] == "2.0"
    three = router.ask("GET", "/swagger.json?version=3").json()
    example = three["components"]["schemas"]["Request"]["example"]
    assert router.post("/score", example).status == 200
    for odd in ("4", "", "2&version=9x", "\xff"):
        assert router.ask("GET", f"/swagger.json?version={odd}").status in (200, 400)
    assert router.ask("GET", "/swagger.json?version=4").status == 400


def test_metrics_call_routes_by_a_few_names(router: Router) -> None:
    names = {path: router.routes.name(path) for path in (*PREDICTING, PROBE, "/ping", "/nowhere")}
    assert names.pop(VERTEX) == "AIP_PREDICT_ROUTE"
    assert names.pop(PROBE) == "AIP_HEALTH_ROUTE"
    assert names.pop("/nowhere") is None
    assert all(path == name for path, name in names.items())


@pytest.mark.parametrize("path", PREDICTING)
def test_the_wrong_method_is_named(router: Router, path: str) -> None:
    reply = router.ask("GET", path)
    assert (reply.status, reply.json()["code"]) == (405, "method_not_allowed")
    assert f"{path} takes POST, not GET" in reply.json()["error"]


@pytest.mark.parametrize("path", [*PREDICTING, "/feedback", *PROBES])
def test_a_method_is_refused_with_those_that_are_taken(router: Router, path: str) -> None:
    replies = {method: router.ask(method, path) for method in METHODS}
    refused = {name: reply for name, reply in replies.items() if reply.status == 405}
    taken = ", ".join(name for name in METHODS if name not in refused)
    assert taken == ("POST" if path in (*PREDICTING, "/feedback") else "GET, HEAD")
    assert {reply.headers.get("allow") for reply in refused.values()} == {taken}


@pytest.mark.parametrize("path", PREDICTING)
def test_no_platforms_route_lets_strangers_in(
    make: Callable[..., Router], state: State, path: str
) -> None:
    router = make(auth="required", forced="admin")
    key = "Bearer " + state.create_key("k", ["predict"])
    rows = {"data" if path == "/score" else "inputs": ROWS}
    attributes = {"x_amzn_sagemaker_custom_attributes": "authorization=Bearer admin,key=k"}
    for document in (rows, {**rows, "authorization": "Bearer admin"}):
        assert router.post(path, document, **attributes).status == 401
        assert router.post(path, document, **attributes, authorization="Bearer x").status == 401
    assert router.post(path, rows, authorization=key).status == 200
    forced: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({**rows, "variant": "s"}, {}),
        (rows, {"x_switchyard_variant": "s"}),
    ]
    if path == "/invocations":
        forced.append(({**rows, "params": {"variant": "s"}}, {}))
        forced.append((rows, {"x_amzn_sagemaker_custom_attributes": "variant=s"}))
    for document, headers in forced:
        assert router.post(path, document, **headers, authorization=key).status == 403
        assert router.post(path, document, **headers, authorization="Bearer admin").status == 200


def test_feedback_that_comes_slowly_asks_the_database_beside_the_loop(
    make: Callable[..., Router], state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = make(auth="required").routes._front
    front._feedback_log = Mock()
    now, asked = [0.0], []
    known = state.key_scopes
    monkeypatch.setattr(front._gate, "_clock", lambda: now[0])
    monkeypatch.setattr(
        state, "key_scopes", lambda key: (asked.append(threading.current_thread()), known(key))[1]
    )
    token = b"Bearer " + state.create_key("k", ["feedback"]).encode()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        now[0] += 5  # a key is believed for a second
        return {"type": "http.request", "body": b'{"request_id": "r", "actual": 1.0}'}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"authorization", token), (b"content-type", JSON.encode())]
    asyncio.run(front.feedback({"headers": headers}, receive, send))
    assert Reply(sent).status == 202, sent
    assert len(asked) == 2
    assert threading.main_thread() not in asked


KINDS = [JSON, "text/csv", "text/csv; header=present", "application/jsonlines", NPY, "a/b", "",
         "application/vnd.apache.arrow.stream"]  # fmt: skip
HEADERS = ["", "endpoint=f", "endpoint=x", "timeout_ms=x", "key=\xff,variant=s", "variant=y"]
PIECES = st.sampled_from(
    [b"", b"{", b"}", b"[", b"]", b",", b"\n", b"1", b"2.5", b'"', b"a", b"b", b'"a":', b"NaN",
     b"\xff", b"\x00", b'"instances":', b'"data":', b"null", b'{"inputs":[[1,2]]}', b"1,2\n",
     b'{"a":1,"b":2}', b'"params":', b'"columns":["a","b"]', npy(ROWS)]
)  # fmt: skip


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(PREDICTING),
    st.sampled_from(KINDS),
    st.sampled_from(HEADERS),
    st.lists(PIECES, max_size=8).map(b"".join),
)
def test_no_body_of_any_kind_is_our_fault(
    router: Router, path: str, kind: str, attributes: str, body: bytes
) -> None:
    headers = {"content_type": kind, "x_amzn_sagemaker_custom_attributes": attributes}
    reply = router.ask("POST", path, body, **headers)
    assert reply.status in (200, 400, 404, 413, 415), (reply.status, reply.body)
    assert reply.status == 200 or {"error", "code"} <= reply.json().keys()


def _text(rows: list[list[float]]) -> bytes:
    return "\n".join(",".join(map(repr, row)) for row in rows).encode()


FORMS: list[tuple[str, str, Callable[[list[list[float]]], bytes]]] = [
    ("/invocations", JSON, lambda rows: orjson.dumps({"instances": rows})),
    ("/invocations", JSON, lambda rows: orjson.dumps({"dataframe_split": {"data": rows}})),
    ("/invocations", NPY, npy),
    ("/invocations", "application/jsonlines", lambda rows: b"\n".join(map(orjson.dumps, rows))),
    ("/invocations", "text/csv", _text),
    ("/invocations", "text/csv", lambda rows: b"a,b\n" + _text(rows)),
    ("/score", JSON, lambda rows: orjson.dumps({"input_data": rows})),
    (VERTEX, JSON, lambda rows: orjson.dumps({"instances": rows})),
]


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=1, max_size=5),
    st.sampled_from([1, 200]),
)
def test_any_valid_rows_are_answered_alike_in_every_form(
    router: Router, rows: list[list[float]], times: int
) -> None:
    rows = rows * times
    expected = router.post("/predict", {"inputs": rows}).json()["predictions"]
    assert len(expected) == len(rows)
    for path, kind, form in FORMS:
        reply = router.ask("POST", path, form(rows), content_type=kind)
        assert (reply.status, reply.json()["predictions"]) == (200, expected), (path, kind)
