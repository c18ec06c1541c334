"""How often shadows agree: counted once, on and on, and for the metric."""

from __future__ import annotations

import random
from pathlib import Path

from mirrored import Answer, at, shadow, write

from monitoring.log.store import name_store
from monitoring.shadow.agreement import Agreement, RunningAgreement, agreements, recent_ratios

LATE, EARLY = (0.25, 0.75), (0.75, 0.25)


def test_an_empty_log_has_no_agreements(folder: Path) -> None:
    assert agreements(folder, "flights", at(0)) == []
    running = RunningAgreement(folder, "flights", at(0), variant="torch", primary="sklearn")
    assert running.until(at(3600)) == (0, 0)


def test_versions_are_counted_apart_the_newest_last(folder: Path) -> None:
    write(
        folder,
        [
            Answer("a", LATE, 0),
            shadow("a", LATE, 1, version="9"),
            Answer("b", LATE, 2),
            shadow("b", EARLY, 3, version="10"),
            shadow("b", LATE, 3, variant="tensorflow"),
            Answer("c", LATE, 4),
            shadow("c", None, 5, version="10"),
            shadow("d", LATE, 6, version="10"),
        ],
    )
    assert agreements(folder, "flights", at(0)) == [
        Agreement("tensorflow", "flights-tensorflow:1", 1, 1),
        Agreement("torch", "flights-torch:9", 1, 1),
        Agreement("torch", "flights-torch:10", 0, 2),
    ]
    (one,) = agreements(folder, "flights", at(3), at(4), variant="torch")
    assert (one.agreed, one.rows, one.share) == (0, 1, 0.0)
    (lost,) = agreements(folder, "flights", at(6))
    assert (lost.rows, lost.share) == (0, None)
    assert agreements(folder, "digits", at(0)) == []


def test_a_primary_variant_is_compared_with_alone(folder: Path) -> None:
    answers = [Answer("a", LATE), Answer("b", LATE, variant="tensorflow")]
    write(folder, [*answers, shadow("a", LATE, 1), shadow("b", EARLY, 1)])
    (one,) = agreements(folder, "flights", at(0), variant="torch", primary="tensorflow")
    assert (one.agreed, one.rows) == (0, 1)


def test_a_running_count_is_that_of_all_rows_so_far(folder: Path) -> None:
    draw = random.Random(7)
    running = RunningAgreement(folder, "flights", at(0), variant="torch", primary="sklearn")
    for minute in range(-2, 9, 2):
        times = sorted(draw.uniform(60 * minute, 60 * minute + 120) for _ in range(20))
        answers = [Answer(f"{minute} {n}", LATE, time) for n, time in enumerate(times)]
        for one in answers:
            said = draw.choice([LATE, EARLY, None])
            answers = [*answers, shadow(one.request_id, said, one.time + draw.uniform(0, 30))]
        write(folder, answers)
        (whole,) = agreements(folder, "flights", at(0)) or [Agreement("torch", "", 0, 0)]
        assert running.until(at(60 * minute + 150)) == (whole.agreed, whole.rows)
    assert whole.rows > 80


def test_what_has_settled_is_not_read_again(folder: Path) -> None:
    write(folder, [Answer("a", LATE), shadow("a", LATE)])
    running = RunningAgreement(folder, "flights", at(0), variant="torch", primary="sklearn")
    assert running.until(at(600)) == (1, 1)
    for path in folder.rglob("*.parquet"):
        path.unlink()
    write(folder, [Answer("b", LATE, 599), shadow("b", EARLY, 600)])
    assert running.until(at(601)) == (1, 2)


def test_rows_of_other_machines_that_come_by_the_store_are_counted(
    folder: Path, tmp_path: Path
) -> None:
    name_store(folder, f"file://{tmp_path}/store")
    running = RunningAgreement(folder, "flights", at(0), variant="torch", primary="sklearn")
    assert running.until(at(400)) == (0, 0)
    write(folder, [Answer("a", LATE, 100), shadow("a", LATE, 100)])
    assert running.until(at(401)) == (1, 1)
    assert running.until(at(760)) == (1, 1)


def test_the_metric_is_of_the_version_that_was_mirrored_to_last(folder: Path) -> None:
    write(
        folder,
        [
            *(Answer(name, LATE, n) for n, name in enumerate("abcd")),
            *(shadow(name, LATE, 5) for name in "ab"),
            *(shadow("abcd"[n], (LATE, EARLY)[n == 0], 6, version="2") for n in range(4)),
            shadow("lost", LATE, 7, variant="tensorflow"),
        ],
    )
    assert recent_ratios(folder, [], at(10)) == {}
    assert recent_ratios(folder, ["flights", "digits"], at(10)) == {
        ("flights", "torch"): 0.75,
        ("flights", "tensorflow"): None,
    }
    assert recent_ratios(folder, ["flights"], at(3600)) == {}
