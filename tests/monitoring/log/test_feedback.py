"""Feedback: what is refused and why, and what the log keeps."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.log import feedback as feedback_log
from monitoring.log.feedback import FeedbackItem, FeedbackLog, parse, read
from monitoring.log.reports import MAX_ITEMS
from switchyard.errors import InvalidInput, Overloaded


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"request_id": "a", "actual": NaN}',
        b'{"request_id": "a", "reward": 1e999}',
        b'{"request_id": "\xff", "actual": 1}',
        b"[" * 5000,
        b"[]",
        b"null",
        b'"a"',
        b"[[]]",
    ],
)
def test_a_body_that_is_no_feedback_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse(body)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"request_id": 7}, "request_id"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": None}, "request_id"),
        ({"request_id": "x" * 257}, "request_id"),
        ({"row": -1}, "row"),
        ({"row": True}, "row"),
        ({"row": 1.0}, "row"),
        ({"row": "1"}, "row"),
        ({"row": None}, "row"),
        ({"row": 2**31}, "row"),
        ({"actual": [1]}, "actual"),
        ({"actual": {"label": 1}}, "actual"),
        ({"actual": "x" * 1025}, "actual"),
        ({"reward": "1"}, "reward"),
        ({"reward": True}, "reward"),
        ({"event_time": 1372962600}, "event_time"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"event_time": "18:30"}, "event_time"),
        ({"event_time": "0001-01-01T00:00:00+23:00"}, "event_time"),
        ({"actual": None}, None),
        ({"label": 1}, "label"),
    ],
)
def test_a_wrong_value_is_named_by_item_and_key(change: dict[str, Any], field: str | None) -> None:
    good = {"request_id": "a", "actual": 1}
    with pytest.raises(InvalidInput) as caught:
        parse(orjson.dumps([good, {**good, **change}]))
    assert [(problem.row, problem.field) for problem in caught.value.details] == [(1, field)]


def test_a_missing_request_id_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(b'{"reward": 1}')
    assert [(p.row, p.field) for p in caught.value.details] == [(0, "request_id")]


def test_more_items_than_the_limit_are_refused_and_the_limit_is_not() -> None:
    items = [{"request_id": f"{number}", "actual": 1} for number in range(MAX_ITEMS + 1)]
    with pytest.raises(InvalidInput, match="at most 10000"):
        parse(orjson.dumps(items))
    assert len(parse(orjson.dumps(items[:-1]))) == MAX_ITEMS


def test_the_answer_to_many_problems_is_short() -> None:
    with pytest.raises(InvalidInput, match="9000 problems, the first 100") as caught:
        parse(orjson.dumps([{"request_id": "a", "actual": 1, "x": 1}] * 9000))
    assert len(caught.value.details) == 100


def test_one_object_and_a_list_are_read() -> None:
    one = b'{"request_id": "a", "actual": "late"}'
    two = b'[{"request_id": "a", "row": 3, "reward": 2, "event_time": "2013-07-04T18:30+02:00"}]'
    assert parse(one) == [FeedbackItem("a", 0, "late")]
    assert parse(two) == [FeedbackItem("a", 3, None, 2.0, datetime(2013, 7, 4, 16, 30, tzinfo=UTC))]


def test_a_time_without_a_zone_is_utc() -> None:
    (item,) = parse(b'{"request_id": "a", "actual": 1, "event_time": "2013-07-04"}')
    assert item.event_time == datetime(2013, 7, 4, tzinfo=UTC)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ACTUAL = st.one_of(
    st.none(), TEXT, st.integers(-(2**63), 2**63), st.booleans(), st.floats(allow_nan=False)
).filter(lambda value: value not in (float("inf"), float("-inf")))
ITEMS = st.builds(
    FeedbackItem,
    request_id=TEXT.filter(bool),
    row=st.integers(0, 2**31 - 1),
    actual=ACTUAL,
    reward=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    event_time=st.one_of(
        st.none(),
        st.datetimes(
            datetime(1900, 1, 1),
            datetime(2100, 1, 1),
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))]),
        ),
    ),
).filter(lambda item: item.actual is not None or item.reward is not None)


def as_json(item: FeedbackItem) -> dict[str, Any]:
    when = item.event_time and item.event_time.isoformat()
    return {
        "request_id": item.request_id,
        "row": item.row,
        "actual": item.actual,
        "reward": item.reward,
        "event_time": when,
    }


@settings(deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=4))
def test_what_is_written_as_json_is_read_back(items: list[FeedbackItem]) -> None:
    assert parse(orjson.dumps([as_json(item) for item in items])) == items


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["request_id", "row", "actual", "reward", "event_time", "x"]), inner
        )
    ),
    max_leaves=12,
)


def outcome(body: bytes) -> tuple[list[FeedbackItem], InvalidInput | None]:
    try:
        return parse(body), None
    except InvalidInput as error:
        return [], error


@settings(deadline=None)
@given(JSON | st.lists(JSON, min_size=1, max_size=3))
def test_any_json_is_read_or_refused_with_a_place(content: Any) -> None:
    items, error = outcome(orjson.dumps(content))
    assert all(item.actual is not None or item.reward is not None for item in items)
    if error is not None:
        assert error.details or content == []
        assert all(problem.row is not None for problem in error.details)
        assert all(problem.problem.endswith(".") for problem in error.details)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    items, error = outcome(body)
    assert bool(items) != (error is not None)


@pytest.fixture
def open_feedback(folder: Path) -> Iterator[Callable[..., FeedbackLog]]:
    logs: list[FeedbackLog] = []

    def build(**settings: Any) -> FeedbackLog:
        settings.setdefault("on_drop", lambda rows: None)
        logs.append(FeedbackLog(folder, worker="router-1", **settings))
        return logs[-1]

    yield build
    for log in logs:
        log.close()


def rows(folder: Path) -> list[dict[str, Any]]:
    found = read(folder).to_pylist()
    return sorted(found, key=lambda row: (row["request_id"], row["row"]))


@pytest.mark.parametrize(
    ("actual", "text", "number"),
    [
        ("late", "late", None),
        ("1", "1", None),
        (1, "1", 1.0),
        (1.0, "1", 1.0),
        (0.5, "0.5", 0.5),
        (-3.0, "-3", -3.0),
        (1e300, "1e+300", 1e300),
        (2**62 + 1, "4611686018427387905", float(2**62)),
        (True, "true", 1.0),
        (False, "false", 0.0),
        (None, None, None),
    ],
)
def test_a_truth_is_kept_as_text_and_as_number(
    open_feedback: Callable[..., FeedbackLog],
    folder: Path,
    actual: Any,
    text: str | None,
    number: float | None,
) -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    log = open_feedback()
    log.start()
    zone = timezone(timedelta(hours=2))
    log.append([FeedbackItem("a", 3, actual, 0.5, datetime(2013, 7, 4, 18, 30, tzinfo=zone))])
    log.close()
    (row,) = rows(folder)
    assert before - timedelta(seconds=1) < row.pop("timestamp") < before + timedelta(minutes=1)
    assert row == {
        "request_id": "a",
        "row": 3,
        "event_time": datetime(2013, 7, 4, 16, 30),
        "actual": text,
        "actual_number": number,
        "reward": 0.5,
    }
    day = f"date={before.date()}"
    assert [path.parent.name for path in (folder / "feedback").rglob("*.parquet")] == [day]


def test_the_first_report_for_a_row_is_kept(
    open_feedback: Callable[..., FeedbackLog], folder: Path
) -> None:
    log = open_feedback(flush_seconds=0.001)
    log.append([FeedbackItem("a", 0, 1), FeedbackItem("a", 0, 2), FeedbackItem("a", 1, 3)])
    log.start()
    while not read(folder).num_rows:
        log.append([FeedbackItem("a", 0, 4)])
    log.append([FeedbackItem("a", 1, 5), FeedbackItem("b", 0, 6)])
    log.close()
    assert [row["actual"] for row in rows(folder)] == ["1", "3", "6"]


def test_reports_are_remembered_up_to_the_window(
    open_feedback: Callable[..., FeedbackLog], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_log, "WINDOW", 2)
    log = open_feedback()
    first = log._encode([feedback_log._Report(1.0, tuple(FeedbackItem(i, 0, 1) for i in "abc"))])
    again = log._encode([feedback_log._Report(2.0, tuple(FeedbackItem(i, 0, 2) for i in "cba"))])
    assert first["request_id"].to_pylist() == ["a", "b", "c"]
    assert again["request_id"].to_pylist() == ["a"]


def test_a_report_that_could_not_be_written_may_come_again(
    open_feedback: Callable[..., FeedbackLog], folder: Path
) -> None:
    folder.mkdir(parents=True)
    blocker = folder / "segments"
    blocker.write_text("a file where the folder should be")
    lost = threading.Event()
    log = open_feedback(on_drop=lambda rows: lost.set(), flush_seconds=0.01)
    log.start()
    log.append([FeedbackItem("a", 0, 1)])
    assert lost.wait(10)
    blocker.unlink()
    log.append([FeedbackItem("a", 0, 1)])
    log.close()
    assert [row["actual"] for row in rows(folder)] == ["1"]


def test_feedback_that_finds_no_room_is_refused_whole(
    open_feedback: Callable[..., FeedbackLog], folder: Path
) -> None:
    log = open_feedback(max_rows=3)
    log.append([FeedbackItem("a", 0, 1), FeedbackItem("a", 1, 1)])
    with pytest.raises(Overloaded) as caught:
        log.append([FeedbackItem("b", 0, 1), FeedbackItem("b", 1, 1)])
    assert caught.value.retry_after == 1.0
    log.append([])
    log.append([FeedbackItem("c", 0, 1)])
    log.start()
    log.close()
    assert [row["request_id"] for row in rows(folder)] == ["a", "a", "c"]
    with pytest.raises(Overloaded):
        log.append([FeedbackItem("d", 0, 1)])
