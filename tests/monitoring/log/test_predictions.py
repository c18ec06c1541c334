"""The prediction log: exactly the rows that were appended, whatever befalls process or disk."""

import errno
import json
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Columns
from models.schema import Field, Schema
from monitoring.log import appender, predictions
from monitoring.log.encoder import Encoder
from monitoring.log.predictions import LoggedBatch, PredictionLog, read
from monitoring.log.rows import column_names
from monitoring.log.segments import roll_closed

SALT = b"salt" * 8
ONE = Schema.of([Field(name="x", type="float")])

Batch = Callable[..., LoggedBatch]
OpenLog = Callable[..., PredictionLog]
Expected = Callable[..., list[dict[str, Any]]]


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["request_id"], row["row"]))


def salt_of(folder: Path) -> bytes:
    return (folder.parent / "key.salt").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"output": np.zeros((2, 3), np.float32)},
        {"output": np.zeros((3, 2), np.float32)},
        {"output": np.zeros(3, np.float32)},
        {"requests": []},
    ],
)
def test_parts_of_different_length_are_refused(batch: Batch, change: dict[str, Any]) -> None:
    bad = batch((2, 1), **change)
    with pytest.raises(ValueError, match=r"rows|row of 3"):
        Encoder(bad.columns.schema, bad.classes, SALT).encode([bad])


def test_event_times_that_do_not_fit_the_rows_are_refused(batch: Batch) -> None:
    bad = batch((2, 1))
    bad.requests[0].event_time = np.array(["2024-01-01"], "datetime64[us]")
    with pytest.raises(ValueError, match="event times"):
        Encoder(bad.columns.schema, bad.classes, SALT).encode([bad])


CLASSES = st.sampled_from([("early", "on time", "late"), (3, 1, 2), (0, "1", "x")])


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(
        st.tuples(
            st.lists(st.integers(1, 4), min_size=1, max_size=4),
            st.integers(0, 2**16),
            st.booleans(),
            st.sampled_from(["float32", "float64"]),
        ),
        min_size=1,
        max_size=5,
    ),
    classes=CLASSES,
)
def test_the_fast_way_equals_the_slow_way(
    batch: Batch,
    expected: Expected,
    groups: list[tuple[list[int], int, bool, str]],
    classes: tuple[int | str, ...],
) -> None:
    batches = []
    for sizes, seed, failed, dtype in groups:
        made = batch(tuple(sizes), seed, classes=classes)
        made.output = None if failed else made.output.astype(dtype)
        made.status = "error" if failed else "ok"
        batches.append(made)
    table = Encoder(batches[0].columns.schema, classes, SALT).encode(batches)
    table.validate(full=True)
    want = expected(batches, SALT)
    if not all(isinstance(label, int) for label in classes):
        for row in want:
            row["prediction"] = None if row["prediction"] is None else str(row["prediction"])
    assert table.to_pylist() == want


def test_a_regression_has_values_and_no_probabilities(batch: Batch, expected: Expected) -> None:
    values = np.array([[0.1], [-2.0], [1e300]])
    batches = [batch((2, 1), classes=None, output=values), batch((1,), classes=None, output=None)]
    table = Encoder(batches[0].columns.schema, None, SALT).encode(batches)
    assert table.schema.field("prediction").type == pa.float64()
    assert table.to_pylist() == expected(batches, SALT)


def test_equal_probabilities_predict_the_first_class(batch: Batch) -> None:
    made = batch((1,), output=np.full((1, 3), 1 / 3, np.float32))
    table = Encoder(made.columns.schema, made.classes, SALT).encode([made])
    assert table["prediction"].to_pylist() == ["early"]


def test_fields_that_clash_with_ours_are_renamed() -> None:
    names = ("Row", "timestamp", "field_timestamp", "x", "X", "date", "probabilities")
    schema = Schema.of(Field(name=name, type="int") for name in names)
    assert column_names(schema) == {
        "Row": "field_Row",
        "timestamp": "field_field_timestamp",
        "field_timestamp": "field_timestamp",
        "x": "x",
        "X": "field_X",
        "date": "field_date",
        "probabilities": "field_probabilities",
    }


