"""The log in a store: shipped, read from both sides, merged there, and waiting while it is away."""

from __future__ import annotations

import itertools
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO

import pytest
from cloud_stores import BUCKET, azure, clients, google
from log_parts import DAY, SCHEMA, entry, numbered, numbers, write_part
from s3_server import S3Server

from monitoring.feedback import open_joined
from monitoring.log import shipping, store
from monitoring.log.files import list_files
from monitoring.log.retention import retain
from monitoring.log.scan import Scan, connect
from monitoring.log.segments import SegmentWriter
from monitoring.log.shipping import compact_store, ship, trim_cache, waiting
from monitoring.log.store import CACHE, Store, name_store, store_of
from switchyard.errors import NotReady
from switchyard.plan_monitoring import LogSettings


@pytest.fixture
def s3_url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in the bucket of a server that is there."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.bucket}/{secrets.token_hex(4)}/log"


@pytest.fixture(scope="module")
def cloud_environ() -> Iterator[dict[str, str]]:
    """Variables of servers like Google's and Microsoft's, whose clients can be imported now."""
    with pytest.MonkeyPatch.context() as patch, google() as ours, azure() as theirs:
        patch.setattr(sys, "path", [*sys.path, str(clients())])
        yield {**ours, **theirs}


@pytest.fixture
def cloud(cloud_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in either's bucket."""
    for name, value in cloud_environ.items():
        monkeypatch.setenv(name, value)
    return f"{BUCKET}/{secrets.token_hex(4)}/log"


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "gs", "abfs")]


