"""What `POST /feedback` brings: reading it, and saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from switchyard.errors import InvalidInput, Problem

__all__ = ["MAX_ITEMS", "FeedbackItem", "parse"]

MAX_ITEMS = 10_000
"""Most items that one request may bring."""

_MAX_ROW = 2**31 - 1
_MAX_ID = 256
_MAX_TEXT = 1024
_MAX_DETAILS = 100


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """What became of one row of one request.

    Attributes:
        request_id: Of the request.
        row: Index of the row in it.
        actual: The true class or value; None if only a reward is given.
        reward: What the answer was worth; None if only the truth is given.
        event_time: When it became known, with a time zone; setting it takes the admin scope.
    """

    request_id: str
    row: int = 0
    actual: str | int | float | bool | None = None
    reward: float | None = None
    event_time: datetime | None = None


def parse(body: bytes) -> list[FeedbackItem]:
    """Reads the body of `POST /feedback`: one object, or a list of them.

    Raises:
        InvalidInput: It is not that; `details` names the item (as `row`) and the key, for the first
            hundred problems.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.") from error
    items = content if isinstance(content, list) else [content]
    if not items:
        raise InvalidInput("The list is empty; send at least one feedback item.")
    if len(items) > MAX_ITEMS:
        raise InvalidInput(
            f"{len(items)} feedback items are too many for one request; send at most {MAX_ITEMS}."
        )
    problems = [
        Problem(sentence, row=index, field=key)
        for index, item in enumerate(items)
        for key, sentence in _problems(item)
    ]
    if problems:
        many = f", the first {_MAX_DETAILS} are in details" if len(problems) > _MAX_DETAILS else ""
        raise InvalidInput(
            f"The feedback has {len(problems)} problem{'s' if len(problems) > 1 else ''}{many}; "
            "nothing of it was stored.",
            problems[:_MAX_DETAILS],
        )
    return [_item(item) for item in items]


def _problems(item: Any) -> Iterator[tuple[str | None, str]]:
    if not isinstance(item, dict):
        yield None, 'A feedback item is an object like {"request_id": "...", "actual": 1}.'
        return
    for key, value in item.items():
        check = _CHECKS.get(key)
        if check is None:
            yield key, f"Unknown key; known are {', '.join(_CHECKS)}."
        elif value is None and key in _OPTIONAL:
            continue
        elif sentence := check(value):
            yield key, sentence
    if "request_id" not in item:
        yield "request_id", "It is missing."
    if item.get("actual") is None and item.get("reward") is None:
        yield None, "An item needs actual, reward or both."


def _request_id_problem(value: Any) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= _MAX_ID:
        return None
    return f"It must be a string of 1 to {_MAX_ID} characters."


def _row_problem(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ROW:
        return None
    return f"It must be a whole number from 0 to {_MAX_ROW}."


def _actual_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return None if len(value) <= _MAX_TEXT else f"It is longer than {_MAX_TEXT} characters."
    return None if isinstance(value, int | float) else "It must be a string, a number or a boolean."


def _reward_problem(value: Any) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if is_number else "It must be a number."


def _event_time_problem(value: Any) -> str | None:
    problem = "It must be an ISO 8601 time such as 2013-07-04T18:30:00Z."
    if not isinstance(value, str):
        return problem
    try:
        _time(value)
    except (ValueError, OverflowError):
        return problem
    return None


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "request_id": _request_id_problem,
    "row": _row_problem,
    "actual": _actual_problem,
    "reward": _reward_problem,
    "event_time": _event_time_problem,
}
_OPTIONAL = frozenset({"actual", "reward", "event_time"})


def _time(text: str) -> datetime:
    """Reads an ISO 8601 time; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _item(item: dict[str, Any]) -> FeedbackItem:
    reward, when = item.get("reward"), item.get("event_time")
    return FeedbackItem(
        request_id=item["request_id"],
        row=item.get("row", 0),
        actual=item.get("actual"),
        reward=None if reward is None else float(reward),
        event_time=None if when is None else _time(when),
    )
