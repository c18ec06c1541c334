from __future__ import annotations

from typing import Any

import pytest
from bentos import made, plan

from deploy import smoke
from deploy.errors import DeployFailed
from deploy.smoke import SHOWN, Probe, smoke_test
from deploy.target import Reply
from deploy.values import Smoke
from switchyard.errors import NotFound

PROBE = Probe("flights", [{"x": 1.0}], 60.0)
GOOD = Reply(200, b'{"predictions": [0]}')


class Address:
    """Answers one after the other; the last one for ever."""

    facts: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, *answers: Reply | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        assert (rows, endpoint) == (PROBE.rows, PROBE.endpoint)
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def spare(self, *_: Any) -> None: ...
    def apply(self, *_: Any) -> None: ...
    def look(self, *_: Any) -> Any: ...
    def delete(self, *_: Any) -> str: ...


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.0)


def test_refusals_are_asked_again_until_a_prediction_comes() -> None:
    address = Address(ConnectionRefusedError(), Reply(404, b""), Reply(503, b""), GOOD)
    smoke_test(address, PROBE, lambda _: None)
    assert address.asked == 4


def test_what_was_answered_last_is_said_when_time_is_up() -> None:
    address = Address(Reply(403, b'{"message": "Missing Authentication Token"}'))
    late = Probe("flights", PROBE.rows, 0.01)
    with pytest.raises(DeployFailed, match=r"HTTP 403: .*Missing Authentication Token"):
        smoke_test(address, late, lambda _: None)


def test_an_answer_that_is_no_prediction_fails_at_once() -> None:
    address = Address(Reply(200, b"hello"), GOOD)
    with pytest.raises(DeployFailed, match="holds no prediction for the row: hello"):
        smoke_test(address, PROBE, lambda _: None)
    assert address.asked == 1


def test_of_a_long_answer_the_beginning_is_shown() -> None:
    address = Address(Reply(200, b"x" * 5000))
    with pytest.raises(DeployFailed) as caught:
        smoke_test(address, PROBE, lambda _: None)
    assert caught.value.message.endswith("x" * SHOWN + " ...")


def test_the_default_endpoint_is_asked_where_none_is_named() -> None:
    assert Probe.of(made(), Smoke()).endpoint == "flights"
    assert Probe.of(made(), Smoke(endpoint="digits", within=5.0)).endpoint == "digits"
    without_default = plan(
        "endpoints: {b: {stable: s, variants: {s: {model: 'm:1'}}},"
        " a: {stable: s, variants: {s: {model: 'm:1'}}}}"
    )
    assert Probe.of(made(plan=without_default), Smoke()).endpoint == "b"


def test_an_endpoint_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match="no endpoint 'fligths'"):
        Probe.of(made(), Smoke(endpoint="fligths"))


def test_a_probe_can_be_recorded() -> None:
    assert Probe.from_dict(PROBE.as_dict()) == PROBE