@pytest.fixture(params=[*SLOW, "file", "memory"])
def away(
    request: pytest.FixtureRequest,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """The store of `folder`, of each kind; its listings are never remembered."""
    monkeypatch.setattr(store, "LISTED_SECONDS", -1.0)
    urls = {"file": f"file://{tmp_path}/store", "memory": f"memory://{secrets.token_hex(4)}"}
    if request.param == "s3":
        name = request.getfixturevalue("s3_url")
    elif request.param in ("gs", "abfs"):
        name = f"{request.param}://{request.getfixturevalue('cloud')}"
    else:
        name = urls[request.param]
    name_store(folder, name)
    found = store_of(folder)
    assert found is not None
    return found


def moved(folder: Path, away: Store) -> None:
    """Ships until all is in the store."""
    ship(folder, away, ship(folder, away))
    assert list_files(folder) == []


def test_a_file_is_first_on_both_sides_then_in_the_store_and_read_once(
    folder: Path, away: Store
) -> None:
    write_part(folder, "a", range(3))
    write_part(folder, "b", range(3, 5), day=DAY + timedelta(days=1))
    sent = ship(folder, away)
    assert len(list_files(folder)) == len(away.files("predictions")) == 2
    assert numbers(folder) == [0, 1, 2, 3, 4]
    assert ship(folder, away, sent) == set()
    assert list_files(folder) == []
    assert numbers(folder) == [0, 1, 2, 3, 4]
    assert numbers(folder, since=DAY + timedelta(days=1)) == [3, 4]
    with connect() as db:
        scan = Scan(db, folder, "predictions", "endpoint=e", until=DAY + timedelta(hours=1))
        (found,) = [db.execute(f"SELECT count(*) FROM {part}").fetchone() for part in scan]
    assert found == (3,)
    with open_joined(folder) as db:
        assert db.execute("SELECT count(*) FROM joined").fetchone() == (5,)
    assert away.files("feedback") == []


def test_two_keepers_of_one_folder_leave_no_reader_without_a_file(
    folder: Path, away: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LISTED_SECONDS", 60.0)
    write_part(folder, "a", range(3))
    assert numbers(folder) == [0, 1, 2]  # and remembers that the store is empty
    ours = ship(folder, away)
    theirs = ship(folder, Store(away.url))  # the other one, a moment later
    assert numbers(folder) == [0, 1, 2]
    assert theirs == ours
    ship(folder, Store(away.url), theirs)
    assert list_files(folder) == []


def test_a_file_appears_whole_in_the_store(
    folder: Path, away: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = write_part(folder, "a", range(3))
    seen: list[int] = []

    def copy(source: IO[bytes], to: IO[bytes], _: int) -> None:
        content = source.read()
        to.write(content[:100])
        seen.append(len(Store(away.url).files("predictions")))
        to.write(content[100:])

    monkeypatch.setattr(store.shutil, "copyfileobj", copy)
    away.put(part, entry("a"))
    assert seen == [0]
    (file,) = away.files("predictions", fresh=True)
    assert file.size == part.stat().st_size


def test_files_of_others_beside_ours_change_nothing(folder: Path, away: Store) -> None:
    part = write_part(folder, "a", range(3))
    extract = folder / "predictions" / "extract.parquet"
    shutil.copy(part, extract)
    odd = folder / "predictions" / "endpoint=e" / "date=backup" / "a.parquet"
    odd.parent.mkdir()
    shutil.copy(part, odd)
    for theirs in ("extract", "other"):
        Store(away.url).put(
            part, replace(entry(theirs), place=PurePosixPath("predictions/x.parquet"))
        )
    assert numbers(folder, since=DAY) == [0, 1, 2]
    moved(folder, away)
    assert numbers(folder, since=DAY) == [0, 1, 2]
    now = datetime(2024, 2, 1, tzinfo=UTC)
    assert retain(folder, away, LogSettings(keep_days=1), now) == 1
    assert numbers(folder) == []
    assert extract.exists()
    assert odd.exists()


def test_the_cache_is_trimmed_beside_readers_who_fetch(
    folder: Path, away: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = folder / CACHE / ".draft"
    draft.parent.mkdir(parents=True)
    draft.touch()
    found = Path.rglob

    def rglob(self: Path, pattern: str) -> Iterator[Path]:
        for path in list(found(self, pattern)):
            draft.unlink(missing_ok=True)  # a reader was faster
            yield path

    monkeypatch.setattr(Path, "rglob", rglob)
    trim_cache(folder)
    assert not draft.exists()


def test_what_was_cut_short_in_the_store_is_sent_again(folder: Path, away: Store) -> None:
    part = write_part(folder, "a", range(3))
    half = folder / "half"
    half.write_bytes(part.read_bytes()[:100])
    away.put(half, entry("a"))
    assert numbers(folder) == [0, 1, 2]
    moved(folder, away)
    assert numbers(folder) == [0, 1, 2]


def test_a_torn_file_is_not_sent_and_one_in_the_store_is_left_out(
    folder: Path, away: Store
) -> None:
    torn = write_part(folder, "a", range(3))
    torn.write_bytes(torn.read_bytes()[:-9])
    write_part(folder, "b", range(3, 6))
    ship(folder, away, ship(folder, away))
    assert [file.id for file in list_files(folder)] == ["a"]
    assert waiting(folder)["predictions"].torn == 1
    away.put(torn, entry("c"))
    assert numbers(folder) == [3, 4, 5]


def test_a_segment_that_is_read_hides_its_file_in_the_store(folder: Path, away: Store) -> None:
    write_part(folder, "a", range(3))
    moved(folder, away)
    writer = SegmentWriter(folder / "segments/predictions/endpoint=e", iter(["a"]), SCHEMA)
    writer.write(numbered(range(3)))
    assert numbers(folder) == [0, 1, 2]
    writer.close()


def test_small_files_of_the_store_become_one_and_go_when_no_reader_can_need_them(
    folder: Path, away: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write_part(folder, f"{number}", [number])
    moved(folder, away)
    later = time.time() + 2 * shipping.SETTLED
    assert compact_store(folder, away, later) == 5
    assert len(away.files("predictions")) == 6
    assert numbers(folder) == list(range(5))
    assert compact_store(folder, away, time.time()) == 0
    assert len(away.files("predictions")) == 6
    # What a slow machine sends again is as good as gone.
    compact_store(folder, away, later)
    (merged,) = away.files("predictions")
    assert merged.is_merged
    write_part(folder, "3", [3])
    ship(folder, away)
    assert numbers(folder) == list(range(5))
    assert compact_store(folder, away, later) == 0
    assert [file.id for file in away.files("predictions")] == [merged.id]


def test_readers_beside_shipping_and_merging_see_each_row_once(
    folder: Path, away: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "SETTLED", 1.0)
    monkeypatch.setattr("monitoring.log.compaction.SETTLED", -1.0)
    done, merged = threading.Event(), threading.Event()

    def keep() -> None:
        sent: Collection[PurePosixPath] = ()
        while not done.is_set():
            sent = ship(folder, away, sent)
            if compact_store(folder, away, time.time()):
                merged.set()

    def read() -> list[list[int]]:
        seen = []
        while not done.is_set():
            seen.append(numbers(folder))
        return seen

    with ThreadPoolExecutor(2) as pool:
        keeping, reading = pool.submit(keep), pool.submit(read)
        try:
            for count in range(1, 1000):
                write_part(folder, f"{count:03}", [count], age=0)
                assert numbers(folder) == list(range(1, count + 1))
                if count >= 12 and merged.is_set():
                    break
        finally:
            done.set()
        keeping.result()
        snapshots = reading.result()
    assert merged.is_set()
    for earlier, later in itertools.pairwise(snapshots):
        assert len(later) == len(set(later))
        assert set(earlier) <= set(later)


def test_retention_reaches_the_store_and_the_cache(folder: Path, away: Store) -> None:
    for day in range(10):
        write_part(folder, "a", [day], day=DAY + timedelta(days=day))
    moved(folder, away)
    assert numbers(folder) == list(range(10))
    now = datetime(2024, 1, 10, 12, tzinfo=UTC)
    assert retain(folder, away, LogSettings(keep_days=2), now) == 7
    assert numbers(folder) == [7, 8, 9]
    cached = [path for path in (folder / CACHE).rglob("*") if path.is_file()]
    assert len(cached) == 3
    tiny = LogSettings(keep_gb=1e-9)
    assert retain(folder, away, tiny, now) == 3
    assert numbers(folder) == []


def test_the_cache_loses_what_was_not_read_for_longest(
    folder: Path, away: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_part(folder, f"{number}", [number], day=DAY + timedelta(days=number))
    moved(folder, away)
    numbers(folder)
    assert numbers(folder, since=DAY + timedelta(days=1)) == [1, 2]
    size = sum(file.size for file in away.files("predictions"))
    monkeypatch.setattr(shipping, "CACHE_BYTES", size - 1)
    trim_cache(folder)
    left = {path.stem for path in (folder / CACHE).rglob("*.parquet")}
    assert left == {"1", "2"}
    assert numbers(folder) == [0, 1, 2]


def test_a_store_that_changes_under_a_reader_is_looked_at_again(
    folder: Path, away: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LISTED_SECONDS", 1e6)
    for number in range(3):
        write_part(folder, f"{number}", [number])
    moved(folder, away)
    assert len(away.files("predictions", "", fresh=True)) == 3
    Store(away.url).remove([entry("1")])
    assert numbers(folder) == [0, 2]


@pytest.fixture
def outage(s3: S3Server) -> Iterator[S3Server]:
    """The server, there again when the test has ended."""
    yield s3
    if not s3.is_up:
        s3.start()


@pytest.mark.slow
def test_rows_wait_while_the_store_is_away_and_none_is_lost(
    folder: Path, outage: S3Server, s3_url: str
) -> None:
    name_store(folder, s3_url)
    away = Store(s3_url)
    write_part(folder, "a", range(3))
    moved(folder, away)
    outage.stop()
    write_part(folder, "b", range(3, 6))
    with pytest.raises(NotReady, match="cannot be used"):
        ship(folder, away)
    with pytest.raises(NotReady):
        numbers(folder)  # half a log would be a wrong answer
    with pytest.raises(NotReady), open_joined(folder):
        pass
    assert waiting(folder)["predictions"].files == 1
    outage.start()
    moved(folder, away)
    assert numbers(folder) == list(range(6))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nothing://x/y", "Protocol not known"),
        ("file:///proc/nothing", "nothing"),
        ("oci://bucket/log", "ocifs .*; install that package here; an image has it if SWITCHY"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_sentence(folder: Path, url: str, why: str) -> None:
    write_part(folder, "a", [1])
    with pytest.raises(NotReady, match=why) as refusal:
        ship(folder, Store(url))
    assert url in refusal.value.message
    assert "\n" not in refusal.value.message
    assert numbers(folder) == [1]


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_one_sentence(folder: Path, s3_url: str) -> None:
    write_part(folder, "a", [1])
    with pytest.raises(NotReady, match="NO_SUCH_BUCKET"):
        ship(folder, Store("s3://no-such-bucket/x"))


def test_a_cache_that_cannot_be_written_is_one_sentence(folder: Path, away: Store) -> None:
    write_part(folder, "a", [1])
    moved(folder, away)
    (folder / CACHE).write_text("")
    with pytest.raises(NotReady, match="cache") as refusal:
        numbers(folder)
    assert "\n" not in refusal.value.message


def test_a_folder_says_which_store_it_has(folder: Path) -> None:
    assert store_of(folder) is None
    name_store(folder, None)
    name_store(folder, "s3://bucket/x")
    found = store_of(folder)
    assert found is not None
    assert found.url == "s3://bucket/x"
    name_store(folder, None)
    assert store_of(folder) is None
