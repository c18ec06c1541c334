"""Experiments: who enters, when, how often, and when another experiment begins."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from logs import Asked, Told, at, write_feedback, write_predictions

from models import store
from models.schema import Field, Schema
from monitoring import units
from services.experiment_view import p_values, shown
from services.experiments import LAG, _position, advance
from services.traffic.report import Report
from services.traffic.split import initial
from services.trials import shares_by_revision, statistics_of
from switchyard.errors import Conflict, InvalidInput, NotFound
from switchyard.plan import Plan
from switchyard.plan_monitoring import LogSettings
from switchyard.records import Experiment, Revision, iso
from switchyard.settings import ROOT
from switchyard.state import State

WINDOW = 100.0
TIMEOUT_S = 2.0


def revision(number: int, created: float, **shares: float) -> Revision:
    """Traffic that was set so many seconds after the start."""
    moment = iso(at(created))
    return Revision("flights", number, moment, "test", "", shares, initial(shares), shadow={})


def plan(**metrics: Any) -> Plan:
    content = {"primary": "reward", "outcome_window": WINDOW, "minimum": 2, **metrics}
    variants = {name: {"model": f"m-{name}:production"} for name in ("old", "new", "third")}
    flights = {"variants": variants, "stable": "old", "metrics": content}
    return Plan.model_validate({"endpoints": {"flights": flights}})


def report(experiment: Experiment) -> Report:
    return statistics_of(experiment).report()


class Bench:
    """A log, a state database and a plan, and a job that is run when the test says so."""

    def __init__(self, folder: Path, **metrics: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder / "log"
        self.url = f"sqlite:///{folder / 'state.db'}"
        self.state = State.open(self.url)
        self.plan = plan(**metrics)
        self.state.add_revision(revision(1, -10, old=0.5, new=0.5))

    def run(self, seconds: float) -> Experiment | None:
        """Runs the job when the log holds all that arrived so many seconds after the start."""
        now = at(seconds + TIMEOUT_S) + LAG
        return advance("flights", self.plan, self.state, self.folder, now)

    def means(self, metric: str = "reward") -> dict[str, tuple[int, float | None]]:
        """Units with an outcome and their mean, by arm."""
        last = self.state.experiment("flights")
        assert last is not None
        (found,) = [each for each in report(last).metrics if each.name == metric]
        return {arm.arm: (arm.n, arm.mean) for arm in found.arms}

    def observed(self) -> tuple[int, ...]:
        last = self.state.experiment("flights")
        assert last is not None
        return report(last).ratio.observed


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**metrics: Any) -> Bench:
        made.append(Bench(tmp_path / f"{len(made)}", **metrics))
        return made[-1]

    yield make
    for each in made:
        each.state.close()


# Bad input


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "must be a number"),
        ("reward, reward", "must be a number"),
        ("reward +", "is not one SQL expression"),
        ("1) FROM joined; DROP TABLE due; SELECT (1", "is not one SQL expression"),
        ("1) FROM joined UNION SELECT (2", "is not one SQL expression"),
        ("(SELECT 1)", "no query and no star"),
        ("*", "no query and no star"),
        ("avg(reward)", "cannot contain aggregates"),
        ("wage", '"wage" not found'),
        ("read_text('/etc/passwd')", "is refused by DuckDB"),
        ("actual", "of the type VARCHAR"),
    ],
)
def test_sql_that_is_no_expression_names_its_metric(
    bench: Callable[..., Bench], sql: str, words: str
) -> None:
    test = bench(primary="profit", define={"profit": {"sql": sql}})
    write_predictions(test.folder, [Asked("a")])
    with pytest.raises(InvalidInput, match=f"The metric 'profit' cannot be computed.*{words}"):
        test.run(1)


@pytest.mark.parametrize("covariate", ["actual_number", "latency_ms", "prediction", "confidence"])
def test_a_covariate_that_knows_the_outcome_is_refused(
    bench: Callable[..., Bench], covariate: str
) -> None:
    test = bench(primary="m", define={"m": {"source": "reward", "covariate": covariate}})
    write_predictions(test.folder, [Asked("a")])
    with pytest.raises(InvalidInput, match=r"'m' cannot be computed; its 'covariate'.*not found"):
        test.run(1)


def test_while_no_rows_say_which_fields_there_are_only_the_form_of_sql_is_judged(
    bench: Callable[..., Bench],
) -> None:
    test = bench(primary="much", define={"much": {"sql": "x > 1", "covariate": "x"}})
    test.run(10)
    write_predictions(test.folder, [Asked("a", 20, "k", x=2)], roll=True)
    test.run(30)
    for path in (test.folder / "predictions").rglob("*.parquet"):
        path.unlink()
    last = test.run(200)
    assert last is not None
    assert report(last).metrics[0].arms[0].missing == 1
    write_predictions(test.folder, [Asked("b", 210, "l", x=2)])
    test.run(400)
    assert test.means("much")["old"] == (1, 1.0)
    wrong = bench(primary="much", define={"much": {"sql": "x >"}})
    with pytest.raises(InvalidInput, match="is not one SQL expression"):
        wrong.run(10)


def test_sql_may_have_a_comment_and_a_truth_value(bench: Callable[..., Bench]) -> None:
    test = bench(primary="much", define={"much": {"sql": "x > 1 -- or more"}})
    write_predictions(test.folder, [Asked("a", x=2), Asked("b", x=1)])
    test.run(200)
    assert test.means("much")["old"] == (2, 0.5)


@pytest.mark.parametrize("sql", ["CAST(request_id AS INTEGER)", "error('no') IS NULL"])
def test_a_row_on_which_the_sql_fails_is_told_with_the_metric(
    bench: Callable[..., Bench], sql: str
) -> None:
    test = bench(primary="profit", define={"profit": {"sql": sql}})
    write_predictions(test.folder, [Asked("a")])
    with pytest.raises(InvalidInput, match=r"no value under the SQL of the metrics profit.*NULL"):
        test.run(200)


def test_without_metrics_or_a_second_arm_there_is_no_experiment(
    bench: Callable[..., Bench],
) -> None:
    test = bench()
    test.state.add_revision(revision(2, -10, old=1.0, new=0.0))
    assert test.run(10) is None
    test.plan = Plan.model_validate(
        {"endpoints": {"flights": {"variants": {"old": {"model": "m:1"}}, "stable": "old"}}}
    )
    assert test.run(10) is None
    assert test.state.experiments("flights") == []


def test_absurd_rewards_are_counted_and_left_out(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(test.folder, [Asked(f"{n}") for n in range(4)])
    rewards = [1e308, -1e308, 1.0, 3.0]
    write_feedback(test.folder, [Told(f"{n}", 1, reward=r) for n, r in enumerate(rewards)])
    last = test.run(200)
    assert test.means() == {"old": (2, 2.0), "new": (0, None)}
    assert last is not None
    assert report(last).metrics[0].arms[0].rejected == 2


# Who enters, and with what


def test_a_key_enters_once_with_the_mean_of_its_window(bench: Callable[..., Bench]) -> None:
    test = bench(define={"latency": {"source": "latency"}})
    rows = [Asked("a", 0, "k", latency_ms=2), Asked("b", 50, "k", latency_ms=4)]
    rows += [Asked("late", 150, "k", latency_ms=64)]
    write_predictions(test.folder, rows)
    write_feedback(test.folder, [Told("a", 60, reward=1), Told("b", 99, reward=2)])
    write_feedback(test.folder, [Told("b", 98, reward=4), Told("late", 160, reward=9)])
    test.run(99)
    assert test.means() == {"old": (0, None), "new": (0, None)}
    test.run(100)
    assert test.means() == {"old": (1, 2.5), "new": (0, None)}
    assert test.means("latency")["old"] == (1, 3.0)
    test.run(1000)
    assert test.means()["old"] == (1, 2.5)
    assert test.observed() == (1, 0)


def test_a_watermark_of_a_clock_that_was_ahead_waits(bench: Callable[..., Bench]) -> None:
    test = bench()
    ahead = test.run(1000)
    write_predictions(test.folder, [Asked("a", 20, "k")])
    assert test.run(50) == test.state.experiment("flights")
    assert ahead is not None
    test.run(1001)
    assert test.observed() == (1, 0)


def test_feedback_long_after_the_window_is_late_and_not_unknown(
    bench: Callable[..., Bench],
) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a")])
    test.run(200)
    write_feedback(test.folder, [Told("a", 3600, reward=1)])
    last = test.run(3670)
    assert last is not None
    assert (last.feedback["late"], last.feedback["unknown"]) == (1, 0)


def test_feedback_after_the_window_changes_nothing(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a"), Asked("b")])
    write_feedback(test.folder, [Told("a", 100, reward=1), Told("b", 100.5, reward=1)])
    last = test.run(150)
    assert test.means()["old"] == (1, 1.0)
    assert last is not None
    assert last.feedback == {"joined": 1, "late": 1, "repeated": 0, "waiting": 0, "unknown": 0}


@pytest.mark.parametrize(
    "row",
    [
        Asked("a", assignment="forced"),
        Asked("a", assignment="override"),
        Asked("a", role="shadow"),
        Asked("a", time=-11),
        Asked("a", revision=0),
        Asked("a", assigned="canary", assignment="canary"),
        Asked("a", assigned="third"),
    ],
)
def test_rows_that_the_split_did_not_assign_are_out(
    bench: Callable[..., Bench], row: Asked
) -> None:
    test = bench()
    write_predictions(test.folder, [row])
    test.run(300)
    assert test.observed() == (0, 0)


def test_a_fallback_counts_for_the_arm_that_was_assigned(bench: Callable[..., Bench]) -> None:
    test = bench(define={"latency": {"source": "latency"}})
    write_predictions(test.folder, [Asked("a", assigned="new", assignment="fallback")])
    test.run(300)
    assert test.means("latency") == {"old": (0, None), "new": (1, 2.0)}


def test_a_key_that_a_canary_had_first_stays_out(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a", 0, "k", assigned="canary", assignment="canary")])
    test.run(10)
    write_predictions(test.folder, [Asked("b", 20, "k"), Asked("c", 20, "l")])
    test.run(300)
    assert test.observed() == (1, 0)


def test_a_key_stays_in_its_first_arm_and_stratum(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a", 0, "k")])
    test.run(10)
    second = revision(2, 20, old=0.2, new=0.8)
    test.state.add_revision(second)
    write_predictions(test.folder, [Asked("b", 30, "k", assigned="new", revision=2)])
    write_feedback(test.folder, [Told("a", 40, reward=1), Told("b", 40, reward=2)])
    test.run(300)
    assert test.means() == {"old": (1, 1.5), "new": (0, None)}
    assert [each.number for each in test.state.experiments("flights")] == [1]


def test_truth_is_judged_by_the_classes_of_the_models_manifest(
    bench: Callable[..., Bench], register: Callable[..., str]
) -> None:
    about = {"task": "binary", "output": "probabilities"}
    numbers = register("m-old", classes=(0, 1), **about)
    words = register("m-new", classes=("late", "on time"), **about)
    define = {name: {"source": name} for name in ("log_loss", "brier", "error", "latency")}
    test = bench(primary="accuracy", define=define)
    old = {"model": f"m-old:{numbers}", "late": 0.75}
    write_predictions(test.folder, [Asked("a", **old), Asked("b", **old), Asked("c", **old)])
    new = {"model": f"m-new:{words}", "assigned": "new", "late": 0.75}
    rows = [Asked("d", **new), Asked("e", **new), Asked("f", **{**new, "late": None})]
    write_predictions(test.folder, rows, classes=("late", "on time"))
    told = [Told("a", 1, "1", 1.0), Told("b", 1, "true", 1.0), Told("c", 1, "7", 7.0)]
    told += [Told("d", 1, "on time"), Told("e", 1, "late"), Told("f", 1, "late")]
    write_feedback(test.folder, told)
    test.run(200)
    accuracy, brier = test.means("accuracy"), test.means("brier")
    assert accuracy == {"old": (3, pytest.approx(2 / 3)), "new": (2, 0.5)}
    outside = (0.25**2 + 0.75**2 + 1) / 2
    assert brier["old"] == (3, pytest.approx((0.0625 + 0.0625 + outside) / 3))
    assert brier["new"] == (2, pytest.approx((0.0625 + 0.5625) / 2))
    loss = test.means("log_loss")
    assert loss["new"] == (2, pytest.approx(0.836988, abs=1e-6))  # -(ln 0.75 + ln 0.25) / 2
    assert loss["old"] == (3, pytest.approx((2 * 0.287682 + 34.538776) / 3, abs=1e-6))
    assert test.means("error") == {"old": (3, 0.0), "new": (3, pytest.approx(1 / 3))}
    assert test.means("latency") == {"old": (3, 2.0), "new": (2, 2.0)}


def test_truth_of_a_model_that_is_gone_is_judged_by_its_predictions(
    bench: Callable[..., Bench],
) -> None:
    test = bench(primary="accuracy", define={"log_loss": {"source": "log_loss"}})
    write_predictions(test.folder, [Asked(f"{n}", model="gone:1") for n in range(4)])
    rows = [Asked("t", assigned="new", late=0.75)]
    write_predictions(test.folder, rows, classes=("false", "true"))
    told = [Told("0", 1, "false", 0.0), Told("1", 1, "0"), Told("2", 1, "0.4", 0.4)]
    told += [Told("3", 1, "true", 1.0), Told("t", 1, "true", 1.0)]
    write_feedback(test.folder, told)
    test.run(200)
    assert test.means("accuracy") == {"old": (4, 0.5), "new": (1, 1.0)}
    assert test.means("log_loss")["old"] == (0, None)


def test_fields_may_be_called_like_our_columns(bench: Callable[..., Bench]) -> None:
    names = ["_unit", "_classes", "_v0", "unit", "start", "arm", "REWARD"]
    schema = Schema.of([Field(name=name, type="float", dtype="float64") for name in names])
    define = {"sum": {"sql": "field__unit + unit + start + arm + _v0", "covariate": "unit"}}
    test = bench(primary="sum", define={**define, "accuracy": {"source": "accuracy"}})
    write_predictions(test.folder, [Asked("a", x=2)], schema=schema)
    write_feedback(test.folder, [Told("a", 1, "0")])
    test.run(200)
    assert test.means("sum")["old"] == (1, 10.0)
    assert test.means("accuracy")["old"] == (1, 1.0)


def test_names_with_marks_stay_names(tmp_path: Path) -> None:
    test = Bench(tmp_path / "a 'folder' \"quoted\"")
    odd = "it's; DROP TABLE due -- \u2603"
    write_predictions(test.folder, [Asked(odd, 0, odd), Asked("b", 1, odd + "'")])
    write_feedback(test.folder, [Told(odd, 1, reward=2)])
    test.run(200)
    assert test.means()["old"] == (1, 2.0)
    assert test.observed() == (2, 0)
    test.state.close()


def test_an_id_that_callers_use_twice_is_one_unit(bench: Callable[..., Bench]) -> None:
    test = bench(define={"latency": {"source": "latency"}})
    rows = [Asked("a", 0), Asked("a", 1, assigned="new", latency_ms=4)]
    write_predictions(test.folder, [*rows, Asked("a", 2, endpoint="digits")])
    write_feedback(test.folder, [Told("a", 3, reward=2)])
    last = test.run(101)
    assert test.means("latency") == {"old": (1, 3.0), "new": (0, None)}
    assert last is not None
    assert last.feedback == {"joined": 1, "late": 0, "repeated": 0, "waiting": 0, "unknown": 0}


def test_a_revision_that_nobody_knows_assigns_nobody(bench: Callable[..., Bench]) -> None:
    """As when the state database was restored from a copy that is older than the log."""
    test = bench()
    write_predictions(test.folder, [Asked("a"), Asked("b", revision=7)])
    test.run(200)
    assert test.observed() == (1, 0)


def test_shares_too_fine_for_the_split_are_judged_as_they_were_split(
    bench: Callable[..., Bench],
) -> None:
    test = bench()
    test.state.add_revision(revision(2, 0, old=0.99994, new=0.00006))
    assert shares_by_revision("flights", ("old", "new"), test.state)[2] == [0.9999, 0.0001]


def test_a_covariate_is_that_of_the_first_row(bench: Callable[..., Bench]) -> None:
    sql = {"sql": "reward", "covariate": "x * 2"}
    test = bench(primary="profit", define={"profit": sql}, minimum=2)
    rows = [Asked(f"{n}", 0, assigned="old" if n % 2 else "new", x=n) for n in range(40)]
    write_predictions(test.folder, rows)
    test.run(50)
    write_feedback(test.folder, [Told(f"{n}", 60, reward=n + n % 3 / 10) for n in range(40)])
    last = test.run(200)
    assert last is not None
    (comparison,) = report(last).metrics[0].comparisons
    assert comparison.adjusted is not None
    assert comparison.adjusted.lift == pytest.approx(0, abs=0.1)
    assert comparison.effect.lift == pytest.approx(-1, abs=0.1)


# Time


def test_event_times_open_and_close_windows(bench: Callable[..., Bench]) -> None:
    test = bench()
    year = -365 * 86_400.0
    rows = [
        Asked("a", 0, "k", event_time=year),
        Asked("b", 1, "k", event_time=year + 99),
        Asked("c", 2, "k", event_time=year + 101),
        Asked("d", 3, "l", event_time=year + 101),
    ]
    write_predictions(test.folder, rows)
    told = [
        Told("a", 1, reward=1, event_time=year + 50),
        Told("b", 1, reward=3, event_time=year + 99),
    ]
    write_feedback(test.folder, [*told, Told("c", 2, reward=5, event_time=year + 102)])
    test.run(2.5)
    assert test.means()["old"] == (1, 2.0)
    test.run(99)
    assert test.means()["old"] == (1, 2.0)
    last = test.run(104)  # the replay has ended; the last window closes by the time since
    assert last is not None
    assert last.position["waiting"] == 0


def test_an_event_that_has_not_happened_yet_closes_no_window(bench: Callable[..., Bench]) -> None:
    test = bench()
    year = -365 * 86_400.0
    rows = [Asked("typo", 0, event_time=-50 * year), Asked("a", 1, event_time=year)]
    write_predictions(test.folder, rows)
    last = test.run(5)
    assert last is not None
    assert last.position["waiting"] == 2
    write_feedback(test.folder, [Told("a", 50, reward=1, event_time=year + 50)])
    test.run(200)
    assert test.means()["old"] == (1, 1.0)


def test_rows_of_a_clock_that_was_set_back_come_in_late_but_come_in(
    bench: Callable[..., Bench],
) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a", 500)])
    test.run(600)
    write_predictions(test.folder, [Asked("b", 450), Asked("c", 460, "k")])
    test.run(601)
    test.run(602)
    assert test.observed() == (3, 0)


def test_feedback_that_comes_from_another_machine_by_the_store_is_waited_for(
    bench: Callable[..., Bench],
) -> None:
    test = bench()
    test.plan = test.plan.model_copy(update={"log": LogSettings(store="file:///elsewhere")})
    write_predictions(test.folder, [Asked("a", 0, "k")])
    test.run(101)
    write_feedback(test.folder, [Told("a", 90, reward=4)])
    test.run(400)
    assert test.means()["old"] == (1, 4.0)


def test_a_log_that_is_gone_changes_nothing(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a", 0, "k"), Asked("b", 0, "l")], roll=True)
    write_feedback(test.folder, [Told("a", 1, reward=1), Told("b", 1, reward=2)], roll=True)
    test.run(200)
    for path in (test.folder / "predictions").rglob("*.parquet"):
        path.unlink()
    write_predictions(test.folder, [Asked("c", 300, "k"), Asked("d", 300, "m")], roll=True)
    write_feedback(test.folder, [Told("d", 301, reward=6)], roll=True)
    test.run(500)
    assert test.means()["old"] == (3, 3.0)
    assert test.observed() == (3, 0)


# One experiment after the other


def test_another_set_of_arms_is_another_experiment(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a", 0, "k"), Asked("b", 195, "l")])
    write_feedback(test.folder, [Told("a", 1, reward=1)])
    test.run(50)
    test.state.add_revision(revision(2, 200, old=0.4, new=0.4, third=0.2))
    write_predictions(test.folder, [Asked("c", 210, "k", assigned="third", revision=2)])
    write_feedback(test.folder, [Told("c", 220, reward=5)])
    test.run(400)
    first, _ = test.state.experiments("flights")
    assert first.ended == iso(at(200))
    assert [arm.n for arm in report(first).metrics[0].arms] == [1, 0]
    assert test.means() == {"old": (0, None), "new": (0, None), "third": (1, 5.0)}
    assert not list((test.folder / "experiments").rglob("*/1/*"))
    test.state.add_revision(revision(3, 300, old=1.0, new=0.0))
    assert test.run(500) is None
    assert all(each.ended for each in test.state.experiments("flights"))


def test_a_canary_is_no_arm_and_begins_no_experiment(bench: Callable[..., Bench]) -> None:
    test = bench()
    test.run(1)
    test.state.add_revision(revision(2, 2, old=0.45, new=0.5, canary=0.05))
    rows = [Asked("a", 3, assigned="canary", assignment="canary", revision=2)]
    write_predictions(test.folder, [*rows, Asked("b", 3, revision=2)])
    test.run(200)
    assert len(test.state.experiments("flights")) == 1
    assert test.observed() == (1, 0)


def test_another_version_or_other_metrics_are_another_experiment(
    bench: Callable[..., Bench], register: Callable[..., str], state: State
) -> None:
    test = bench()
    first = register("m-old")
    test.state.set_alias("m-old", "production", first, "test", "first")
    test.run(10)
    second = register("m-old")
    test.state.set_alias("m-old", "production", second, "test", "second")
    test.run(20)
    test.plan = plan(minimum=7)
    test.run(30)
    test.run(40)
    found = [each.definition["versions"]["old"] for each in test.state.experiments("flights")]
    assert found == [f"m-old:{first}", f"m-old:{second}", f"m-old:{second}"]


# What is shown


def test_what_is_missing_is_said_in_a_sentence(bench: Callable[..., Bench]) -> None:
    test = bench()
    with pytest.raises(NotFound, match="no endpoint 'digits'"):
        shown("digits", test.plan, test.state)
    with pytest.raises(NotFound, match="no experiment yet"):
        shown("flights", test.plan, test.state)
    test.run(10)
    with pytest.raises(NotFound, match="no experiment 7; it has 1 to 1"):
        shown("flights", test.plan, test.state, 7)
    bare = {"variants": {"old": {"model": "m:1"}}, "stable": "old"}
    with pytest.raises(NotFound, match=r"metrics: \{primary: accuracy\}"):
        shown("other", Plan.model_validate({"endpoints": {"other": bare}}), test.state)


def test_an_experiment_is_shown_with_its_history(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(
        test.folder, [Asked(f"{n}", assigned=("old", "new")[n % 2]) for n in range(6)]
    )
    write_feedback(test.folder, [Told(f"{n}", 1, reward=n) for n in range(6)])
    write_predictions(test.folder, [Asked("waits", 150)])
    test.run(200)
    assert p_values(test.plan, test.state) == {("flights", "reward", "new"): 1.0}
    test.plan = plan(minimum=3)
    test.run(201)
    found = shown("flights", test.plan, test.state, 1)
    assert found["control"] == "old"
    assert [arm["mean"] for arm in found["metrics"][0]["arms"]] == [2.0, 3.0]
    assert found["ratio"]["observed"] == (4, 3)
    assert found["days"] == pytest.approx(210 / 86_400)
    assert [each["ended"] for each in found["history"]] == [iso(at(200)), None]
    assert shown("flights", test.plan, test.state)["number"] == 2
    orjson.dumps(found)


# Exactly once


NO_SHRINK = [Phase.explicit, Phase.reuse, Phase.generate]  # an example takes a second

ROWS = st.builds(
    Asked,
    request_id=st.uuids(version=4).map(str),
    time=st.floats(0, 400).map(lambda time: round(time, 3)),
    key=st.sampled_from([None, "a", "b", "c", "d"]),
    assigned=st.sampled_from(["old", "new", "canary"]),
    assignment=st.sampled_from(["split", "split", "fallback", "forced"]),
    x=st.floats(0, 10),
)


@settings(deadline=None, max_examples=8, phases=NO_SHRINK)
@given(
    st.lists(ROWS, min_size=1, max_size=30, unique_by=lambda row: row.time),
    st.lists(st.floats(0, 700), max_size=6),
    st.randoms(use_true_random=False),
)
def test_any_cutting_of_the_log_into_runs_gives_the_same_statistics(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Asked], cuts: list[float], chance: Any
) -> None:
    told = [
        Told(row.request_id, round(row.time + chance.uniform(0, 150), 3), reward=row.x)
        for row in rows
        if chance.random() < 0.8
    ]
    whole = Bench(tmp_path_factory.mktemp("whole"))
    write_predictions(whole.folder, rows)
    write_feedback(whole.folder, told)
    once = whole.run(1000)

    pieces = Bench(tmp_path_factory.mktemp("pieces"))
    done = -1.0
    for cut in [*sorted(cuts), 1000.0]:
        if part := [row for row in rows if done < row.time <= cut]:
            write_predictions(pieces.folder, part, roll=chance.random() < 0.5)
        if answers := [report for report in told if done < report.time <= cut]:
            write_feedback(pieces.folder, answers, roll=chance.random() < 0.5)
        pieces.run(cut)
        pieces.run(cut)
        done = cut
    last = pieces.state.experiment("flights")
    assert once is not None
    assert last is not None
    assert flat(last.statistics) == pytest.approx(flat(once.statistics), abs=1e-9)
    assert pieces.means() == {
        arm: (n, None if mean is None else pytest.approx(mean))
        for arm, (n, mean) in by_hand(rows, told).items()
    }
    whole.state.close()
    pieces.state.close()


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """The numbers of a nested value by their place."""
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    else:
        return {path: value}
    return {k: v for name, part in parts for k, v in flat(part, f"{path}/{name}").items()}


def by_hand(rows: list[Asked], told: list[Told]) -> dict[str, tuple[int, float | None]]:
    """Units and means of each arm, row by row."""
    answers = {report.request_id: report for report in told}
    first: dict[str, tuple[float, str | None]] = {}
    outcomes: dict[tuple[str, str], list[float]] = {}
    for row in sorted(rows, key=lambda row: row.time):
        unit = row.key or row.request_id
        if row.assignment == "forced":
            continue
        ours = row.assigned != "canary"
        start, arm = first.setdefault(unit, (row.time, row.assigned if ours else None))
        answer = answers.get(row.request_id)
        in_time = answer is not None and max(row.time, answer.time) <= start + WINDOW
        if ours and arm is not None and answer is not None and in_time:
            outcomes.setdefault((arm, unit), []).append(row.x)
    means: dict[str, list[float]] = {"old": [], "new": []}
    for (arm, _), values in outcomes.items():
        means[arm].append(sum(values) / len(values))
    return {arm: (len(of), sum(of) / len(of) if of else None) for arm, of in means.items()}


def test_many_runs_leave_few_files(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "MOST_FILES", 3)
    test = bench()
    for number in range(9):
        write_predictions(test.folder, [Asked(f"{number}", number * 10, f"k{number}")])
        test.run(number * 10 + 105)
        assert len(list((test.folder / "experiments").rglob("*.parquet"))) <= 4
    write_predictions(test.folder, [Asked(f"again {n}", 300 + n, f"k{n}") for n in range(9)])
    test.run(500)
    assert test.observed() == (9, 0)


def test_of_two_jobs_at_once_one_counts(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a", 0, "k")])
    before = test.run(10)
    assert before is not None
    test.run(300)
    with pytest.raises(Conflict, match="moved on meanwhile"):
        test.state.move_experiment(before)
    with closing(State.open(test.url)) as stale:
        real, seen = stale.experiment, iter([before])
        stale.experiment = lambda name: next(seen, None) or real(name)  # type: ignore[method-assign]
        found = advance("flights", test.plan, stale, test.folder, at(400))
    assert found == test.state.experiment("flights")
    assert test.observed() == (1, 0)


def test_who_tidies_late_leaves_the_files_of_who_is_ahead(bench: Callable[..., Bench]) -> None:
    test = bench()
    write_predictions(test.folder, [Asked("a", 0, "k"), Asked("b", 0, "l")])
    slow = test.run(10)
    write_predictions(test.folder, [Asked("c", 20, "m")])
    last = test.run(300)
    assert slow is not None
    assert last is not None
    folder = next((test.folder / "experiments").glob("*/1"))
    units.tidy(folder, _position(slow))
    assert {path.name for path in folder.iterdir()} == {*last.position["known"]}


def test_a_look_with_another_plan_neither_ends_nor_begins_an_experiment(
    bench: Callable[..., Bench],
) -> None:
    test = bench()
    test.run(10)
    before = test.state.experiments("flights")
    test.plan = plan(minimum=9)
    found = advance("flights", test.plan, test.state, test.folder, at(99), replaces=False)
    assert [found] == test.state.experiments("flights") == before


def test_a_look_without_the_models_goes_on_with_the_experiment(
    bench: Callable[..., Bench], register: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    test = bench()
    test.state.set_alias("m-old", "production", register("m-old"), "test", "first")
    test.run(20)
    monkeypatch.setattr(store, "has", lambda name, version: False)
    test.run(30)
    assert len(test.state.experiments("flights")) == 1


JOB = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from logs import at
from services.experiments import LAG, advance
from switchyard.plan import Plan
from switchyard.plan_monitoring import LogSettings
from switchyard.state import State
folder, url, plan = sys.argv[1:]
state, plan = State.open(url), Plan.model_validate_json(plan)
for second in range(0, 1000, 20):
    advance("flights", plan, state, Path(folder), at(second + 2) + LAG)
    print(second, flush=True)
"""


