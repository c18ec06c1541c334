"""The admin route of drift reports, asked as a client asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from drifting import World, make_plan, opened

from models import store
from models.drift.profile import read as read_profile
from services.admin.api import AdminApi
from services.admin.auth import Gate
from services.admin.drift import DriftRoutes
from switchyard.records import DriftCount, iso, utc_now

TOKEN = "the-admin-token"
PATH = "/admin/v1/endpoints/flights/drift"

Ask = Callable[..., httpx.Response]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with opened(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def ask(world: World) -> Ask:
    plan = make_plan()
    gate = Gate("open", TOKEN, world.state)
    api = AdminApi(plan, gate, DriftRoutes(plan, world.state).routes)

    def run(path: str = PATH, token: str = TOKEN, **query: str) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(api.handle)
            headers = {"authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.get(path, headers=headers, params=query)

        return asyncio.run(asked())

    return run


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"number": "0"}, "number is '0'; it must be a whole number from 1 on."),
        ({"number": "9" * 5000}, "it must be a whole number from 1 on."),
        ({"limit": "-1"}, "limit is '-1'; it must be a whole number from 1 on."),
        ({"window": "1h"}, "There is no parameter 'window' here; there are number, limit."),
    ],
)
def test_what_is_wrong_is_refused(ask: Ask, query: dict[str, str], sentence: str) -> None:
    answer = ask(**query)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_what_is_not_there_is_not_found(ask: Ask) -> None:
    assert ask(PATH.replace("flights", "trains")).status_code == 404
    assert ask(number="3").status_code == 404
    assert ask(token="another").status_code in (401, 403)


def test_before_the_first_report_the_answer_says_how_to_come_to_one(ask: Ask) -> None:
    answer = ask()
    assert answer.status_code == 200
    assert answer.json()["verdict"] is None
    assert "`switchyard drift run --endpoint flights` makes one now" in answer.json()["why"]


def test_the_last_report_an_earlier_one_and_the_history(ask: Ask, world: World) -> None:
    world.version()
    first, second = world.run(), world.run()
    last = ask().json()
    assert (last["number"], last["verdict"]) == (2, second.model_dump(mode="json"))
    assert [each["number"] for each in last["history"]] == [2, 1]
    assert ask(number="1").json()["verdict"] == first.model_dump(mode="json")
    assert [each["number"] for each in ask(limit="1").json()["history"]] == [2]


def test_live_scores_stand_beside_the_reports(ask: Ask, world: World) -> None:
    tag = world.version()
    assert ask().json()["live"] == []
    now = iso(utc_now())
    profile = read_profile(store.manifest(*store.split(tag)))
    assert profile is not None
    counts = {"y": [*profile.fields["y"].counts]}
    rows = sum(counts["y"])
    world.state.count_drift([DriftCount("w", "flights", 0, "", tag, rows, counts, now)])
    (score,) = ask().json()["live"]
    assert (score["variant"], score["name"], score["method"]) == (None, "y", "ks")
    assert (score["score"], score["rows"]) == (0, rows)
    assert score["threshold"] > 0
