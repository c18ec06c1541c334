"""The admin routes of the log, asked as a client asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from services.admin.api import AdminApi
from services.admin.auth import Gate
from services.admin.logging import LoggingRoutes
from switchyard.plan import Plan
from switchyard.state import State

TOKEN = "the-admin-token"
PATH = "/admin/v1/logging"
ENDPOINTS = {"flights": {"stable": "a", "variants": {"a": {"model": "m:production"}}}}
PLANNED = {"level": "warning", "access": 0.01, "fields": False}

Ask = Callable[..., httpx.Response]


def asking(state: State, mode: str = "live") -> Ask:
    plan = Plan.model_validate({"endpoints": ENDPOINTS, "logging": PLANNED, "mode": mode})
    api = AdminApi(plan, Gate("open", TOKEN, state), LoggingRoutes(plan, state).routes)

    def run(method: str, body: Any = None, token: str = TOKEN) -> httpx.Response:
        async def asked() -> httpx.Response:
            headers = {"authorization": f"Bearer {token}"}
            transport = httpx.ASGITransport(api.handle)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, PATH, headers=headers, json=body)

        return asyncio.run(asked())

    return run


@pytest.fixture
def ask(state: State) -> Ask:
    return asking(state)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"level": "loud"}, "level: Input should be 'debug', 'info', 'warning' or 'error'"),
        ({"level": None}, "level: Input should be"),
        ({"level": 10}, "level: Input should be"),
        ({"access": 1.5}, "access: Input should be less than or equal to 1"),
        ({"access": -0.1}, "access: Input should be greater than or equal to 0"),
        ({"access": "1%"}, "access: Input should be a valid number"),
        ({"fields": "yes"}, "fields: Input should be a valid boolean"),
        ({"levels": "info"}, "the keys here are 'level', 'access', 'fields'"),
        ({}, "Name what to change"),
        ([], "the body"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    body: Any, sentence: str, ask: Ask, state: State
) -> None:
    answer = ask("PUT", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert sentence in answer.json()["error"]
    assert state.log_change() is None


def test_only_an_admin_may(ask: Ask, state: State) -> None:
    assert ask("PUT", {"fields": True}, token="guess").status_code == 401
    assert state.log_change() is None


def test_a_static_plan_is_not_changed(state: State) -> None:
    ask = asking(state, mode="static")
    assert ask("PUT", {"level": "debug"}).status_code == 409
    assert ask("GET").json()["level"] == "warning"


def test_a_change_stands_over_the_plan_until_it_is_deleted(ask: Ask) -> None:
    assert ask("GET").json() == {**PLANNED, "plan": PLANNED, "changed": None}
    assert ask("PUT", {"level": "debug"}).status_code == 200
    changed = ask("PUT", {"access": None}).json()
    assert changed == ask("GET").json()
    assert (changed["level"], changed["access"], changed["plan"]) == ("debug", None, PLANNED)
    assert changed["changed"].pop("created")
    assert changed["changed"] == {"level": "debug", "access": None, "who": "admin API"}
    assert ask("DELETE").json() == {**PLANNED, "plan": PLANNED, "changed": None}