@pytest.mark.slow
def test_a_job_that_is_killed_anywhere_repeats_and_loses_nothing(
    bench: Callable[..., Bench],
) -> None:
    rows = [
        Asked(f"{n}", n * 0.8, f"k{n % 300}", assigned=("old", "new")[n % 2]) for n in range(900)
    ]
    told = [Told(f"{n}", n * 0.8 + n % 40, reward=n) for n in range(0, 900, 2)]
    whole, killed = bench(), bench()
    for test in (whole, killed):
        write_predictions(test.folder, rows, roll=True)
        write_feedback(test.folder, told, roll=True)
    whole.run(990)
    command = [sys.executable, "-c", JOB, str(killed.folder), killed.url]
    command.append(killed.plan.model_dump_json())
    chance = random.Random(0)
    for kill in (*[True] * 6, False):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as job:
            assert job.stdout is not None
            job.stdout.readline()
            if kill:
                threading.Timer(chance.uniform(0, 1), job.kill).start()
            job.stdout.read()
            assert job.wait() in ((-signal.SIGKILL, 0) if kill else (0,))
    one, other = (test.state.experiment("flights") for test in (whole, killed))
    assert one is not None
    assert other is not None
    assert flat(other.statistics) == pytest.approx(flat(one.statistics), abs=1e-9)
    assert whole.observed() == killed.observed() == (150, 150)
    named = {*other.position["known"], other.position["open"]} - {None}
    files = (killed.folder / "experiments").rglob("*.parquet")
    assert {path.name for path in files} == named
