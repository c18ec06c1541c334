"""What a router counts of its endpoints, and what the controller makes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted import SCHEMA, batch, columns, make_profile

from models.columns import Columns
from models.drift.profile import Profile
from models.schema import Field, Schema
from monitoring.live.sheets import FIELDS
from monitoring.log.predictions import PredictionLog, read
from services import live_gauges
from services.live_drift import LiveDrift, watched
from services.live_gauges import LiveGauges
from services.topology import EndpointSpec, resolve
from switchyard.errors import NotReady
from switchyard.plan import Plan
from switchyard.records import DriftCount, utc_now
from switchyard.state import State

Register = Callable[..., str]
EPOCH = utc_now().replace(year=2000)
ANSWERS: dict[str, Any] = {
    "task": "binary",
    "fields": SCHEMA.model_dump(),
    "output": "probabilities",
    "classes": (0, 1),
}


@pytest.fixture(scope="module")
def reference() -> Profile:
    return make_profile()


def make_plan(**drift: Any) -> Plan:
    variants = {"old": {"model": "one:production"}, "new": {"model": "two:production"}}
    endpoint = {"stable": "old", "variants": variants, "drift": drift}
    return Plan.model_validate({"endpoints": {"flights": endpoint}})


def spec_of(state: State, **drift: Any) -> EndpointSpec:
    return resolve(make_plan(**drift), state)["flights"]


@pytest.fixture
def profiled(register: Register, reference: Profile) -> None:
    """Two models, of which the second takes a field more."""
    null = reference.model_dump(mode="json")
    register("one", **ANSWERS, drift_null=null)
    wider = Schema.of([*SCHEMA, Field(name="dewp", type="float", nullable=True)])
    null["fields"]["dewp"] = null["fields"]["temp"]
    register("two", **{**ANSWERS, "fields": wider.model_dump()}, drift_null=null)


@pytest.fixture
def run() -> Callable[..., None]:
    return lambda work: asyncio.run(work)


class Router:
    """What counts in a router, with a prediction log."""

    def __init__(self, folder: Path, state: State, worker: str = "w1") -> None:
        self.log = PredictionLog(folder / "log", worker=worker, on_drop=lambda rows: None)
        self.live = LiveDrift(self.log, state, worker)


@pytest.fixture
def router(tmp_path: Path, state: State) -> Router:
    return Router(tmp_path, state)


def requests(spec: EndpointSpec, rows: int, seed: int = 0, variant: str = "old") -> Any:
    """A batch that a variant of the endpoint has answered."""
    part = columns(rows, seed)
    blocks = dict(part.blocks)
    if "dewp" in spec.schema.names:
        blocks["f4"] = np.hstack([blocks["f4"], np.full((rows, 1), np.nan, np.float32)])
    tag = spec.variants[variant].tag
    return batch(Columns(spec.schema, blocks, rows), variant=variant, model=tag)


def by_variant(counts: list[DriftCount]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for one in counts:
        found[one.variant, one.model] = found.get((one.variant, one.model), 0) + one.rows
    return found


@pytest.mark.usefixtures("profiled")
def test_the_reference_of_a_field_is_the_stable_model_if_that_takes_it(
    state: State, reference: Profile
) -> None:
    spec = spec_of(state)
    seen = watched(spec, {"old": reference, "new": reference})
    sheets = {sheet.model: [*sheet.bins] for sheet, _, _ in seen.fields}
    assert sheets == {spec.variants["old"].tag: ["temp", "carrier"]}
    both = reference.model_copy(
        update={"fields": {**reference.fields, "dewp": reference.fields["temp"]}}
    )
    seen = watched(spec, {"old": reference, "new": both})
    sheets = {sheet.model: [*sheet.bins] for sheet, _, _ in seen.fields}
    assert sheets[spec.variants["new"].tag] == ["dewp"]
    assert {variant for variant, _ in seen.predictions} == {"old", "new"}


@pytest.mark.usefixtures("profiled")
def test_ignored_fields_are_not_counted(state: State, reference: Profile) -> None:
    spec = spec_of(state, ignore=["temp", "dewp"])
    seen = watched(spec, {"old": reference, "new": reference})
    assert [[*sheet.bins] for sheet, _, _ in seen.fields] == [["carrier"]]


@pytest.mark.usefixtures("profiled")
def test_fields_that_must_not_be_stored_are_not_counted(state: State, reference: Profile) -> None:
    spec = spec_of(state)
    hidden = spec.settings.model_copy(update={"redact": ["temp"], "drop": ["carrier"]})
    seen = watched(replace(spec, settings=hidden), {"old": reference, "new": reference})
    assert seen.fields == ()
    assert {variant for variant, _ in seen.predictions} == {"old", "new"}


async def count(router: Router, *batches: Any) -> None:
    for one in batches:
        router.live.append(one)
    await router.live.write()


@pytest.mark.usefixtures("profiled")
def test_what_is_logged_is_counted(router: Router, state: State, tmp_path: Path, run: Any) -> None:
    spec = spec_of(state)
    router.live.watch(spec)
    router.log.start()
    run(count(router, requests(spec, 3), requests(spec, 4, variant="new")))
    router.log.close()
    old, new = (spec.variants[name].tag for name in ("old", "new"))
    assert by_variant(state.drift_counts("flights", EPOCH)) == {
        (FIELDS, old): 7,
        (FIELDS, new): 7,
        ("old", old): 3,
        ("new", new): 4,
    }
    assert read(tmp_path / "log").num_rows == 7


@pytest.mark.usefixtures("profiled")
def test_workers_of_two_replicas_add_up_to_the_last_row(
    state: State, tmp_path: Path, run: Any
) -> None:
    rows = 0
    replica = State.open(str(state._reader.url))
    for worker, database in (("w1", state), ("w2", state), ("w3", replica)):
        spec, router = spec_of(state), Router(tmp_path, database, worker)
        router.live.watch(spec)
        for seed in range(5):
            run(count(router, *(requests(spec, 1 + seed, seed) for _ in range(40))))
            rows += 40 * (1 + seed)
    replica.close()
    counts = state.drift_counts("flights", EPOCH)
    assert by_variant(counts)["old", spec.variants["old"].tag] == rows
    temp = sum(sum(one.counts["temp"]) for one in counts if "temp" in one.counts)
    assert temp == rows


@pytest.mark.usefixtures("profiled")
def test_while_the_database_is_away_counts_wait(
    router: Router, state: State, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, run: Any,
) -> None:  # fmt: skip
    spec = spec_of(state)
    router.live.watch(spec)

    def away(*_: Any) -> None:
        raise NotReady("The state database does not answer: gone.")

    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr(state, "count_drift", away)
        for seed in range(3):
            run(count(router, requests(spec, 5, seed)))
    assert caplog.text.count("Drift is counted in memory meanwhile") == 1
    assert state.drift_counts("flights", EPOCH) == []
    run(count(router))
    assert by_variant(state.drift_counts("flights", EPOCH))["old", spec.variants["old"].tag] == 15


def test_a_model_without_profile_is_named_once_and_not_counted(
    router: Router, register: Register, state: State, caplog: pytest.LogCaptureFixture, run: Any
) -> None:
    register("one", **ANSWERS)
    register("two", **ANSWERS)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            router.live.watch(spec_of(state))
    spec = spec_of(state)
    router.live.watch(spec)
    run(count(router, requests(spec, 5)))
    assert state.drift_counts("flights", EPOCH) == []
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("There are no live drift scores by one:")
    assert told[0].endswith("no reference profile; train or add it again.")


class Gauges:
    """The gauges of a controller, kept instead of shown."""

    def __init__(self, made: LiveGauges) -> None:
        self.made = made
        self.values: dict[str, dict[tuple[str, ...], float | None]] = {}

    def publish(self) -> dict[str, dict[tuple[str, ...], float | None]]:
        self.made.publish()
        return self.values


@pytest.fixture
def gauges(state: State, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gauges]:
    found: dict[str, dict[tuple[str, ...], float | None]] = {}

    class Kept:
        def __init__(self, name: str, about: str, labels: list[str]) -> None:
            self.name, self.labels = name, labels

        def __class_getitem__(cls, _: Any) -> type[Kept]:
            return cls

        def publish(self, values: dict[tuple[str, ...], float | None]) -> None:
            found[self.name] = values

    monkeypatch.setattr(live_gauges, "JobGauge", Kept)

    def make(**drift: Any) -> Gauges:
        kept = Gauges(LiveGauges(make_plan(**drift), state))
        kept.values = found
        return kept

    return make


@pytest.mark.usefixtures("profiled")
def test_scores_and_thresholds_stand_side_by_side(
    router: Router, state: State, gauges: Callable[..., Gauges], run: Any
) -> None:
    spec = spec_of(state)
    router.live.watch(spec)
    run(count(router, *(requests(spec, 250, seed) for seed in range(4))))
    shown = gauges().publish()
    assert shown["drift_counted_ratio"] == {("flights",): 1.0}
    assert {*shown} == {
        "drift_counted_ratio",
        "feature_drift_score",
        "feature_drift_threshold",
        "prediction_drift_score",
        "prediction_drift_threshold",
    }
    assert {*shown["prediction_drift_score"]} == {
        ("flights", "old", "ks"),
        ("flights", "old", "psi"),
    }
    scores, limits = shown["feature_drift_score"], shown["feature_drift_threshold"]
    assert {*scores} == {
        ("flights", "temp", "ks"),
        ("flights", "temp", "missing"),
        ("flights", "carrier", "psi"),
        ("flights", "dewp", "ks"),
        ("flights", "dewp", "missing"),
    }
    assert limits.keys() == scores.keys()
    over = {key for key, score in scores.items() if (score or 0) > (limits[key] or float("inf"))}
    assert over == {("flights", "dewp", "missing")}  # nobody sends it


@pytest.mark.usefixtures("profiled")
def test_a_replay_is_judged_by_the_hour_that_it_has_come_to(
    router: Router, state: State, gauges: Callable[..., Gauges], run: Any
) -> None:
    spec = spec_of(state)
    router.live.watch(spec)
    shown = gauges(minimum=200)

    def replay(hour: str, missing: float) -> float | None:
        part = requests(spec, 500)
        part.columns.blocks["f4"][: int(500 * missing), 0] = np.nan
        times = np.datetime64(f"2013-07-04T{hour}", "us") + np.arange(500) * 1_000_000
        part.requests[0].event_time = times
        run(count(router, part))
        return shown.publish()["feature_drift_score"]["flights", "temp", "missing"]

    steady, gone = replay("10:00", 0.0), replay("13:00", 1.0)
    assert steady is not None
    assert steady < 0.05
    assert gone is not None
    assert gone > 0.9  # none of what was there three hours ago


@pytest.mark.usefixtures("profiled")
def test_without_traffic_there_is_nothing_to_show(gauges: Callable[..., Gauges]) -> None:
    assert all(values == {} for values in gauges().publish().values())


@pytest.mark.usefixtures("profiled")
def test_too_few_rows_have_no_score(
    router: Router, state: State, gauges: Callable[..., Gauges], run: Any
) -> None:
    spec = spec_of(state)
    router.live.watch(spec)
    run(count(router, requests(spec, 10)))
    shown = gauges(minimum=11).publish()
    assert {*shown["feature_drift_score"].values()} == {None}
    assert ("flights", "temp", "ks") in shown["feature_drift_score"]


@pytest.mark.usefixtures("profiled")
def test_only_counts_that_no_window_needs_are_forgotten(
    router: Router, state: State, gauges: Callable[..., Gauges], run: Any
) -> None:
    spec = spec_of(state)
    router.live.watch(spec)
    run(count(router, requests(spec, 10)))
    old = DriftCount("w0", "flights", 0, "", "m", 1, {}, "2026-01-01T00:00:00.000000+00:00")
    state.count_drift([old])
    gauges().made.tidy()
    assert {one.worker for one in state.drift_counts("flights", EPOCH)} == {"w1"}
