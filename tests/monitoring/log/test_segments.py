"""Segments and how they become Parquet files, also when something breaks in between."""

import fcntl
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.log import segments
from monitoring.log.segments import SegmentWriter, read_batches, roll_closed
from monitoring.log.tables import read_tables

SCHEMA = pa.schema(
    [
        ("timestamp", pa.timestamp("us")),
        ("label", pa.dictionary(pa.int32(), pa.string())),
        ("values", pa.list_(pa.float32())),
    ]
)
NOON = np.datetime64("2024-01-01T12:00", "us")
HOUR = np.timedelta64(1, "h")


def rows(start: int, count: int = 3, first: np.datetime64 = NOON) -> pa.RecordBatch:
    """Numbered rows, an hour apart; every batch has labels of its own."""
    numbers = range(start, start + count)
    return pa.RecordBatch.from_pydict(
        {
            "timestamp": first + np.arange(count) * HOUR,
            "label": pa.array([f"{n}" for n in numbers]).dictionary_encode(),
            "values": [[float(n)] * (n % 3) for n in numbers],
        },
        schema=SCHEMA,
    )


@pytest.fixture
def names() -> Iterator[str]:
    return (f"w-{number}" for number in itertools.count())


@pytest.fixture
def write(folder: Path, names: Iterator[str]) -> Callable[..., SegmentWriter]:
    def build(*batches: pa.RecordBatch) -> SegmentWriter:
        writer = SegmentWriter(folder / "segments" / "predictions" / "endpoint=e", names, SCHEMA)
        for batch in batches:
            writer.write(batch)
        return writer

    return build


def labels(folder: Path) -> list[str]:
    """The numbers of all rows of the log, sorted."""
    tables = read_tables(folder, "predictions")
    return sorted((label for t in tables for label in t["label"].to_pylist()), key=int)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_every_cut_of_a_segment_leaves_the_whole_batches_before_it(
    write: Callable[..., SegmentWriter], tmp_path: Path
) -> None:
    writer = write()
    ends = []
    for start in (0, 3, 6):
        writer.write(rows(start))
        ends.append(writer.bytes)
    writer.close()
    content = writer.path.read_bytes()
    cut = tmp_path / "cut.arrows"
    for length in range(len(content) + 1):
        cut.write_bytes(content[:length])
        whole = sum(end <= length for end in ends)
        got = list(read_batches(cut))
        assert len(got) >= whole, f"cut at {length} of {ends}"
        assert [b.to_pydict() for b in got] == [rows(3 * i).to_pydict() for i in range(len(got))]


def test_a_segment_whose_head_was_garbled_breaks_no_reader(
    write: Callable[..., SegmentWriter], tmp_path: Path
) -> None:
    writer = write(rows(0))
    content = writer.path.read_bytes()
    garbled = tmp_path / "garbled.arrows"
    for place in range(len(content)):
        for bit in (0, 3, 6):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            garbled.write_bytes(changed)
            with suppress(pa.ArrowMemoryError):  # a length that nobody has the memory for
                assert len(list(read_batches(garbled))) <= 1


def test_a_segment_that_is_not_there_is_an_error_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_batches(tmp_path / "gone.arrows"))


def test_rolling_gives_a_parquet_file_for_each_day_and_removes_the_segment(
    folder: Path, write: Callable[..., SegmentWriter]
) -> None:
    writer = write(rows(0, 24), rows(24, 2, NOON + 30 * HOUR))
    writer.close()
    assert roll_closed(folder) == 1
    home = folder / "predictions" / "endpoint=e"
    files = sorted(path.relative_to(home) for path in home.rglob("*") if path.is_file())
    assert files == [Path("date=2024-01-01/w-0.parquet"), Path("date=2024-01-02/w-0.parquet")]
    assert not writer.path.exists()
    first = pq.read_table(home / files[0], partitioning=None)
    assert first.schema == SCHEMA
    assert first["label"].to_pylist() == numbers(12)
    assert labels(folder) == numbers(26)


def test_small_batches_share_a_row_group(folder: Path, write: Callable[..., SegmentWriter]) -> None:
    write(*(rows(3 * i) for i in range(50))).close()
    roll_closed(folder)
    (path,) = folder.rglob("*.parquet")
    assert pq.ParquetFile(path).num_row_groups == 1
    assert labels(folder) == numbers(150)


def test_a_segment_that_is_being_written_is_read_but_not_rolled(
    folder: Path, write: Callable[..., SegmentWriter]
) -> None:
    writer = write(rows(0))
    assert roll_closed(folder) == 0
    assert labels(folder) == numbers(3)
    writer.write(rows(3))
    writer.close()
    writer.close()
    assert roll_closed(folder) == 1
    assert roll_closed(folder) == 0
    assert labels(folder) == numbers(6)


def test_a_segment_without_a_whole_batch_is_removed(
    folder: Path, write: Callable[..., SegmentWriter]
) -> None:
    writer = write(rows(0))
    writer.close()
    writer.path.write_bytes(writer.path.read_bytes()[:50])
    assert roll_closed(folder) == 1
    assert not list(folder.rglob("*.parquet"))
    assert not list(folder.rglob("*.arrows"))


