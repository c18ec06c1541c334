from __future__ import annotations

import logging
from collections import Counter as Tally
from dataclasses import replace

import numpy as np
import pytest
from counted import MODEL, NOW, SCHEMA, batch, columns, make_watched

from models.columns import Columns
from models.drift.profile import Profile
from models.schema import Field, Schema
from monitoring.live.book import Book
from monitoring.live.counter import ROWS, Counter
from monitoring.live.sheets import FIELDS, PREDICTED, SCORE
from monitoring.live.slices import SteadyClock

HERE = int(NOW) - 30


class Worker:
    def __init__(self, reference: Profile) -> None:
        self.book = Book("w1")
        self.counter = Counter(self.book, SteadyClock(lambda: NOW, lambda: 0.0))
        self.counter.watch("flights", make_watched(reference))

    def counted(self) -> dict[tuple[str, str, int], dict[str, list[int]]]:
        self.counter.count()
        return {(one.variant, one.model, one.slice): one.counts for one in self.book.news().changed}


@pytest.fixture
def worker(reference: Profile) -> Worker:
    return Worker(reference)


def test_batches_are_counted_to_the_last_row(worker: Worker, reference: Profile) -> None:
    parts = [columns(rows, seed) for seed, rows in enumerate((1, 7, 256, 3))]
    for part in parts:
        worker.counter.append(batch(part))
    counted = worker.counted()
    assert {*counted} == {(FIELDS, MODEL, HERE), ("sklearn", MODEL, HERE)}
    whole = Columns.concat(parts)
    for name, counts in counted[FIELDS, MODEL, HERE].items():
        assert counts == reference.fields[name].bins.count(whole[name]).tolist()
        assert sum(counts) == 267
    late = np.concatenate([np.linspace(0, 1, len(part), dtype=np.float32) for part in parts])
    scores = counted["sklearn", MODEL, HERE]
    assert scores[SCORE] == reference.score.bins.count(late).tolist()
    assert scores[PREDICTED] == [int((late <= 0.5).sum()), int((late > 0.5).sum()), 0, 0]


def test_many_rows_do_not_wait(worker: Worker) -> None:
    for seed in range(ROWS // 256):
        worker.counter.append(batch(columns(256, seed)))
    assert [one.rows for one in worker.book.news().changed] == [ROWS, ROWS]


def test_a_busy_endpoint_is_sampled_and_the_bins_hold_all_rows(reference: Profile) -> None:
    ticks = 0.0
    book = Book("w1")
    counter = Counter(book, SteadyClock(lambda: NOW, lambda: 0.0), lambda: ticks)
    counter.watch("flights", make_watched(reference))
    part = columns(256)
    for _ in range(3120):  # a little less than 8 times what is counted whole
        ticks += 1 / 312
        counter.append(batch(part))
    counter.settle()
    for one in book.news().changed:
        assert one.rows < 3120 * 256 / 6
        for counts in one.counts.values():
            assert sum(counts) == pytest.approx(3120 * 256, rel=0.2)


def test_shadows_and_endpoints_that_nobody_watches_are_left_out(worker: Worker) -> None:
    worker.counter.append(batch(columns(5), role="shadow"))
    worker.counter.append(batch(columns(5), endpoint="digits"))
    assert worker.counted() == {}


def test_rows_that_nobody_answered_have_fields_and_no_prediction(worker: Worker) -> None:
    worker.counter.append(batch(columns(5), status="error", output=None))
    assert {*worker.counted()} == {(FIELDS, MODEL, HERE)}


def test_a_variant_without_a_profile_has_no_predictions(worker: Worker) -> None:
    worker.counter.append(batch(columns(5), variant="torch", model="flights-torch:b"))
    assert {*worker.counted()} == {(FIELDS, MODEL, HERE)}


@pytest.mark.parametrize(
    ("changed", "bins"),
    [({"missing": 1.0}, {-1}), ({"shift": 1e9}, {-1, -2}), ({"shift": -1e9}, {-1, 0})],
)
def test_all_missing_and_far_off_values_have_bins(
    worker: Worker, changed: dict[str, float], bins: set[int]
) -> None:
    worker.counter.append(batch(columns(200, **changed)))
    temp = worker.counted()[FIELDS, MODEL, HERE]["temp"]
    assert sum(temp) == 200
    assert {index for index, rows in enumerate(temp) if rows} == {one % len(temp) for one in bins}


def test_a_category_that_is_new_is_counted_as_other(worker: Worker) -> None:
    rows = columns(10)
    rows.blocks["codes"][:] = 2
    worker.counter.append(batch(rows))
    assert worker.counted()[FIELDS, MODEL, HERE]["carrier"] == [0, 0, 10, 0]


def test_a_schema_with_one_field_more_and_other_codes_is_read_rightly(reference: Profile) -> None:
    wider = Schema.of(
        [
            Field(name="carrier", type="category", categories=("UA", "AA", "DL"), unknown="other"),
            Field(name="dewp", type="float", nullable=True),
            Field(name="temp", type="float", nullable=True),
        ]
    )
    worker = Worker(reference)
    worker.counter.watch("flights", make_watched(reference, wider))
    blocks = {
        "codes": np.array([[0], [1], [1], [2], [3], [-1]], np.int32),
        "f4": np.stack([np.full(6, 1e9), np.full(6, np.nan)], axis=1).astype(np.float32),
    }
    worker.counter.append(batch(Columns(wider, blocks, 6)))
    worker.counter.append(batch(columns(4)))  # of the binding before
    (counted,) = [one for key, one in worker.counted().items() if key[0] == FIELDS]
    own = reference.fields["carrier"].bins.count(columns(4)["carrier"])
    assert (np.array(counted["carrier"]) - own).tolist() == [2, 1, 2, 1]
    assert counted["temp"][-1] >= 6


def test_rows_with_event_time_are_counted_in_its_slice(worker: Worker) -> None:
    hours = np.array([HERE - 7200, HERE - 7200, HERE - 60], "datetime64[s]")
    worker.counter.append(batch(columns(3), event_time=hours.astype("datetime64[us]")))
    worker.counter.append(batch(columns(2)))
    rows = Tally(
        {key[2]: sum(counts["temp"]) for key, counts in worker.counted().items() if not key[0]}
    )
    assert rows == {HERE - 7200: 2, HERE - 60: 1, HERE: 2}


def test_another_version_has_counts_of_its_own(worker: Worker, reference: Profile) -> None:
    worker.counter.append(batch(columns(3)))
    second = Schema.of(SCHEMA)
    worker.counter.watch("flights", make_watched(reference, second, "flights-sklearn:b"))
    rows = columns(5)
    later = Columns(second, rows.blocks, rows.rows)
    worker.counter.append(batch(later, model="flights-sklearn:b"))
    sizes = {key[:2]: sum(counts.popitem()[1]) for key, counts in worker.counted().items()}
    assert sizes == {
        (FIELDS, MODEL): 3,
        ("sklearn", MODEL): 3,
        (FIELDS, "flights-sklearn:b"): 5,
        ("sklearn", "flights-sklearn:b"): 5,
    }


def test_a_fault_is_logged_and_goes_no_further(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Columns(SCHEMA, {"f4": np.ones((3, 1), np.float32)}, 3)
    with caplog.at_level(logging.WARNING):
        worker.counter.append(batch(broken))
        worker.counter.count()
    assert "Rows of endpoint flights are not in its live drift scores." in caplog.text
    worker.counter.append(replace(batch(columns(3))))
    assert worker.counted()
