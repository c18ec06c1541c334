"""The join: repeats, unknown ids, late and early feedback, and a log that others write."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import START, Asked, Told, at, write_feedback, write_predictions

from models.schema import Field, Schema
from monitoring.feedback import FeedbackCounts, count_feedback, open_joined
from monitoring.log.segments import roll_closed


def joined(folder: Path, columns: str, since: datetime | None = None) -> list[tuple[Any, ...]]:
    with open_joined(folder, "flights", since) as db:
        return db.execute(f"SELECT {columns} FROM joined ORDER BY ALL").fetchall()


def counts(folder: Path, now: float, window: float = 100.0) -> FeedbackCounts:
    with open_joined(folder) as db:
        since = at(-1)
        return count_feedback(db, "flights", since=since, now=at(now), window=window)


def test_an_empty_log_joins_to_nothing(folder: Path) -> None:
    assert joined(folder, "request_id, model, actual, reward") == []
    assert counts(folder, now=1000) == FeedbackCounts()


def test_feedback_alone_is_unknown_once_its_time_of_grace_is_over(folder: Path) -> None:
    write_feedback(folder, [Told("nobody", 10, "1")])
    assert joined(folder, "request_id") == []
    assert counts(folder, now=20) == FeedbackCounts(waiting=1)
    assert counts(folder, now=200) == FeedbackCounts(unknown=1)


def test_feedback_that_is_on_disk_first_joins_when_its_prediction_is(folder: Path) -> None:
    write_feedback(folder, [Told("a", 1, "1", 1.0, 0.5)], roll=True)
    write_predictions(folder, [Asked("a", 0.9)])
    assert joined(folder, "request_id, actual, actual_number, reward") == [("a", "1", 1.0, 0.5)]
    assert counts(folder, now=2) == FeedbackCounts(joined=1)


@pytest.mark.parametrize("roll", [False, True])
def test_the_earliest_report_counts_wherever_it_lies(folder: Path, roll: bool) -> None:
    write_predictions(folder, [Asked("a"), Asked("a", row=1)], roll=roll)
    write_feedback(folder, [Told("a", 30, "third"), Told("a", 20, "second")], roll=True)
    write_feedback(folder, [Told("a", 10, "first"), Told("a", 40, "row one", row=1)], roll=roll)
    assert joined(folder, "row, actual") == [(0, "first"), (1, "row one")]
    assert counts(folder, now=50) == FeedbackCounts(joined=2, repeated=2)


def test_a_row_that_was_not_asked_for_joins_nothing(folder: Path) -> None:
    write_predictions(folder, [Asked("a")])
    write_feedback(folder, [Told("a", 1, "1", row=7)])
    assert joined(folder, "row, actual") == [(0, None)]


def test_late_feedback_is_in_the_view_and_counted_as_late(folder: Path) -> None:
    write_predictions(folder, [Asked("in", 0), Asked("out", 0), Asked("dated", 0, event_time=-900)])
    write_feedback(folder, [Told("in", 100, "1"), Told("out", 101, "1"), Told("dated", 5, "1")])
    assert joined(folder, "request_id, actual IS NULL") == [
        ("dated", False), ("in", False), ("out", False),
    ]  # fmt: skip
    assert counts(folder, now=200) == FeedbackCounts(joined=1, late=2)


def test_feedback_for_another_endpoint_is_neither_ours_nor_unknown(folder: Path) -> None:
    write_predictions(folder, [Asked("a"), Asked("b", endpoint="digits")])
    write_feedback(folder, [Told("b", 1, "1")])
    assert counts(folder, now=500) == FeedbackCounts()


@pytest.mark.parametrize("reward", [1e308, -1e308, 5e-324, 0.0])
def test_absurd_rewards_stay_the_numbers_they_are(folder: Path, reward: float) -> None:
    write_predictions(folder, [Asked("a"), Asked("b")])
    write_feedback(folder, [Told("a", 1, reward=reward), Told("b", 1, reward=reward)], roll=True)
    assert joined(folder, "reward") == [(reward,), (reward,)]
    assert joined(folder, "reward * 10 IS NOT NULL") == [(True,), (True,)]


def test_shadow_rows_are_there_with_their_role_and_counted_nowhere(folder: Path) -> None:
    write_predictions(folder, [Asked("a"), Asked("a", role="shadow", assigned="new")])
    write_feedback(folder, [Told("a", 1, "1")])
    assert joined(folder, "role, actual") == [("primary", "1"), ("shadow", "1")]
    assert counts(folder, now=2) == FeedbackCounts(joined=1)


def test_clocks_that_jump_lose_no_row(folder: Path) -> None:
    times = [0.0, -86_400.0, 3_600.0, 5.0]
    write_predictions(folder, [Asked(f"{time}", time) for time in times], roll=True)
    write_feedback(folder, [Told(f"{time}", time - 7, "1") for time in times], roll=True)
    assert len(joined(folder, "request_id, actual")) == 4
    assert {actual for _, actual in joined(folder, "request_id, actual")} == {"1"}


def test_rows_before_a_moment_are_left_out(folder: Path) -> None:
    rows = [Asked("day", -90_000), Asked("just", -1), Asked("now", 0)]
    write_predictions(folder, rows, roll=True)
    assert joined(folder, "request_id", since=START) == [("now",)]


def test_schemas_and_fields_with_our_names_are_united(folder: Path) -> None:
    write_predictions(folder, [Asked("a", x=1.5)], roll=True)
    fields = [Field(name=name, type="float", dtype="float64") for name in ("reward", "y")]
    write_predictions(folder, [Asked("b", x=2.5)], classes=None, schema=Schema.of(fields))
    write_predictions(folder, [Asked("c")], classes=("on time", "late"))
    write_feedback(folder, [Told("b", 1, reward=9.0)])
    assert joined(folder, "request_id, x, y, field_reward, reward, prediction") == [
        ("a", 1.5, None, None, None, "0"),
        ("b", None, 2.5, 2.5, 9.0, "0.25"),
        ("c", 1.0, None, None, None, "on time"),
    ]


def test_a_session_reads_nothing_but_the_log(folder: Path, tmp_path: Path) -> None:
    import duckdb

    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with open_joined(folder) as db:
        with pytest.raises(duckdb.PermissionException):
            db.execute(f"FROM read_text('{secret}')")
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            db.execute("SET enable_external_access = true")


def test_a_segment_beside_its_own_parquet_file_counts_once(folder: Path) -> None:
    write_predictions(folder, [Asked("a"), Asked("b", -86_400)])
    (segment,) = folder.rglob("*.arrows")
    content = segment.read_bytes()
    roll_closed(folder)
    segment.write_bytes(content)  # as if the roller had died before it deleted the segment
    assert joined(folder, "request_id") == [("a",), ("b",)]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from logs import Asked, Told, write_feedback, write_predictions
folder = Path(sys.argv[1])
for number in range(int(sys.argv[2])):
    rows = [Asked(f"{number}-{n}", number) for n in range(5)]
    write_predictions(folder, rows, roll=number % 3 == 0)
    write_feedback(folder, [Told(f"{number}-0", number, "1")], roll=number % 4 == 0)
    print(number, flush=True)
"""


