"""Windows of accuracy: late and repeated feedback, event times, restarts, shadows, many steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import Asked, Told, at, write_feedback, write_predictions

from monitoring.accuracy import book as accuracy_book
from monitoring.accuracy import rows as accuracy_rows
from monitoring.accuracy.book import AccuracyBook, Window

HOUR, DAY = 3600.0, 86_400.0
CLASSES = {"m-old:1": (0, 1), "m-old:2": (1, 0), "m-new:1": ("no", "maybe", "yes")}


@pytest.fixture(autouse=True)
def manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes of the models in these logs, which no store has."""
    monkeypatch.setattr(accuracy_rows, "known_classes", lambda db: CLASSES)


def shown(book: AccuracyBook, now: float) -> dict[Window, tuple[int, float]]:
    """Rows and accuracy of each window."""
    return {
        window: (judged.sums.rows, judged.sums.figures()["accuracy"])
        for window, judged in book.windows(at(now)).items()
    }


def of(book: AccuracyBook, now: float, variant: str = "old") -> dict[str, tuple[int, float]]:
    return {w.label: got for w, got in shown(book, now).items() if w.variant == variant}


def stepped(folder: Path, *times: float) -> AccuracyBook:
    book = AccuracyBook(folder)
    for time in times:
        book.advance(at(time))
    return book


def test_an_empty_log_has_no_windows(folder: Path) -> None:
    assert shown(stepped(folder, 0, 60), 60) == {}


def test_feedback_without_prediction_and_predictions_without_feedback_are_none(
    folder: Path,
) -> None:
    write_predictions(folder, [Asked("a")])
    write_feedback(folder, [Told("nobody", 1, "1", 1.0), Told("a", 1, "1", 1.0, row=9)])
    assert shown(stepped(folder, 60, 120), 120) == {}


@pytest.mark.parametrize("roll", [False, True])
def test_rows_are_in_the_windows_that_hold_their_arrival(folder: Path, roll: bool) -> None:
    times = {"now": 0.0, "hours": -5 * HOUR, "days": -3 * DAY, "weeks": -8 * DAY}
    write_predictions(folder, [Asked(name, time) for name, time in times.items()], roll=roll)
    write_feedback(folder, [Told(name, 1, "1", 1.0) for name in times], roll=roll)
    write_predictions(folder, [Asked("right", 0)])
    write_feedback(folder, [Told("right", 2, "0", 0.0)])
    book = stepped(folder, 60)
    assert of(book, 60) == {"1h": (2, 0.5), "24h": (3, pytest.approx(1 / 3)), "7d": (4, 0.25)}
    assert of(book, 2 * HOUR) == {"24h": (3, pytest.approx(1 / 3)), "7d": (4, 0.25)}


def test_truth_that_comes_late_counts_where_its_prediction_lies(folder: Path) -> None:
    write_predictions(folder, [Asked("a"), Asked("b")], roll=True)
    write_feedback(folder, [Told("a", 1, "0", 0.0)])
    book = stepped(folder, 60)
    assert of(book, 60)["1h"] == (1, 1.0)
    write_feedback(folder, [Told("b", 3 * DAY, "1", 1.0)])
    book.advance(at(3 * DAY + 60))
    assert of(book, 3 * DAY + 60) == {"7d": (2, 0.5)}


def test_of_several_reports_the_first_counts_once_even_days_apart(folder: Path) -> None:
    write_predictions(folder, [Asked("a")], roll=True)
    write_feedback(folder, [Told("a", 2, "1", 1.0), Told("a", 1, "0", 0.0)], roll=True)
    book = stepped(folder, 60, 61, 120)
    write_feedback(folder, [Told("a", DAY, "1", 1.0)])
    book.advance(at(DAY + 60))
    assert of(book, DAY + 60)["7d"] == (1, 1.0)
    again = stepped(folder, DAY + 60)  # a process that begins anew
    assert of(again, DAY + 60) == of(book, DAY + 60)


def test_a_prediction_that_comes_to_the_disk_after_its_truth_is_found(folder: Path) -> None:
    write_feedback(folder, [Told("a", 1, "0", 0.0)])
    book = stepped(folder, 60, 120)
    write_predictions(folder, [Asked("a")])
    book.advance(at(600))
    assert of(book, 600)["1h"] == (1, 1.0)


