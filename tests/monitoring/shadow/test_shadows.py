"""Reports of shadows, from logs that the real log has written, against plain Python."""

from __future__ import annotations

import re
import statistics
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from e2e.server import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrored import START, Answer, at, batch, shadow, write, write_batches
from scipy.stats import ks_2samp

from models.columns import Columns
from models.schema import Field, Schema
from monitoring.log.predictions import LoggedBatch, PredictionLog, read
from monitoring.shadow.shadows import Report, Shadow, report, window_of
from switchyard.errors import InvalidInput

BINARY = st.sampled_from([0.0, 0.25, 0.4375, 0.5, 0.75, 1.0]).map(lambda p: (1 - p, p))


def found(folder: Path, since: float = 0, until: float = 60, **more: int) -> Report:
    return report(folder, "flights", at(since), at(until), **more)


def only(folder: Path, since: float = 0, until: float = 60, **more: int) -> Shadow:
    (one,) = found(folder, since, until, **more).shadows
    return one


@pytest.mark.parametrize(
    ("window", "until", "sentence"),
    [
        ("", None, "window is '', which is no duration"),
        ("soon", None, "window is 'soon', which is no duration"),
        ("-1h", None, "window is '-1h', which is no duration"),
        ("0", None, "window is '0', which is no duration"),
        ("1e3", None, "window is '1e3', which is no duration"),
        ("1h", "yesterday", "until is 'yesterday'; it must be a time like"),
        ("100000d", None, "reaches back to before 1970"),
        ("9" * 400 + "d", None, "window is '99"),
        ("1h", "0001-01-01", "reaches back to before 1970"),
        ("1h", "0001-01-01T00:00+23:00", "reaches back to before 1970"),
    ],
)
def test_a_window_that_is_none_is_refused(window: str, until: str | None, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        window_of(window, until)


def test_a_window_ends_at_a_time_or_now() -> None:
    moment = datetime(2013, 7, 4, 18, 30, tzinfo=UTC)
    assert window_of("90", "2013-07-04T18:30") == (
        datetime(2013, 7, 4, 18, 28, 30, tzinfo=UTC),
        moment,
    )
    assert window_of("1h", "2013-07-04T20:30+02:00")[1] == moment
    since, until = window_of("1d", None)
    assert (until - since).total_seconds() == 86_400
    assert abs((datetime.now(UTC) - until).total_seconds()) < 60


def test_an_empty_log_has_no_shadows(folder: Path) -> None:
    empty = found(folder)
    assert (empty.shadows, empty.rows_read, empty.complete) == ((), 0, True)


def test_rows_that_nobody_mirrored_are_no_shadows(folder: Path) -> None:
    write(folder, [Answer("a", (0.5, 0.5)), Answer("b", (0.5, 0.5), variant="torch")])
    assert found(folder).shadows == ()
    assert found(folder).rows_read == 2


def expected(answers: list[Answer], since: float, until: float) -> dict[tuple[str, str], dict]:
    """The figures of each version, worked out row by row."""
    groups: dict[tuple[str, str], dict] = {}
    for one in answers:
        happened = one.time if one.event_time is None else one.event_time
        if one.role != "shadow" or not since <= happened < until:
            continue
        group = groups.setdefault(
            (one.variant, f"flights-{one.variant}:{one.version}"),
            {"rows": 0, "unpaired": 0, "errors": 0, "agreed": 0, "scores": []},
        )
        group["rows"] += 1
        primaries = [
            other
            for other in answers
            if other.role == "primary"
            and (other.request_id, other.row) == (one.request_id, one.row)
            and other.time <= one.time
        ]
        if not primaries:
            group["unpaired"] += 1
            continue
        primary = max(primaries, key=lambda other: other.time)
        assert primary.output is not None
        if one.output is None:
            group["errors"] += 1
            continue
        group["agreed"] += (primary.output[1] > 0.5) == (one.output[1] > 0.5)
        group["scores"].append((primary.output[1], one.output[1]))
    return groups


@st.composite
def mirrored(draw: st.DrawFn) -> list[Answer]:
    """Requests with ids that come again, each mirrored to none, one or two shadows."""
    answers: list[Answer] = []
    for index in range(draw(st.integers(0, 12))):
        request_id = draw(st.sampled_from("abc"))
        row = draw(st.integers(0, 1))
        event_time = draw(st.none() | st.integers(-40, 80))
        common = {"row": row, "event_time": event_time}
        time = index * 10 - 30.0
        if draw(st.integers(0, 5)):  # else its batch is not on the disk yet
            answers.append(Answer(request_id, draw(BINARY), time, **common))
        for variant in draw(st.sets(st.sampled_from(["torch", "tensorflow"]))):
            version = draw(st.sampled_from("12"))
            output = draw(st.none() | BINARY)
            answers.append(
                shadow(request_id, output, time + 0.5, variant=variant, version=version, **common)
            )
    return draw(st.permutations(answers))


@settings(max_examples=25, deadline=None)
@given(mirrored(), st.integers(-40, 30), st.integers(1, 100))
def test_a_report_equals_plain_python(answers: list[Answer], since: int, length: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "log"
        write(folder, answers)
        got = found(folder, since, since + length)
    want = expected(answers, since, since + length)
    assert {(one.variant, one.model) for one in got.shadows} == want.keys()
    for one in got.shadows:
        figures, plain = one.figures, want[one.variant, one.model]
        paired = plain["rows"] - plain["unpaired"]
        for name in ("rows", "unpaired", "errors", "agreed"):
            assert getattr(figures, name) == plain[name], name
            assert sum(getattr(part.figures, name) for part in one.windows) == plain[name], name
        assert figures.agreement == (plain["agreed"] / paired if paired else None)
        assert figures.error_share == figures.error_delta
        assert figures.error_share == (plain["errors"] / paired if paired else None)
        assert sum(one.primaries.values()) == paired
        if not plain["scores"]:
            assert (figures.differences, figures.ks_distance, figures.latency) == (None,) * 3
            continue
        differences = [score - primary for primary, score in plain["scores"]]
        absolute = sorted(map(abs, differences))
        assert figures.differences is not None
        assert figures.differences.mean == pytest.approx(statistics.fmean(differences))
        assert figures.differences.mean_absolute == pytest.approx(statistics.fmean(absolute))
        assert figures.differences.p50 == pytest.approx(statistics.median(absolute))
        assert figures.differences.largest == pytest.approx(absolute[-1])
        sides = zip(*plain["scores"], strict=True)
        assert figures.ks_distance == pytest.approx(ks_2samp(*sides).statistic)


def test_a_window_holds_its_beginning_and_not_its_end(folder: Path) -> None:
    answers = [Answer(f"r{n}", (0.25, 0.75), n) for n in range(4)]
    answers += [shadow(one.request_id, one.output, one.time) for one in answers]
    write(folder, answers)
    one = only(folder, 1, 3)
    assert one.figures.rows == 2
    assert [part.figures.rows for part in one.windows] == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert one.windows[0].since == "2026-01-01T12:00:01.000000+00:00"
    assert one.windows[6].since == "2026-01-01T12:00:02.000000+00:00"


def test_a_shadow_at_the_edge_has_the_answer_from_before_it(folder: Path) -> None:
    write(folder, [Answer("a", (0.25, 0.75), -30), shadow("a", (0.25, 0.75), 0)])
    assert only(folder).figures.agreed == 1


def test_event_times_are_taken_where_they_are_given(folder: Path) -> None:
    replayed = {"event_time": -86_400.0}
    write(folder, [Answer("a", (0.25, 0.75), **replayed), shadow("a", (0.25, 0.75), **replayed)])
    assert found(folder).shadows == ()
    assert only(folder, -86_460, -86_340).figures.rows == 1


def test_the_score_of_many_classes_is_that_of_the_class_that_was_answered(folder: Path) -> None:
    answers = [
        Answer("a", (0.125, 0.625, 0.25)),
        shadow("a", (0.5, 0.375, 0.125)),
        Answer("b", (0.75, 0.125, 0.125)),
        shadow("b", (0.625, 0.125, 0.25)),
    ]
    write(folder, answers, classes=(7, 8, 9))
    one = only(folder)
    assert one.score == "probability of the class that the primary answered"
    assert one.figures.agreement == 0.5
    assert one.figures.differences is not None
    assert one.figures.differences.mean == -0.1875
    first, second = one.worst
    assert (first.prediction, first.shadow_prediction, first.agreed) == ("8", "7", False)
    assert (first.score, first.shadow_score, first.difference) == (0.625, 0.375, -0.25)
    assert (second.prediction, second.difference, second.agreed) == ("7", -0.125, True)


def test_values_agree_within_one_percent(folder: Path) -> None:
    pairs = [(100.0, 101.0), (100.0, 101.1), (0.0, 0.0), (0.0, 0.1), (-5.0, 5.0), (-5.0, -5.04)]
    pairs += [(1.0, np.nan), (np.nan, np.nan), (np.inf, np.inf), (np.inf, 1.0), (np.inf, -np.inf)]
    answers = [Answer(f"r{n}", (primary,)) for n, (primary, _) in enumerate(pairs)]
    answers += [shadow(f"r{n}", (value,)) for n, (_, value) in enumerate(pairs)]
    write(folder, answers, classes=None)
    one = only(folder, worst=20)
    assert one.score == "value"
    agree = [True, False, True, False, False, True, False, True, True, False, False]
    assert one.figures.agreed == sum(agree)
    named = {each.request_id: each.agreed for each in one.worst}
    assert not any(named[f"r{n}"] for n, same in enumerate(agree) if not same)
    assert one.figures.differences is not None  # of those that have a finite one
    assert one.figures.differences.largest == 10.0


def test_a_repeated_request_id_belongs_to_the_answer_before_it(folder: Path) -> None:
    answers = []
    for n in range(500):
        late = (0.25, 0.75) if n % 2 else (0.75, 0.25)
        answers += [Answer("same", late, n / 100), shadow("same", late, n / 100 + 0.001)]
    write(folder, answers)
    assert (only(folder).figures.rows, only(folder).figures.agreement) == (500, 1.0)


def test_latencies_are_those_of_rows_that_both_answered(folder: Path) -> None:
    answers = []
    for n in range(101):
        answers += [
            Answer(f"r{n}", (0.25, 0.75), latency_ms=n),
            shadow(f"r{n}", (0.25, 0.75), latency_ms=n + 5),
        ]
    answers += [Answer("failed", (0.25, 0.75), latency_ms=1e6), shadow("failed", None)]
    write(folder, answers)
    latency = only(folder).figures.latency
    assert latency is not None
    assert (latency.primary_p50, latency.primary_p99) == (50, 99)
    assert (latency.shadow_p50, latency.shadow_p99) == (55, 104)
    assert (latency.delta_p50, latency.delta_p99) == (5, 5)


EVERY = Schema.of(
    [
        Field(name="delay", type="float", nullable=True),
        Field(name="departure", type="timestamp", nullable=True),
        Field(name="row", type="int"),
        Field(name="image", type="tensor", shape=(40, 30)),
    ]
)


def test_the_worst_come_with_their_rows_whatever_the_schema_was(folder: Path) -> None:
    minute = 60_000_000
    rich = [
        Columns(
            EVERY,
            {
                "f4": np.array([[delay]], np.float32),
                "time": np.array([[departure]], np.int64),
                "i8": np.array([[7]], np.int64),
                "t:image": np.zeros((1, 40, 30), np.float32),
            },
            1,
        )
        for delay, departure in ((np.nan, np.iinfo(np.int64).min), (1.5, minute))
    ]
    write_batches(
        folder,
        [
            batch(Answer("old", (0.75, 0.25), x=0.5)),
            batch(shadow("old", (0.375, 0.625))),
            batch(Answer("new", (0.75, 0.25)), columns=rich[0]),
            batch(shadow("new", (0.25, 0.75)), columns=rich[0]),
            batch(Answer("full", (1.0, 0.0)), columns=rich[1]),
            batch(shadow("full", (0.875, 0.125)), columns=rich[1]),
            batch(Answer("same", (1.0, 0.0)), columns=rich[1]),
            batch(shadow("same", (1.0, 0.0)), columns=rich[1]),
        ],
    )
    worst = only(folder).worst
    assert [(one.request_id, one.agreed) for one in worst] == [
        ("new", False),
        ("old", False),
        ("full", True),
    ]
    image = {"image": "1200 numbers"}
    new, old, full = worst
    assert new.fields == {"delay": None, "departure": None, "field_row": 7, **image}
    assert old.fields == {"x": 0.5}
    then = "1970-01-01T00:01:00.000000+00:00"
    assert full.fields == {"delay": 1.5, "departure": then, "field_row": 7, **image}
    assert (new.primary, new.primary_model) == ("sklearn", "flights-sklearn:1")
    assert only(folder, worst=1).worst == (new,)
    assert only(folder, worst=0).worst == ()


def test_classes_that_changed_are_compared_as_they_were(folder: Path) -> None:
    for n, classes in enumerate([(0, 1), ("no", "yes"), (1, 0), None]):
        output = (3.0,) if classes is None else (0.25, 0.75)
        write(folder, [Answer(f"r{n}", output), shadow(f"r{n}", output)], classes)
    assert (only(folder).figures.rows, only(folder).figures.agreement) == (4, 1.0)


def test_only_the_newest_rows_are_read_and_the_report_says_so(folder: Path) -> None:
    for n in range(4):
        write(folder, [Answer(f"r{n}", (0.25, 0.75), n), shadow(f"r{n}", (0.25, 0.75), n)])
    some = found(folder, most_rows=3)
    assert (some.rows_read, some.complete) == (4, False)
    assert [part.figures.rows for part in some.shadows[0].windows] == [2, *[0] * 11]
    assert {one.since for one in only(folder, 2, 4, most_rows=4).windows if one.figures.rows} == {
        "2026-01-01T12:00:02.000000+00:00",
        "2026-01-01T12:00:03.000000+00:00",
    }
    assert found(folder, most_rows=8).complete


def test_rows_that_are_not_rolled_yet_count_once(
    folder: Path, open_log: Callable[..., PredictionLog]
) -> None:
    write(folder, [Answer("a", (0.25, 0.75)), shadow("b", (0.25, 0.75), 2)])
    log = open_log(flush_seconds=0.01)
    log.start()
    late: list[LoggedBatch] = [
        batch(Answer("b", (0.75, 0.25), 1)),
        batch(shadow("a", (0.25, 0.75), 1)),
    ]
    for one in late:
        log.append(one)
    wait_until(lambda: read(folder).num_rows == 4, "all rows are on the disk")
    assert list((folder / "segments").rglob("*.arrows"))
    live = only(folder)
    assert (live.figures.rows, live.figures.agreed, live.figures.unpaired) == (2, 1, 0)
    (wrong,) = live.worst
    assert (wrong.request_id, wrong.fields) == ("b", {"x": 0.0})
    log.close()
    assert not list((folder / "segments").rglob("*.arrows"))
    assert only(folder) == live


def test_a_report_can_be_said_in_json(folder: Path) -> None:
    write(folder, [Answer("a", (0.25, 0.75)), shadow("a", (0.75, 0.25))])
    (one,) = found(folder).as_dict()["shadows"]
    assert (one["agreement"], one["windows"][0]["agreement"]) == (0.0, 0.0)
    assert one["windows"][0]["since"] == START.isoformat(timespec="microseconds")
    assert one["worst"][0]["fields"] == {"x": 0.0}
