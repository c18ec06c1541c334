"""What a replay sends: reading it, cutting it by time, and putting it into requests."""

from __future__ import annotations

from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.schema import Field
from monitoring.replay.recording import BLOCK_ROWS, Recording, moment, own, read
from switchyard.errors import InvalidInput, NotFound

FIELDS = [Field(name="x", type="float"), Field(name="maybe", type="float", nullable=True)]


def hours(count: int) -> list[datetime]:
    return [datetime(2024, 1, 1 + n // 24, n % 24) for n in range(count)]


def written(folder: Path, **columns: Any) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def recorded(rows: int) -> Recording:
    table = pa.table(
        {"x": [float(n) for n in range(rows)], "t": hours(rows), "y": list(range(rows))}
    )
    return Recording("it", table, "t", "y")


def test_files_that_cannot_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no file"):
        read(tmp_path / "none.parquet", "t", None)
    text = tmp_path / "rows.csv"
    text.write_text("t,x\n2024-01-01,1\n")
    with pytest.raises(InvalidInput, match="cannot be read as Parquet"):
        read(text, "t", None)
    path = written(tmp_path, t=hours(2), n=[1, 2], words=["soon", "later"], gap=[hours(1)[0], None])
    for when, target, problem in (
        ("when", None, "has no column 'when'; it has t, n, words, gap"),
        ("t", "truth", "has no column 'truth'"),
        ("n", None, "holds int64, not times"),
        ("words", None, "holds string that cannot be read as times"),
        ("gap", None, "is empty in 1 rows"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            read(path, when, target)


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-01T02:00:00+02:00", "2024-01-01T01:00:00Z"],
        ["2024-01-01", "2024-01-01T01:00:00"],
        pa.array([datetime(2024, 1, 1), datetime(2024, 1, 1, 1)], pa.timestamp("ns")),
        pa.array([datetime(2024, 1, 1), datetime(2024, 1, 1, 1)], pa.timestamp("ms", "Asia/Tokyo")),
    ],
)
def test_times_become_utc(tmp_path: Path, times: Any) -> None:
    recording = read(written(tmp_path, t=times, x=[1.0, 2.0]), "t", None)
    assert recording.table["t"].to_pylist() == hours(2)


def test_days_are_times(tmp_path: Path) -> None:
    recording = read(written(tmp_path, t=[date(2024, 1, 2), date(2024, 1, 1)], x=[2, 1]), "t", None)
    assert recording.table["x"].to_pylist() == [1, 2]


def test_an_endpoint_without_data_of_the_project() -> None:
    with pytest.raises(NotFound, match="no data of its own for the endpoint 'digits'"):
        own("digits")


def test_what_is_no_time_and_what_lies_nowhere() -> None:
    for text in ("april", "2024-13-01", "", "1"):
        with pytest.raises(InvalidInput, match="is no time"):
            moment(text)
    with pytest.raises(InvalidInput, match="is after --to"):
        recorded(3).between(moment("2024-01-02"), moment("2024-01-01", end=True), None)
    with pytest.raises(InvalidInput, match="it holds 2024-01-01 00:00:00 to 2024-01-01 02:00:00"):
        recorded(3).between(moment("2024-02-01"), moment("2024-02-01", end=True), None)
    with pytest.raises(InvalidInput, match="it has no rows"):
        recorded(0).between(moment("2024-02-01"), moment("2024-02-01", end=True), None)


def test_a_day_counts_to_its_end() -> None:
    assert moment("2024-01-01T12:00+02:00") == datetime(2024, 1, 1, 10)
    assert moment("2024-01-01T00:00", end=True) == datetime(2024, 1, 1)
    day = recorded(60).between(moment("2024-01-02"), moment("2024-01-02", end=True), None)
    assert day.table["x"].to_pylist() == [float(n) for n in range(24, 48)]
    assert len(recorded(60).between(moment("2024-01-02"), moment("2024-01-03"), 5).table) == 5


@given(rows=st.integers(1, 60), batch=st.integers(1, 70))
def test_chunks_hold_every_row_once_in_order(rows: int, batch: int) -> None:
    recording = recorded(rows)
    chunks = list(recording.chunks(FIELDS, batch))
    assert {len(chunk.times) for chunk in chunks[:-1]} <= {batch}
    assert list(chain.from_iterable(chunk.inputs["x"] for chunk in chunks)) == list(range(rows))
    assert list(chain.from_iterable(chunk.times for chunk in chunks)) == hours(rows)
    assert list(chain.from_iterable(chunk.truths for chunk in chunks)) == list(range(rows))
    assert {tuple(chunk.inputs) for chunk in chunks} == {("x",)}


def test_chunks_go_on_across_blocks() -> None:
    rows = BLOCK_ROWS + 10
    table = pa.table({"x": range(rows), "t": [datetime(2024, 1, 1)] * rows})
    chunks = list(Recording("it", table, "t", None).chunks(FIELDS, 3))
    assert list(chain.from_iterable(chunk.inputs["x"] for chunk in chunks)) == list(range(rows))
    assert {len(chunk.times) for chunk in chunks[:-1]} == {3}


def test_a_field_that_may_not_be_missing() -> None:
    fields = [Field(name=f"f{n}", type="int") for n in range(7)]
    with pytest.raises(InvalidInput, match=r"no column 'f0', .*, 'f4' and 2 more, which the"):
        recorded(1).chunks(fields, 1)


def test_outcomes_that_are_not_known_are_left_out() -> None:
    table = pa.table({"t": hours(3), "y": [1.0, None, float("nan")]})
    recording = Recording("it", table, "t", "y")
    assert recording.truths == 1
    assert next(recording.chunks([], 3)).truths == [1.0, None, None]
    assert Recording("it", table, "t", None).truths == 0


def test_the_flights_of_the_project() -> None:
    flights = own("flights").between(moment("2013-07-04"), moment("2013-07-04", end=True), None)
    assert 500 < len(flights.table) == flights.truths
    times = flights.table[flights.time].to_pylist()
    assert times == sorted(times)