def test_a_clashing_field_keeps_its_values_and_ours_keep_theirs(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    schema = Schema.of([Field(name="row", type="float"), Field(name="key", type="text")])
    log = open_log()
    log.start()
    blocks = {"f4": np.array([[0.5]], np.float32), "text": np.array([["mine"]], dtype=object)}
    log.append(batch((1,), columns=Columns(schema, blocks, 1)))
    log.close()
    (row,) = read(folder).to_pylist()
    assert (row["row"], row["key"], row["field_row"], row["field_key"]) == (1, None, 0.5, "mine")


def test_the_log_holds_exactly_the_rows_that_were_appended(
    batch: Batch, expected: Expected, open_log: OpenLog, folder: Path
) -> None:
    dropped: list[int] = []
    log = open_log(dropped.append, flush_seconds=0.01)
    early = batch((2, 3), 0)
    log.append(early)
    log.start()
    batches = [early] + [batch((1, 2, 1), seed) for seed in range(1, 40)]
    for made in batches[1:]:
        log.append(made)
    log.close()
    log.close()
    assert dropped == []
    assert not list(folder.rglob("*.arrows"))
    table = read(folder)
    assert in_order(table.to_pylist()) == in_order(expected(batches, salt_of(folder)))
    assert json.loads(table.schema.field("image").metadata[b"shape"]) == [2, 3]


def test_parquet_readers_find_the_rows_by_folder(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    log = open_log()
    log.start()
    log.append(batch((2,), endpoint="flights"))
    log.append(batch((1,), seed=86400, endpoint="with / odd=name"))
    log.close()
    table = pq.read_table(folder / "predictions")
    assert sorted(zip(table["endpoint"].to_pylist(), table["date"].to_pylist(), strict=True)) == [
        ("flights", "2024-01-01"),
        ("flights", "2024-01-01"),
        ("with / odd=name", "2024-01-02"),
    ]
    assert read(folder, "with / odd=name")["endpoint"].to_pylist() == ["with / odd=name"]
    assert read(folder, "flights").num_rows == 2


def test_an_empty_log_has_the_columns_that_every_log_has(folder: Path) -> None:
    table = read(folder, "flights")
    assert table.num_rows == 0
    assert table.column_names[:3] == ["request_id", "row", "timestamp"]
    assert table.column_names[-1] == "status"


def test_rows_from_before_a_moment_are_left_out(
    batch: Batch, open_log: OpenLog, folder: Path, now: datetime
) -> None:
    log = open_log()
    log.start()
    log.append(batch((1,), seed=0))
    log.append(batch((1,), seed=5))
    log.append(batch((1,), seed=86400))
    log.close()
    ids = read(folder, since=now + timedelta(seconds=3))["request_id"].to_pylist()
    assert ids == ["r-5-0", "r-86400-0"]
    assert read(folder, since=datetime(2024, 1, 2, tzinfo=UTC)).num_rows == 1


def test_schemas_that_change_are_united_by_name(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    old = Schema.of([Field(name="a", type="int"), Field(name="b", type="int")])
    new = Schema.of([Field(name="b", type="text"), Field(name="c", type="float")])
    log = open_log()
    log.start()
    for _ in range(3):
        blocks = {"i8": np.array([[1, 2]])}
        log.append(batch((1,), columns=Columns(old, blocks, 1), classes=(0, 1, 2)))
        blocks = {"text": np.array([["two"]], dtype=object), "f4": np.array([[3]], np.float32)}
        log.append(batch((1,), columns=Columns(new, blocks, 1)))
    log.close()
    assert len(list(folder.rglob("*.parquet"))) == 2
    rows = {(row["a"], row["b"], row["c"]) for row in read(folder).to_pylist()}
    assert rows == {(1, "2", None), (None, "two", 3.0)}


def test_an_equal_schema_made_anew_goes_on_in_the_same_segment(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    log = open_log()
    log.start()
    for _ in range(200):
        schema = Schema.of([Field(name="x", type="float")])
        log.append(batch((1,), schema=schema))
    log.close()
    assert len(list(folder.rglob("*.parquet"))) == 1
    assert read(folder).num_rows == 200


def test_keys_are_hashed_alike_in_all_processes_and_stored_nowhere(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    for seed in (0, 1):
        log = open_log()
        log.start()
        made = batch((1,), seed, schema=ONE)
        made.requests[0].key = "somebody@example.com"
        log.append(made)
        log.close()
    keys = read(folder)["key"].to_pylist()
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert stat.S_IMODE((folder.parent / "key.salt").stat().st_mode) == 0o600
    for path in folder.rglob("*.parquet"):
        assert b"somebody" not in path.read_bytes()


def test_machines_with_one_salt_hash_a_key_alike(
    batch: Batch, open_log: OpenLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for salt in ("one", "one", "other"):
        monkeypatch.setenv("SWITCHYARD_LOG_SALT", salt)
        log = open_log()
        log.start()
        made = batch((1,), schema=ONE)
        made.requests[0].key = "k"
        log.append(made)
        log.close()
        keys = read(folder)["key"].to_pylist()
        assert not (folder.parent / "key.salt").exists()
    assert len(keys) == 3
    assert len(set(keys)) == 2


def test_a_disk_without_room_for_the_salt_is_not_filled_with_drafts(
    batch: Batch, open_log: OpenLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(predictions, "sync", full)
    dropped: list[int] = []
    log = open_log(on_drop=dropped.append)
    log.start()
    for seed in range(3):
        log.append(batch((2,), seed))
    log.close()
    assert sum(dropped) == 6
    assert [path for path in folder.parent.iterdir() if path.is_file()] == []


def test_logs_that_start_at_once_agree_on_the_salt(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    begin = threading.Barrier(8)

    def work(seed: int) -> None:
        log = open_log()
        made = batch((1,), seed, schema=ONE)
        made.requests[0].key = "k"
        log.append(made)
        begin.wait()
        log.start()
        log.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(set(read(folder)["key"].to_pylist())) == 1
    assert [path.name for path in folder.parent.iterdir() if path.is_file()] == ["key.salt"]


def test_a_full_queue_drops_whole_batches_and_counts_their_rows(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    dropped: list[int] = []
    log = open_log(dropped.append, max_rows=10)
    for seed in range(4):
        log.append(batch((4,), seed))
    assert dropped == [4, 4]
    log.append(batch((2,), 4))
    log.start()
    log.close()
    assert dropped == [4, 4]
    assert read(folder).num_rows == 10


def test_the_queue_is_bounded_in_bytes_too(batch: Batch, open_log: OpenLog) -> None:
    dropped: list[int] = []
    log = open_log(dropped.append)
    schema = Schema.of([Field(name="image", type="tensor", shape=(1 << 20,))])
    image = np.broadcast_to(np.float32(0), (40, 1 << 20))  # 160 MB that take no memory
    log.append(batch((40,), columns=Columns(schema, {"t:image": image}, 40)))
    assert dropped == [40]


def test_what_was_written_makes_room_for_more(
    batch: Batch, open_log: OpenLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender, "_QUEUE_BYTES", 4000)
    dropped: list[int] = []
    log = open_log(dropped.append, max_rows=10, flush_seconds=0.001)
    log.start()
    for seed in range(12):
        log.append(batch((4,), seed))
        while read(folder).num_rows < 4 * (seed + 1):
            assert dropped == []


def test_what_comes_after_the_end_or_is_never_written_counts_as_dropped(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    dropped: list[int] = []
    log = open_log(dropped.append)
    log.append(batch((2,)))
    log.close()
    log.close()
    log.append(batch((3,)))
    assert dropped == [2, 3]
    assert read(folder).num_rows == 0


def test_a_batch_that_cannot_be_written_is_lost_alone(
    batch: Batch, expected: Expected, open_log: OpenLog, folder: Path
) -> None:
    dropped: list[int] = []
    log = open_log(dropped.append)
    good, bad = [batch((2,), 1), batch((1,), 3)], batch((3,), 2, requests=[])
    for made in (good[0], bad, good[1]):
        log.append(made)
    log.start()
    log.close()
    assert dropped == [3]
    assert in_order(read(folder).to_pylist()) == in_order(expected(good, salt_of(folder)))


def test_the_writer_goes_on_after_the_folder_was_unusable(
    batch: Batch, open_log: OpenLog, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True)
    blocker = folder / "segments"
    blocker.write_text("a file where the folder should be")
    lost = threading.Event()
    log = open_log(lambda rows: lost.set(), flush_seconds=0.01)
    log.start()
    log.append(batch((1,), 0))
    assert lost.wait(10)
    blocker.unlink()
    log.append(batch((1,), 1))
    log.close()
    assert read(folder)["request_id"].to_pylist() == ["r-1-0"]
    assert len([r for r in caplog.records if "are lost" in r.message]) == 1


def test_segments_are_rolled_while_the_writer_goes_on(
    batch: Batch, open_log: OpenLog, folder: Path
) -> None:
    log = open_log(flush_seconds=0.001, roll_seconds=0, roll_mb=64)
    log.start()
    rolled = 0
    for seed in range(2000):
        log.append(batch((1,), seed, schema=ONE))
        rolled += roll_closed(folder)
        if rolled > 3 and seed > 20:
            break
    log.close()
    assert rolled > 3
    assert sorted(read(folder)["request_id"].to_pylist()) == sorted(
        f"r-{number}-0" for number in range(seed + 1)
    )


def test_a_segment_is_closed_at_its_size(batch: Batch, open_log: OpenLog, folder: Path) -> None:
    log = open_log(roll_seconds=1e6, roll_mb=0.01)
    image = Schema.of([Field(name="image", type="tensor", shape=(1 << 18,))])  # 1 MB a row
    for seed in range(3):
        log.append(batch((1,), seed, schema=image))
    log.start()
    log.close()
    assert len(list(folder.rglob("*.parquet"))) == 3


WRITER = """
import itertools, sys
from pathlib import Path
import numpy as np
from models.columns import Columns
from models.schema import Field, Schema
from monitoring.log import appender
from monitoring.log.predictions import LoggedBatch, LoggedRequest, PredictionLog

folder, count = Path(sys.argv[1]), int(sys.argv[2])
schema = Schema.of([Field(name="x", type="float")])
dropped = []
log = PredictionLog(folder, worker="w", flush_seconds=0.005, on_drop=dropped.append)

def append(number):
    columns = Columns(schema, {"f4": np.full((1, 1), number % 1000, np.float32)}, 1)
    received = 1.7e9 + number
    request = LoggedRequest(f"{number}", 0, 1, received, None, "a", "split", None, 1.0, 1, None)
    log.append(LoggedBatch("e", "a", "m:1", "primary", "ok", columns, [request], None, None))
"""

ENDLESS = (
    WRITER
    + """
log.start()
for line in sys.stdin:
    for number in range(int(line), int(line) + 100):
        append(number)
"""
)


def test_a_killed_writer_loses_only_what_it_had_not_flushed(
    folder: Path, python: Callable[..., Popen[str]]
) -> None:
    process = python(ENDLESS, folder, 0)
    assert process.stdin is not None
    sent = rows = 0
    while rows < 1500:
        if sent - rows < 5000:
            process.stdin.write(f"{sent}\n")
            process.stdin.flush()
            sent += 100
        rows = read(folder).num_rows
        assert process.poll() is None
    process.kill()
    process.wait()
    before = sorted(map(int, read(folder)["request_id"].to_pylist()))
    assert roll_closed(folder) >= 1
    assert not list(folder.rglob("*.arrows"))
    after = read(folder)
    assert sorted(map(int, after["request_id"].to_pylist())) == before == sorted(set(before))
    # Two threads encode: one may die with a batch while later rows are written already.
    lost = set(range(before[-1])) - set(before)
    assert len(lost) <= PredictionLog.encodes_at[0]
    assert len(before) >= rows
    assert after["x"].to_pylist() == [int(n) % 1000 for n in after["request_id"].to_pylist()]


LEAN = (
    WRITER
    + """
from monitoring.log.feedback import FeedbackItem, FeedbackLog
feedback = FeedbackLog(folder, worker="w", on_drop=dropped.append)
append(1)
feedback.append([FeedbackItem("1", 0, 1)])
for each in (log, feedback):
    each._drain()
print(sorted({"pandas", "pyarrow.parquet", "pyarrow.compute"} & set(sys.modules)), dropped)
"""
)


def test_writing_imports_nothing_heavy(folder: Path, python: Callable[..., Popen[str]]) -> None:
    output, _ = python(LEAN, folder, 0).communicate(timeout=60)
    assert output == "[] []\n"
    assert read(folder).num_rows == 1


FULL_DISK = (
    WRITER
    + """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for number in range(count):
    append(number)
log.start()
log.close()
print(sum(dropped))
"""
)


def test_a_disk_that_runs_full_costs_whole_batches_and_nothing_else(
    folder: Path, python: Callable[..., Popen[str]]
) -> None:
    process = python(FULL_DISK, folder, 5000)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    dropped = int(output)
    numbers = sorted(map(int, read(folder)["request_id"].to_pylist()))
    assert 0 < dropped < 5000
    assert len(numbers) == len(set(numbers)) == 5000 - dropped
    assert not list(folder.rglob("*.arrows"))
