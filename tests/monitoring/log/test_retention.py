"""The oldest files go first, and only as many as must."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_parts import DAY, SCHEMA, entry, numbered, numbers, write_part

from monitoring.feedback import open_joined
from monitoring.log.locks import reading
from monitoring.log.retention import GB, expired, retain
from monitoring.log.segments import SegmentWriter
from switchyard.plan_monitoring import LogSettings

NOW = datetime(2024, 1, 10, 12, tzinfo=UTC)


def days(count: int) -> list[datetime]:
    return [DAY + timedelta(days=day) for day in range(count)]


@pytest.mark.parametrize(
    ("keep_days", "first_kept"),
    [(1, 9), (0.4, 10), (8.5, 2), (7, 3), (1000, 1)],
)
def test_a_day_is_kept_for_its_days_after_its_end(keep_days: float, first_kept: int) -> None:
    files = [entry(f"{day.day}", day) for day in days(10)]
    gone = expired(files, NOW, LogSettings(keep_days=keep_days))
    assert [file.id for file in gone] == [f"{number}" for number in range(1, first_kept)]


@given(
    sizes=st.lists(st.integers(1, GB), min_size=1, max_size=20),
    keep=st.floats(0.01, 12),
)
def test_what_is_kept_fits_and_one_file_more_would_not(sizes: list[int], keep: float) -> None:
    files = [entry(f"{n}", DAY + timedelta(days=n), size) for n, size in enumerate(sizes)]
    gone = expired(files, NOW, LogSettings(keep_gb=keep))
    assert gone == files[: len(gone)]
    assert sum(sizes[len(gone) :]) <= keep * GB
    if gone:
        assert sum(sizes[len(gone) - 1 :]) > keep * GB


def test_of_one_day_what_was_written_first_goes_first() -> None:
    files = [entry("new", size=GB, age=10), entry("old", size=GB, age=1000)]
    (gone,) = expired(files, NOW, LogSettings(keep_gb=1.5))
    assert gone.id == "old"


def test_without_limits_nothing_goes(folder: Path) -> None:
    write_part(folder, "a", [1])
    assert retain(folder, None, LogSettings(), NOW) == 0
    assert numbers(folder) == [1]


def test_readers_go_on_with_what_is_left_and_no_segment_is_touched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in days(10):
        write_part(folder, "a", [day.day], day=day)
    segments = folder / "segments" / "predictions" / "endpoint=e"
    writer = SegmentWriter(segments, iter(["s"]), SCHEMA)
    writer.write(numbered([99]))
    monkeypatch.setattr("monitoring.log.locks.PATIENCE", 0.0)
    with reading(folder):
        assert retain(folder, None, LogSettings(keep_days=2), NOW) == 0
    assert retain(folder, None, LogSettings(keep_days=2), NOW) == 7
    assert numbers(folder) == [8, 9, 10, 99]
    with open_joined(folder) as db:
        assert db.execute("SELECT count(*) FROM joined").fetchone() == (4,)
    assert not (folder / "predictions/endpoint=e/date=2024-01-01").exists()
    assert (folder / "predictions/endpoint=e/date=2024-01-10").exists()
    writer.close()