def test_a_crash_between_rename_and_removal_duplicates_nothing(
    folder: Path, write: Callable[..., SegmentWriter], tmp_path: Path
) -> None:
    writer = write(rows(0, 20))
    writer.close()
    shutil.copy(writer.path, tmp_path / "copy")
    roll_closed(folder)
    shutil.copy(tmp_path / "copy", writer.path)
    assert labels(folder) == numbers(20)
    assert roll_closed(folder) == 1
    assert labels(folder) == numbers(20)
    assert not writer.path.exists()


def test_a_crash_before_the_rename_leaves_a_draft_that_nobody_reads(
    folder: Path, write: Callable[..., SegmentWriter]
) -> None:
    writer = write(rows(0))
    writer.close()
    draft = folder / "predictions/endpoint=e/date=2024-01-01/.w-0.parquet.draft"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half a file")
    assert labels(folder) == numbers(3)
    roll_closed(folder)
    assert not draft.exists()
    assert pq.read_table(folder / "predictions")["label"].to_pylist() == numbers(3)


def test_a_segment_that_cannot_be_rolled_is_kept_for_the_next_time(
    folder: Path, write: Callable[..., SegmentWriter], caplog: pytest.LogCaptureFixture
) -> None:
    write(rows(0)).close()
    (folder / "predictions").write_text("a file where the folder should be")
    assert roll_closed(folder) == 0
    (folder / "predictions").unlink()
    assert roll_closed(folder) == 1
    assert labels(folder) == numbers(3)


def test_rolling_begins_no_segment_after_its_time(
    folder: Path, write: Callable[..., SegmentWriter]
) -> None:
    write(rows(0)).close()
    assert roll_closed(folder, seconds=0) == 0
    assert roll_closed(folder, kind="feedback") == 0
    assert roll_closed(folder, kind="predictions") == 1


def test_rollers_at_the_same_time_roll_each_segment_once(
    folder: Path, write: Callable[..., SegmentWriter]
) -> None:
    for start in range(30):
        write(rows(3 * start)).close()
    begin = threading.Barrier(4)

    def roller() -> int:
        begin.wait()
        return roll_closed(folder)

    with ThreadPoolExecutor(4) as pool:
        rolled = [future.result() for future in [pool.submit(roller) for _ in range(4)]]
    assert sum(rolled) == 30
    assert labels(folder) == numbers(90)


def test_readers_and_rollers_beside_a_writer_see_each_row_once(
    folder: Path, write: Callable[..., SegmentWriter]
) -> None:
    """A roller that finds a segment before its writer has locked it must not take it away."""
    done = threading.Event()

    def roller() -> None:
        while not done.is_set():
            roll_closed(folder)

    def reader() -> list[list[str]]:
        seen = []
        while not done.is_set():
            seen.append(labels(folder))
        return seen

    with ThreadPoolExecutor(2) as pool:
        rolling, reading = pool.submit(roller), pool.submit(reader)
        try:
            for start in range(60):
                write(rows(3 * start)).close()
        finally:
            done.set()
        rolling.result()
        snapshots: list[list[Any]] = reading.result()
    roll_closed(folder)
    assert labels(folder) == numbers(180)
    for earlier, later in itertools.pairwise(snapshots):
        assert len(later) == len(set(later))
        assert set(earlier) <= set(later)


def before_the_first_lock(
    monkeypatch: pytest.MonkeyPatch, intrude: Callable[[], object]
) -> Callable[[], bool]:
    """Runs something between the opening of the next file and its lock; says whether it ran."""
    flock, waiting = fcntl.flock, [intrude]

    def interrupted(handle: int, operation: int) -> None:
        if waiting:
            waiting.pop()()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", interrupted)
    return lambda: not waiting


def test_a_roller_that_takes_a_new_segment_before_its_writer_takes_no_rows(
    folder: Path, write: Callable[..., SegmentWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = before_the_first_lock(monkeypatch, lambda: roll_closed(folder))
    writer = write(rows(0))
    assert ran()
    assert roll_closed(folder) == 0
    writer.write(rows(3))
    writer.close()
    assert labels(folder) == numbers(6)


def test_a_roller_that_comes_second_leaves_the_segment_alone(
    folder: Path,
    write: Callable[..., SegmentWriter],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(segments, "_warn", segments.Throttle("fresh"))
    write(rows(0)).close()
    ran = before_the_first_lock(monkeypatch, lambda: roll_closed(folder))
    assert roll_closed(folder) == 0
    assert ran()
    assert labels(folder) == numbers(3)
    assert caplog.records == []


class Stubborn:
    """A sink that fails to flush, and then writes all the same."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    def flush(self) -> None:
        raise OSError("no space left")

    def close(self) -> None:
        self._sink.close()


def test_a_batch_that_was_reported_lost_does_not_turn_up_later(
    folder: Path, write: Callable[..., SegmentWriter]
) -> None:
    writer = write(rows(0))
    writer._sink = Stubborn(writer._sink)
    with pytest.raises(OSError, match="no space left"):
        writer.write(rows(3))
    writer.close()
    assert labels(folder) == numbers(3)
    assert roll_closed(folder) == 1
    assert labels(folder) == numbers(3)
