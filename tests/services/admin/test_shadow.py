"""The admin route of shadows, asked as a client asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from mirrored import START, Answer, shadow, write

from services.admin.api import AdminApi
from services.admin.auth import Gate
from services.admin.shadow import ShadowRoutes
from switchyard.plan import Plan
from switchyard.state import State

TOKEN = "the-admin-token"
PATH = "/admin/v1/endpoints/flights/shadow"
PLAN = Plan.model_validate(
    {
        "endpoints": {
            "flights": {"stable": "sklearn", "variants": {"sklearn": {"model": "m:production"}}},
            "digits": {"stable": "sklearn", "variants": {"sklearn": {"model": "d:production"}}},
        },
        "mode": "static",
    }
)

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(state: State, tmp_path: Path) -> Ask:
    api = AdminApi(PLAN, Gate("open", TOKEN, state), ShadowRoutes(PLAN, tmp_path / "log").routes)

    def run(path: str, token: str = TOKEN, **query: str) -> httpx.Response:
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
        ({"window": "long"}, "window is 'long', which is no duration"),
        ({"window": "-5"}, "window is '-5', which is no duration"),
        ({"window": "90000d"}, "reaches back to before 1970"),
        ({"until": "later"}, "until is 'later'; it must be a time"),
        ({"worst": "-1"}, "worst is '-1'; it must be a whole number up to 100"),
        ({"worst": "101"}, "worst is '101'; it must be a whole number up to 100"),
        ({"worst": "١"}, "it must be a whole number up to 100"),
        ({"worst": "9" * 5000}, "it must be a whole number up to 100"),
        ({"best": "1"}, "no parameter 'best' here; there are window, until, worst"),
    ],
)
def test_what_is_wrong_is_one_sentence(ask: Ask, query: dict[str, str], sentence: str) -> None:
    answer = ask(PATH, **query)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_an_unknown_endpoint_is_not_found(ask: Ask) -> None:
    answer = ask(PATH.replace("flights", "trains"))
    assert answer.status_code == 404
    assert "no endpoint 'trains'; it has flights, digits" in answer.json()["error"]


def test_the_route_needs_the_admin_token(ask: Ask) -> None:
    assert ask(PATH, token="wrong").status_code == 401


def test_without_shadows_the_answer_says_so(ask: Ask) -> None:
    answer = ask(PATH).json()
    assert (answer["endpoint"], answer["shadows"]) == ("flights", [])
    assert (answer["rows_read"], answer["complete"]) == (0, True)


def test_shadows_of_a_window_are_compared(ask: Ask, tmp_path: Path) -> None:
    write(
        tmp_path / "log",
        [
            *(Answer(f"r{n}", (0.25, 0.75), n, x=n) for n in range(3)),
            *(shadow(f"r{n}", (0.5 + n / 8, 0.5 - n / 8), n) for n in range(3)),
        ],
    )
    query = {"window": "10s", "until": START.isoformat().replace(":00+", ":03+"), "worst": "1"}
    (one,) = ask(PATH, **query).json()["shadows"]
    assert (one["variant"], one["model"], one["rows"]) == ("torch", "flights-torch:1", 3)
    assert (one["agreement"], one["primaries"]) == (0.0, {"sklearn": 3})
    assert [worst["fields"] for worst in one["worst"]] == [{"x": 2.0}]
    assert sum(window["rows"] for window in one["windows"]) == 3
    assert ask(PATH, **query | {"window": "2s"}).json()["shadows"][0]["rows"] == 2