def test_shadows_are_judged_as_well_and_calls_that_failed_are_not(folder: Path) -> None:
    shadow = {"assigned": "new", "role": "shadow", "model": "m-old:2"}
    # The shadow's classes are the other way round: 0.25 is its probability of the class 0.
    rows = [Asked("a"), Asked("a", 0.5, **shadow), Asked("b", late=None)]
    write_predictions(folder, rows[:1] + rows[2:])
    write_predictions(folder, rows[1:2], classes=(1, 0))
    write_feedback(folder, [Told("a", 1, "1", 1.0), Told("b", 1, "1", 1.0)])
    book = stepped(folder, 60)
    assert of(book, 60)["1h"] == (1, 0.0)
    assert of(book, 60, "new")["1h"] == (1, 1.0)
    assert book.windows(at(60))[Window("flights", "new", "1h")].model == "m-old:2"


def test_event_times_end_at_the_last_one_whose_truth_is_known(folder: Path) -> None:
    """Ten days are replayed in a second; the windows are those of the replayed world."""
    first = -100 * DAY
    days = [Asked(f"{day}", day / 10, event_time=first + day * DAY) for day in range(10)]
    write_predictions(folder, days)
    write_feedback(folder, [Told(f"{day}", 2, "0" if day else "1") for day in range(10)])
    book = stepped(folder, 60)
    assert of(book, 60) == {"1h": (1, 1.0), "24h": (2, 1.0), "7d": (8, 1.0)}
    assert of(book, 2 * HOUR) == {"24h": (2, 1.0), "7d": (8, 1.0)}  # arrived over an hour ago
    assert of(book, 8 * DAY) == {}


def test_a_replay_of_earlier_months_after_that_of_later_ones_is_shown(folder: Path) -> None:
    """What was replayed last is the world that is judged, not what happened last in it."""
    late, early = -100 * DAY, -200 * DAY
    write_predictions(folder, [Asked(f"{n}", n, event_time=late + n * HOUR) for n in range(9)])
    write_feedback(folder, [Told(f"{n}", 10, "1") for n in range(9)])
    book = stepped(folder, 60)
    assert of(book, 60)["24h"] == (9, 0.0)
    again = [Asked(f"again {n}", 1200 + n, event_time=early + n * HOUR) for n in range(5)]
    for at_second, some in ((1300, again[:3]), (1400, again[3:])):  # the first are forgotten soon
        write_predictions(folder, some)
        write_feedback(folder, [Told(each.request_id, 1250, "0") for each in some])
        book.advance(at(at_second))
    assert of(book, 1400) == {"1h": (2, 1.0), "24h": (5, 1.0), "7d": (5, 1.0)}


def test_one_row_of_long_ago_neither_hides_the_others_nor_ends_the_book(folder: Path) -> None:
    days = [Asked(f"{n}", n, event_time=-100 * DAY + n * HOUR) for n in range(9)]
    write_predictions(folder, [*days, Asked("old", 20, event_time=-200 * DAY)])
    write_feedback(folder, [Told(each.request_id, 21, "0") for each in days])
    write_feedback(folder, [Told("old", 22, "1")])
    book = stepped(folder, 60)
    assert of(book, 60)["24h"] == (9, 1.0)
    write_predictions(folder, [Asked("next", 100, event_time=-100 * DAY)])
    write_feedback(folder, [Told("next", 101, "0")])
    book.advance(at(160))
    assert of(book, 160)["24h"] == (10, 1.0)


def test_an_event_time_in_the_future_is_a_mistake(folder: Path) -> None:
    write_predictions(folder, [Asked("a"), Asked("b", event_time=400 * DAY)])
    write_feedback(folder, [Told("a", 1, "0"), Told("b", 1, "0")])
    assert of(stepped(folder, 60), 60)["1h"] == (2, 1.0)


