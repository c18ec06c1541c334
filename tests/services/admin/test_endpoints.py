"""The admin routes of endpoints, asked as a client asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from models import lock
from models.registry import find
from services import revisions
from services.admin.api import AdminApi
from services.admin.auth import Gate
from services.admin.endpoints import EndpointRoutes
from services.dataplane.lean import Receive, Scope, Send
from services.topology import bind
from services.watch import Watch
from switchyard.plan import Plan
from switchyard.records import ROUTER
from switchyard.state import State

TOKEN = "the-admin-token"
BASE = "/admin/v1/endpoints"
PLAN = {
    "endpoints": {
        "e": {
            "stable": "a",
            "variants": {"a": {"model": "m:production"}, "b": {"model": "n:production"}},
            "traffic": {"split": {"a": 0.75, "b": 0.25}},
            "limits": {"max_rows": 7},
        },
        "f": {"default": True, "stable": "a", "variants": {"a": {"model": "m:production"}}},
    }
}

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(register: Callable[..., str], state: State) -> Ask:
    """Two endpoints as a router serves them, on models whose files nobody loads."""
    register("m")
    register("n")
    plan = Plan.model_validate(PLAN)
    known = lock.aliases(state)
    specs = {
        name: bind(name, each, {v: find(one.model, known) for v, one in each.variants.items()})
        for name, each in plan.endpoints.items()
    }
    for name, settings in plan.endpoints.items():
        revisions.current(name, settings, state)

    def run(method: str, path: str, mode: str = "live", **more: Any) -> httpx.Response:
        served = plan.model_copy(update={"mode": mode})
        routes = EndpointRoutes(served, state, lambda: specs).routes
        api = AdminApi(served, Gate("open", TOKEN, state), routes)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await api.handle(scope, receive, send)

        async def asked() -> httpx.Response:
            headers = {"authorization": f"Bearer {TOKEN}"}
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(asked())

    return run


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("GET", f"{BASE}/g", None, 404, "no endpoint 'g'; it has e, f"),
        ("GET", f"{BASE}/g/revisions", None, 404, "no endpoint 'g'; it has e, f"),
        ("GET", f"{BASE}/e/revisions?limit=0", None, 400, "limit is '0'"),
        ("GET", f"{BASE}/e/revisions?limit=ten", None, 400, "must be a whole number above 0"),
        ("GET", f"{BASE}/e/traffic", None, 405, "takes PUT, not GET"),
        ("PUT", f"{BASE}/g/traffic", '{"coverage": 1}', 404, "no endpoint 'g'; it has e, f"),
        ("PUT", f"{BASE}/e/traffic", "no JSON", 400, "not JSON"),
        ("PUT", f"{BASE}/e/traffic", '{"split": NaN}', 400, "not JSON"),
        ("PUT", f"{BASE}/e/traffic", "[]", 400, "the body: "),
        ("PUT", f"{BASE}/e/traffic", "{}", 400, "name a split, a shadow or a coverage"),
        ("PUT", f"{BASE}/e/traffic", '{"reason": "why"}', 400, "Nothing is to change"),
        ("PUT", f"{BASE}/e/traffic", '{"shares": {"a": 1}}', 400, "shares: Extra inputs"),
        ("PUT", f"{BASE}/e/traffic", '{"split": {"a": "all"}}', 400, "split.a: "),
        ("PUT", f"{BASE}/e/traffic", '{"split": {"a": true}}', 400, "split.a: "),
        ("PUT", f"{BASE}/e/traffic", '{"split": {"a": 0.5, "b": 0.4}}', 400, "sum to 0.9"),
        ("PUT", f"{BASE}/e/traffic", '{"split": {"a": 1.5, "b": -0.5}}', 400, "'a' is 1.5"),
        ("PUT", f"{BASE}/e/traffic", '{"split": {"a": 1e999}}', 400, "not JSON"),
        ("PUT", f"{BASE}/e/traffic", '{"split": {"c": 1}}', 404, "no variant 'c'; it has a, b"),
        ("PUT", f"{BASE}/e/traffic", '{"shadow": {"b": 2}}', 400, "shadow of 'b' is 2"),
        ("PUT", f"{BASE}/e/traffic", '{"coverage": -1}', 400, "coverage is -1"),
        ("PUT", f"{BASE}/e/traffic", '{"coverage": 1, "base_revision": 3}', 409, "not at 3"),
        ("PUT", f"{BASE}/e/traffic", '{"coverage": 1, "base_revision": 1.5}', 400, "base_revision"),
        ("PUT", f"{BASE}/e/traffic", r'{"coverage": 1, "reason": "a\nb"}', 400, "one line"),
        ("POST", f"{BASE}/g/rollback", None, 404, "no endpoint 'g'; it has e, f"),
        ("POST", f"{BASE}/e/rollback", '{"to_revision": "1"}', 400, "to_revision: "),
        ("POST", f"{BASE}/e/rollback", '{"to_revision": 12}', 404, "no revision 12"),
        ("POST", f"{BASE}/e/rollback", '{"revision": 1}', 400, "revision: Extra inputs"),
        ("POST", f"{BASE}/e/rollback", None, 409, "is as it was first set"),
    ],
)
def test_what_is_wrong_is_one_sentence(method, path, body, status, sentence, ask, state) -> None:
    answer = ask(method, path, content=body)
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]
    assert answer.headers.get("allow") == ("PUT" if status == 405 else None)
    assert len(state.revisions("e")) == 1


def test_a_static_plan_changes_nothing(ask: Ask, state: State) -> None:
    for method, path, body in (
        ("PUT", f"{BASE}/e/traffic", {"coverage": 0.5}),
        ("POST", f"{BASE}/e/rollback", {}),
    ):
        answer = ask(method, path, mode="static", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "'mode: static'" in answer.json()["error"]
    assert ask("GET", f"{BASE}/e", mode="static").status_code == 200
    assert len(state.revisions("e")) == 1


def test_a_change_and_back(ask: Ask, state: State) -> None:
    body = {"split": {"a": 0.65, "b": 0.35}, "base_revision": 1, "reason": "more of it"}
    made = ask("PUT", f"{BASE}/e/traffic", json=body)
    assert made.status_code == 200
    assert made.json()["behind"] == []
    said = {key: made.json()[key] for key in ("endpoint", "number", "who", "reason", "shares")}
    assert said == {
        "endpoint": "e",
        "number": 2,
        "who": "admin API",
        "reason": "more of it",
        "shares": {"a": 0.65, "b": 0.35},
    }
    assert made.json()["intervals"] == {"a": [[0.0, 0.65]], "b": [[0.65, 1.0]]}
    again = ask("PUT", f"{BASE}/e/traffic", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")

    third = ask("PUT", f"{BASE}/e/traffic", json={"shadow": {"b": 1}, "coverage": 0.5}).json()
    assert (third["shares"], third["shadow"], third["coverage"]) == (
        {"a": 0.65, "b": 0.35},
        {"b": 1.0},
        0.5,
    )
    assert ask("POST", f"{BASE}/e/rollback").json()["restores"] == 2
    back = ask("POST", f"{BASE}/e/rollback", json={"to_revision": 1, "reason": "enough"}).json()
    assert (back["number"], back["restores"], back["reason"]) == (5, 1, "enough")
    listed = ask("GET", f"{BASE}/e/revisions").json()
    assert [revision["number"] for revision in listed] == [5, 4, 3, 2, 1]
    assert listed[0] == {key: value for key, value in back.items() if key != "behind"}
    assert [r["number"] for r in ask("GET", f"{BASE}/e/revisions?limit=2").json()] == [5, 4]


def test_an_endpoint_as_it_is_served(ask: Ask, state: State) -> None:
    Watch(state, ROUTER, ["m:production"]).tell(["m:1"], revisions={"e": 1})
    about = ask("GET", f"{BASE}/e").json()
    versions = {variant: about["variants"][variant].pop("version") for variant in "ab"}
    assert versions == {"a": state.alias("m", "production"), "b": state.alias("n", "production")}
    assert about["variants"] == {
        "a": {"model": "m:production", "framework": "sklearn", "share": 0.75, "shadow": 0.0},
        "b": {"model": "n:production", "framework": "sklearn", "share": 0.25, "shadow": 0.0},
    }
    assert about["traffic"] == {"split": {"a": 0.75, "b": 0.25}, "shadow": {}, "coverage": 1.0}
    assert [field["name"] for field in about["schema"]] == ["a", "b"]
    assert (about["stable"], about["task"], about["limits"]["max_rows"]) == ("a", "regression", 7)
    assert about["revision"]["number"] == 1
    assert list(about["routers"].values()) == [1]


def test_the_list_has_every_endpoint(ask: Ask) -> None:
    listed = ask("GET", BASE).json()
    assert [(about["name"], about["default"]) for about in listed] == [("e", False), ("f", True)]
    assert listed[1]["variants"]["a"]["share"] == 1.0
