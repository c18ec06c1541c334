"""The admin routes of models, asked as a client asks."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from lifecycle import Registry, Serve, open_registry, plan_of, wait_until

from services.admin.api import AdminApi
from services.admin.auth import Gate
from services.admin.models import ModelRoutes
from services.dataplane.lean import Receive, Scope, Send

TOKEN = "the-admin-token"
PLAN = plan_of("m:production", gates=["metrics.auc >= 0.5"])
BASE = "/admin/v1/models"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with open_registry(tmp_path, monkeypatch) as opened:
        yield opened


def api(registry: Registry, plan=PLAN) -> AdminApi:
    gate = Gate("open", TOKEN, registry.state)
    return AdminApi(plan, gate, ModelRoutes(plan, registry.state).routes)


@pytest.fixture
def ask(registry: Registry) -> Callable[..., httpx.Response]:
    def run(
        method: str, path: str, token: str | None = TOKEN, plan=PLAN, **more: Any
    ) -> httpx.Response:
        routes = api(registry, plan)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            handler = routes.route(scope)
            assert handler is not None
            await handler(scope, receive, send)

        async def asked() -> httpx.Response:
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(asked())

    return run


def test_other_paths_are_not_these_routes(registry: Registry) -> None:
    routes = api(registry)
    for path in ("/predict", "/admin/v1", "/admin/v1x/models"):
        assert routes.route({"path": path}) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", BASE),
        ("GET", f"{BASE}/m"),
        ("PUT", f"{BASE}/m/aliases/production"),
        ("POST", f"{BASE}/m/rollback"),
        ("GET", f"{BASE}/m/nothing/at/all"),
    ],
)
def test_every_route_needs_the_admin_scope(method: str, path: str, ask, registry) -> None:
    key = registry.state.create_key("caller", ["predict"])
    assert ask(method, path, token=None).status_code == 401
    assert ask(method, path, token="wrong").status_code == 401
    assert ask(method, path, token=key).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("GET", f"{BASE}/", None, 404, "There is nothing at"),
        ("GET", f"{BASE}/m/aliases", None, 404, "There is nothing at"),
        ("DELETE", BASE, None, 405, "takes GET, not DELETE"),
        ("GET", f"{BASE}/m/aliases/production", None, 405, "takes PUT, not GET"),
        ("PUT", f"{BASE}/m/rollback", None, 405, "takes POST, not PUT"),
        ("GET", f"{BASE}/nothing", None, 404, "no model 'nothing'"),
        ("GET", f"{BASE}/*", None, 400, "no usable model name"),
        ("PUT", f"{BASE}/m/aliases/production", "", 400, "not JSON"),
        ("PUT", f"{BASE}/m/aliases/production", "{}", 400, "version: "),
        ("PUT", f"{BASE}/m/aliases/production", "[]", 400, "the body: "),
        ("PUT", f"{BASE}/m/aliases/production", '{"version": 1}', 400, "version: "),
        ("PUT", f"{BASE}/m/aliases/production", '{"version": "v", "x": 1}', 400, "x: "),
        ("PUT", f"{BASE}/m/aliases/production", '{"version": "v"}', 404, "neither a version"),
        ("PUT", f"{BASE}/m/aliases/Live!", '{"version": "v"}', 400, "no usable alias"),
        ("POST", f"{BASE}/m/rollback", '{"alias": "staging"}', 404, "no alias 'staging'"),
        ("POST", f"{BASE}/m/rollback", '{"to": "v"}', 400, "to: "),
        ("POST", f"{BASE}/m/rollback", None, 409, "there is nothing to go back to"),
        ("POST", f"{BASE}/m/rollback", " " * 70_000, 413, "larger than"),
        ("POST", f"{BASE}/m/rollback", r'{"reason": "a\u0000b"}', 400, "control character"),
        ("POST", f"{BASE}/m/rollback", r'{"reason": "a\u001b[2J"}', 400, "control character"),
        (
            "PUT",
            f"{BASE}/m/aliases/production",
            r'{"version": "v", "reason": "a\nb"}',
            400,
            "reason: Value error, it holds a control character; write it on one line",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(method, path, body, status, sentence, ask, registry) -> None:
    registry.first(metrics={"auc": 0.7})
    answer = ask(method, path, content=body)
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]
    assert len(registry.state.alias_history("m")) == 1


def test_a_static_plan_changes_nothing(ask, registry: Registry) -> None:
    registry.first()
    plan = plan_of("m:production", mode="static")
    for method, path, body in (
        ("PUT", f"{BASE}/m/aliases/production", {"version": registry.bare()}),
        ("POST", f"{BASE}/m/rollback", {}),
    ):
        answer = ask(method, path, plan=plan, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert ask("GET", BASE, plan=plan).status_code == 200


def test_a_gate_that_is_not_passed_names_every_rule(ask, registry: Registry) -> None:
    registry.first(metrics={"auc": 0.7})
    version = registry.store(metrics={"auc": 0.4})
    answer = ask("PUT", f"{BASE}/m/aliases/production", json={"version": version})
    assert answer.status_code == 409
    body = answer.json()
    assert body["code"] == "gate_not_passed"
    assert [detail["field"] for detail in body["details"]] == ["verified", "metrics.auc >= 0.5"]
    assert "it is 0.4, and at least 0.5 is asked for" in body["error"]


def test_a_second_move_is_refused_while_one_is_going_on(registry: Registry) -> None:
    first, version = registry.first(metrics={"auc": 0.7}), registry.store(metrics={"auc": 0.8})
    routes = api(registry)

    async def asked() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        headers = {"authorization": f"Bearer {TOKEN}"}
        transport = httpx.ASGITransport(routes.handle)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            with Serve(registry.state, is_stuck=True) as serve:
                body = {"version": version}
                path = f"{BASE}/m/aliases/production"
                going_on = asyncio.create_task(client.put(path, json=body, headers=headers))
                await asyncio.to_thread(
                    wait_until, lambda: len(registry.state.observe().candidates) == 1
                )
                second = await client.post(f"{BASE}/m/rollback", headers=headers)
                serve.is_stuck = False
                promoted = await going_on
                return second, promoted, await client.post(f"{BASE}/m/rollback", headers=headers)

    second, promoted, back = asyncio.run(asked())
    assert (second.status_code, second.json()["code"]) == (409, "conflict")
    assert "Another promotion or rollback is going on" in second.json()["error"]
    assert (promoted.status_code, promoted.json()["version"]) == (200, version)
    assert (back.status_code, back.json()["version"]) == (200, first)


def test_work_that_ends_its_thread_is_answered(ask, registry: Registry, monkeypatch) -> None:
    def leave(*_: object, **__: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr("services.admin.models.promote", leave)
    answer = ask("PUT", f"{BASE}/m/aliases/production", json={"version": "v"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


def test_a_promotion_and_back(ask, registry: Registry) -> None:
    first = registry.first(metrics={"auc": 0.7})
    version = registry.store(metrics={"auc": 0.4})
    with Serve(registry.state):
        body = {"version": version, "reason": "a try", "force": True}
        moved = ask("PUT", f"{BASE}/m/aliases/production", json=body).json()
        assert (moved["before"], moved["version"], moved["changed"]) == (first, version, True)
        assert (moved["hosts"], moved["routers"]) == (["onnx here:1"], ["router here:2"])
        assert "metrics.auc >= 0.5" in moved["overruled"]
        assert ask("POST", f"{BASE}/m/rollback").json()["version"] == first
    about = ask("GET", f"{BASE}/m").json()
    assert about["aliases"] == {"production": first}
    assert [change["action"] for change in about["history"]] == ["set", "promote", "rollback"]
    assert [change["who"] for change in about["history"]] == ["test", "admin API", "admin API"]
    assert about["versions"][0]["serves"]["variants"] == ["e/v0"]


def test_the_list_is_that_of_the_command(ask, registry: Registry) -> None:
    version = registry.first(metrics={"auc": 0.7})
    (row,) = ask("GET", BASE).json()
    assert (row["name"], row["version"], row["aliases"]) == ("m", version, ["production"])
    assert row["metrics"] == {"auc": 0.7}