def test_each_row_is_read_once_while_others_write_and_roll(
    folder: Path, python: Callable[..., Popen[str]]
) -> None:
    writer = python(WRITER, folder, 60)
    seen = 0
    while writer.poll() is None:
        rows = [request for (request,) in joined(folder, "request_id")]
        assert len(rows) == len(set(rows)) >= seen
        seen = len(rows)
    rows = joined(folder, "request_id, actual")
    assert len(rows) == len(set(rows)) == 300
    assert {request for request, actual in rows if actual} == {f"{n}-0" for n in range(60)}


IDS = st.sampled_from(["a", "b", "c"])
SECONDS = st.integers(-50, 250)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(IDS, st.integers(0, 1)), unique=True, max_size=5),
    st.lists(st.tuples(IDS, st.integers(0, 2), SECONDS), max_size=8),
    st.booleans(),
)
def test_the_join_is_what_a_plain_loop_gives(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[str, int]],
    told: list[tuple[str, int, int]],
    roll: bool,
) -> None:
    folder = tmp_path_factory.mktemp("home") / "log"
    if asked:
        write_predictions(folder, [Asked(name, row=row) for name, row in asked], roll=roll)
    for number, (name, row, time) in enumerate(told):
        write_feedback(folder, [Told(name, time, str(number), row=row)])
    first: dict[tuple[str, int], tuple[int, str]] = {}
    for number, (name, row, time) in enumerate(told):
        report = (time, str(number))
        first[name, row] = min(first.get((name, row), report), report)
    expected = sorted((name, row, first.get((name, row), (0, None))[1]) for name, row in asked)
    assert sorted(joined(folder, "request_id, row, actual")) == expected

    ours = {place: time for place, (time, _) in first.items() if place in asked and time > -1}
    found = counts(folder, now=1000)
    assert found.joined == sum(time <= 100 for time in ours.values())
    assert found.late == sum(time > 100 for time in ours.values())
    assert found.unknown == len([p for p, (t, _) in first.items() if p not in asked and t > -1])