def test_a_clock_that_was_set_back_loses_no_feedback(folder: Path) -> None:
    write_predictions(folder, [Asked("a"), Asked("b")])
    write_feedback(folder, [Told("a", 30, "0")])
    book = stepped(folder, 60)
    write_feedback(folder, [Told("b", -600, "0")])
    book.advance(at(90))
    assert of(book, 90)["1h"] == (2, 1.0)


def test_truth_may_be_said_as_true_and_unknown_labels_are_wrong(folder: Path) -> None:
    write_predictions(folder, [Asked(name, late=0.75) for name in "abc"])
    told = [Told("a", 1, "true", 1.0), Told("b", 1, "1", 1.0), Told("c", 1, "never heard of")]
    write_feedback(folder, told)
    assert of(stepped(folder, 60), 60)["1h"] == (3, pytest.approx(2 / 3))


def test_a_reward_is_no_truth_and_a_model_that_is_gone_is_left_out(folder: Path) -> None:
    write_predictions(folder, [Asked("a"), Asked("b", model="gone:1")])
    write_feedback(folder, [Told("a", 1, reward=1.0), Told("b", 1, "1", 1.0)])
    assert shown(stepped(folder, 60), 60) == {}


def test_other_classes_than_the_newest_rows_have_are_left_out(folder: Path) -> None:
    write_predictions(folder, [Asked("a")])
    write_feedback(folder, [Told("a", 1, "0")])
    book = stepped(folder, 60)
    write_predictions(folder, [Asked("b", 100, model="m-old:2")], classes=(1, 0))
    write_feedback(folder, [Told("b", 101, "1")])
    book.advance(at(160))
    judged = book.windows(at(160))[Window("flights", "old", "1h")]
    assert (judged.sums.rows, judged.model) == (1, "m-old:2")


def test_a_regression_has_errors(folder: Path) -> None:
    said = {"a": 1.0, "b": 2.0, "c": 4.0}
    rows = [Asked(name, late=value, model="hours:1") for name, value in said.items()]
    write_predictions(folder, rows, classes=None)
    told = [Told("a", 1, "1", 1.0), Told("b", 1, "2.5", 2.5), Told("c", 1, "what", None)]
    write_feedback(folder, told)
    judged = stepped(folder, 60).windows(at(60))[Window("flights", "old", "1h")]
    assert judged.sums.rows == 2
    assert judged.sums.figures()["absolute_error"] == 0.25


@pytest.mark.parametrize("apart", [DAY, 4 * HOUR])
def test_memory_of_reports_is_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, apart: float
) -> None:
    """Within a day too: a busy one has more reports than there is room for."""
    monkeypatch.setattr(accuracy_book, "MOST_REPORTS", 1)
    book = AccuracyBook(folder)
    for n in range(3):
        write_predictions(folder, [Asked(f"{n}", n * apart)])
        write_feedback(folder, [Told(f"{n}", n * apart + 1, "0")])
        book.advance(at(n * apart + 60))
    assert len(book._counted) == 1
    assert of(book, 2 * apart + 60)["7d"] == (3, 1.0)


def test_reports_that_are_looked_at_again_are_never_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy_book, "MOST_REPORTS", 1)
    write_predictions(folder, [Asked(f"{n}") for n in range(4)])
    write_feedback(folder, [Told(f"{n}", 900.0 * n, "0") for n in range(4)])
    book = stepped(folder, *(600.0 * step for step in range(1, 9)))
    assert of(book, 4800)["7d"] == (4, 1.0)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    delays=st.lists(st.floats(0, 5 * HOUR), min_size=1, max_size=12),
    steps=st.lists(st.floats(60, 6 * HOUR), max_size=4),
)
def test_many_steps_find_what_one_finds(
    tmp_path_factory: pytest.TempPathFactory, delays: list[float], steps: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("book")
    rows = [Asked(f"{n}", 600.0 * n, late=0.25 + n % 2 / 2) for n in range(len(delays))]
    write_predictions(folder, rows, roll=True)
    told = [Told(f"{n}", 600.0 * n + delay, "1") for n, delay in enumerate(delays)]
    write_feedback(folder, told)
    end = 8 * HOUR
    assert shown(stepped(folder, *sorted(steps), end), end) == shown(stepped(folder, end), end)
