"""The drift job, from a log as routers write it to the verdict and its files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from drifting import NOW, ROWS, SCHEMA, World, log_rows, rows, tell, truths

from models.schema import Field, Schema
from monitoring.drift import Verdict
from monitoring.drift.archive import KEPT
from monitoring.drift.field_verdict import FieldVerdict
from switchyard.errors import InvalidInput, NotFound, SwitchyardError

pytestmark = pytest.mark.usefixtures("no_pages")


def of(verdict: Verdict, name: str) -> FieldVerdict:
    return next(each for each in verdict.data.fields if each.field == name)


def day(hours: float) -> timedelta:
    return timedelta(hours=hours)


# What is wrong, or not there.


def test_an_unknown_endpoint_variant_or_length_is_refused(world: World) -> None:
    world.version()
    with pytest.raises(InvalidInput, match="A window of 0 holds nothing"):
        world.run(window=timedelta(0))
    with pytest.raises(InvalidInput, match="reaches back to before 1970"):
        world.run(window=timedelta(days=90_000))
    with pytest.raises(NotFound, match="has no variant 'x'; it has m"):
        world.run(variant="x")
    with pytest.raises(NotFound, match="'other'"):
        world.run("other")


def test_without_any_log_nothing_is_judged_and_the_report_says_so(world: World) -> None:
    world.version()
    found = world.run()
    assert found.status == "unknown"
    assert found.summary.startswith("No row of 'flights' lies between 2026-02-28 12:00:00 and")
    assert "the log has none before its end" in found.summary
    assert found.summary in Path(found.html).read_text()


def test_an_empty_window_names_the_last_row_before_it(world: World) -> None:
    log_rows(world.log, rows(), world.version(), begin=NOW - day(72))
    found = world.run()
    assert found.status == "unknown"
    assert "the last one of the endpoint before its end is of 2026-02-26 12:00:00" in found.summary


def test_one_row_is_too_few_to_judge(world: World) -> None:
    log_rows(world.log, rows(1), world.version())
    found = world.run()
    assert (found.status, found.rows) == ("unknown", 1)
    assert "Only 1 row of 'flights' lies between" in found.summary
    assert "at least 200 are needed" in found.summary


def test_a_version_without_a_reference_profile_is_named(world: World) -> None:
    tag = world.version(profiled=False)
    log_rows(world.log, rows(), tag)
    tell(world.log, truths(rows()))
    found = world.run()
    assert found.status == "unknown"
    assert found.summary.startswith(f"{tag} has no reference profile")
    assert found.reference is None
    assert "has no reference profile" in found.predictions[0].why
    assert "does not tell what skill is usual" in found.performance[0].why


def test_a_version_that_left_the_store_is_named_and_the_data_are_judged(world: World) -> None:
    world.version()
    log_rows(world.log, rows(), "m:gone")
    found = world.run()
    assert found.status == "steady"
    assert found.predictions[0].why == "Nothing was judged. m:gone is no longer in the store."


def test_all_missing_and_constant_columns(world: World) -> None:
    log_rows(world.log, rows(x=np.full(ROWS, np.nan, np.float32), y=1.5), world.version())
    found = world.run()
    assert found.status == "drift"
    assert of(found, "x").why == "All values are missing."
    assert of(found, "x").mean is None
    assert of(found, "y").status == "drift"
    assert of(found, "y").deviation == 0


def test_a_new_category_drifts_when_it_is_frequent(world: World) -> None:
    tag = world.version()
    unseen = rows()["colour"].mask(np.arange(ROWS) % 5 == 0, "violet")
    log_rows(world.log, rows(colour=unseen), tag)
    colour = of(world.run(), "colour")
    assert colour.outside == pytest.approx(0.2)
    assert colour.status == "drift"


def test_a_schema_that_changed_within_the_window(world: World) -> None:
    tag = world.version()
    before = Schema.of([each for each in SCHEMA if each.name != "y"])
    log_rows(world.log, rows(), tag, schema=before, request_id="old")
    log_rows(world.log, rows(250), tag, request_id="new", begin=NOW - day(1))
    found = world.run()
    assert (found.status, found.rows) == ("steady", ROWS + 250)
    assert of(found, "y").rows == 250
    assert of(found, "y").missing is not None
    assert of(found, "y").missing.share == 0  # type: ignore[union-attr]
    assert any("part of the log has no y; these fields" in note for note in found.notes)


def test_a_field_that_too_few_rows_have_is_not_judged(world: World) -> None:
    tag = world.version()
    before = Schema.of([each for each in SCHEMA if each.name != "y"])
    log_rows(world.log, rows(), tag, schema=before, request_id="old")
    log_rows(world.log, rows(20, y=99.0), tag, request_id="new")
    found = world.run()
    assert of(found, "y").why == "Only 20 rows have this column; at least 200 are needed."
    log_rows(world.log, rows(), tag, schema=before, begin=NOW - day(100), request_id="older")
    past = world.run(until=NOW - day(99))
    assert of(past, "y").why == "The log has no column for it in this window."


def test_another_type_in_an_older_part_of_the_log_is_no_error(world: World) -> None:
    tag = world.version()
    text = [each for each in SCHEMA if each.name != "y"]
    older = Schema.of([*text, Field(name="y", type="text")])
    log_rows(world.log, rows(y="words"), tag, schema=older, request_id="old")
    log_rows(world.log, rows(), tag, request_id="new")
    y = of(world.run(), "y")
    assert y.missing is not None
    assert y.missing.share == pytest.approx(0.5)
    assert (y.status, y.rows) == ("steady", ROWS)


def test_values_that_the_log_lacks_and_no_request_did_are_not_taken_for_none(world: World) -> None:
    """Of a field that takes no null; a score of no values at all would be 0, and no drift."""
    tag = world.version()
    text = [each for each in SCHEMA if each.name != "y"]
    older = Schema.of([*text, Field(name="y", type="text")])
    log_rows(world.log, rows(y="words"), tag, schema=older)
    y = of(world.run(), "y")
    assert y.status == "unknown"
    assert y.why == "Only 0 rows have this column; at least 200 are needed."


def test_rows_of_the_future_are_left_out_and_named(world: World) -> None:
    tag = world.version()
    log_rows(world.log, rows(), tag)
    log_rows(world.log, rows(50), tag, event=NOW + day(9000), request_id="jumped")
    log_rows(world.log, rows(30), tag, begin=NOW + day(1), request_id="ahead")
    found = world.run()
    assert found.rows == ROWS
    assert any(note.startswith("80 rows carry a time after now") for note in found.notes)


def test_fields_of_other_kinds_and_ignored_ones_say_why_they_are_not_judged(world: World) -> None:
    log_rows(world.log, rows(x=rows()["x"] + 9), world.version())
    found = world.run(drift={"ignore": ["x"]})
    assert found.data.status == "steady"
    assert of(found, "when").why == "Times are never judged: they always move on."
    assert of(found, "x").why == "The plan says to ignore it."


def test_a_method_for_numbers_on_labels_is_refused_in_a_sentence(world: World) -> None:
    log_rows(world.log, rows(), world.version())
    found = world.run(drift={"fields": {"colour": {"method": "ks"}}})
    assert of(found, "colour").why.startswith("ks is for numbers; choose psi, js or chi2")


@pytest.mark.parametrize("method", ["ks", "wasserstein", "psi"])
def test_a_value_near_the_largest_that_there_is_does_not_end_the_report(
    world: World, method: str
) -> None:
    """Its square is more than a float holds."""
    far = rows()["y"].mask(np.arange(ROWS) == 3, 1.7e308).mask(np.arange(ROWS) == 4, -1.7e308)
    log_rows(world.log, rows(y=far), world.version())
    y = of(world.run(drift={"fields": {"y": {"method": method}}}), "y")
    assert y.status == ("drift" if method == "wasserstein" else "steady")
    assert y.deviation is None


# What it finds.


def test_traffic_like_the_reference_is_steady(world: World) -> None:
    log_rows(world.log, rows(), world.version())
    found = world.run()
    assert found.status == "steady", found.summary
    assert found.data.why == "No drift in 4 judged columns."
    assert found.predictions[0].status == "steady"
    assert found.reference is not None
    assert (found.reference.rows, found.reference.null) == (3_000, "contiguous")


@pytest.mark.parametrize("control", ["bh", "share"])
def test_a_shifted_column_is_found_by_all_scores(world: World, control: str) -> None:
    log_rows(world.log, rows(y=rows()["y"] + 1), world.version())
    found = world.run(drift={"control": control, "share": 0.25})
    assert found.status == "drift"
    assert found.summary == "Drift found in the data. Drift in 1 of 4 judged columns: y."
    y = of(found, "y")
    assert y.status == "drift"
    assert y.mean_shift == pytest.approx(1, abs=0.15)
    reference = np.random.default_rng(7).exponential(size=3_000)
    assert reference.mean() == pytest.approx(1, abs=0.1)
    assert y.scores.model_dump().keys() == {"ks", "psi", "wasserstein", "js", "chi2"}
    assert None not in y.scores.model_dump().values()
    assert y.customary.psi == "large"
    assert [each.field for each in found.data.fields if each.status == "drift"] == ["y"]
    assert ("Benjamini-Hochberg" if control == "bh" else "at least 25%") in found.data.control


def test_scores_are_those_of_the_values_themselves(world: World) -> None:
    from scipy.stats import ks_2samp

    shifted = rows(y=rows()["y"] + 0.1)
    log_rows(world.log, shifted, world.version())
    y = of(world.run(), "y")
    reference = rows(3_000, seed=7)["y"]
    exact = ks_2samp(reference, shifted["y"])
    assert y.score == pytest.approx(exact.statistic, abs=1e-12)
    assert y.customary.ks_p == pytest.approx(exact.pvalue, rel=0.2)
    assert y.mean == pytest.approx(shifted["y"].mean())
    assert y.outside == pytest.approx((shifted["y"] > reference.max()).mean(), abs=1e-12)


def test_missing_values_are_drift_although_ks_leaves_them_out(world: World) -> None:
    x = rows()["x"].mask(np.arange(ROWS) % 5 == 0)
    log_rows(world.log, rows(x=x), world.version())
    found = of(world.run(), "x")
    assert found.status == "drift"
    assert found.why.startswith("20.0% of the values are missing, 0.0% in the reference")


def test_a_threshold_of_the_plan_takes_the_place_of_ours(world: World) -> None:
    log_rows(world.log, rows(y=rows()["y"] + 1), world.version())
    loose = of(world.run(drift={"fields": {"y": {"method": "psi", "threshold": 99}}}), "y")
    assert (loose.method, loose.status, loose.threshold_from) == ("psi", "steady", "plan")
    strict = of(world.run(drift={"fields": {"y": {"threshold": 0.01}}}), "y")
    assert strict.status == "drift"
    assert "the plan's threshold 0.01" in strict.why


def test_windows_are_on_event_time_where_it_is_given(world: World) -> None:
    tag = world.version()
    log_rows(world.log, rows(), tag, begin=NOW - day(1), event=NOW - day(50))
    log_rows(world.log, rows(300), tag, begin=NOW - day(1), request_id="now")
    assert world.run().rows == 300
    past = world.run(until=NOW - day(40))
    assert past.rows == ROWS
    assert past.time == "event time where given, else arrival"


def test_a_replay_of_long_ago_is_judged_to_its_last_event(world: World) -> None:
    event = datetime(2013, 4, 1, tzinfo=UTC)
    arrived = NOW - timedelta(seconds=60)
    log_rows(world.log, rows(), world.version(), begin=arrived, event=event)
    found = world.run(window=timedelta(seconds=300))
    assert found.until == "2013-04-01T00:09:59.000001+00:00"
    assert found.rows == 300
    assert any("the window ends with the last of it" in note for note in found.notes)


def test_shadows_and_failures_are_told_apart(world: World) -> None:
    tag = world.version()
    log_rows(world.log, rows(), tag)
    log_rows(world.log, rows(250, seed=4), tag, status="error", request_id="failed")
    found = world.run()
    assert found.rows == ROWS + 250
    assert found.predictions[0].rows == ROWS
    assert any(note.startswith("250 rows got no answer") for note in found.notes)


def test_each_variant_is_compared_with_its_own_version(world: World) -> None:
    one, two = world.version("one"), world.version("two")
    log_rows(world.log, rows(), one, variant="one", request_id="1")
    shifted = rows(seed=3, x=rows(seed=3)["x"] - 2)
    log_rows(world.log, shifted, two, variant="two", request_id="2")
    found = world.run("one", "two")
    by_variant = {each.variant: each.status for each in found.predictions}
    assert by_variant == {"one": "steady", "two": "drift"}
    assert "the predictions of two" in found.summary
    alone = world.run("one", "two", variant="one")
    assert (alone.status, alone.rows) == ("steady", ROWS)


def test_loss_of_skill_alarms_and_a_fall_of_the_base_rate_does_not(world: World) -> None:
    tag = world.version()
    frame = rows(1_000)
    log_rows(world.log, frame, tag)
    tell(world.log, truths(frame))
    kept = world.run()
    assert kept.status == "steady", kept.summary
    part = kept.performance[0]
    assert part.rows == 1_000
    assert part.accuracy is not None
    assert part.constant_accuracy is not None
    assert part.accuracy > part.constant_accuracy
    assert part.skill == pytest.approx(1 - part.log_loss / part.base_log_loss)  # type: ignore[operator]
    log_rows(world.log, frame, tag, begin=NOW - day(100), request_id="lost")
    tell(world.log, np.random.default_rng(5).integers(0, 2, 1_000), request_id="lost")
    lost = world.run(until=NOW - day(99))
    assert lost.performance[0].status == "drift"
    assert lost.performance[0].skill is not None
    assert lost.performance[0].threshold is not None
    assert lost.performance[0].skill <= lost.performance[0].threshold
    assert "the skill of m" in lost.summary
    assert lost.target is not None
    assert not lost.target.decides


def test_true_answers_that_move_are_shown_and_decide_nothing(world: World) -> None:
    tag = world.version()
    log_rows(world.log, rows(), tag)
    tell(world.log, np.ones(ROWS, np.int64))
    found = world.run()
    assert found.target is not None
    assert found.target.status == "drift"
    assert found.status == "steady"
    late, on_time = found.target.fields[0].labels
    assert (late.label, late.share, on_time.label, on_time.share) == ("1", 1, "0", 0)
    assert late.reference == pytest.approx(truths(rows(3_000, seed=7), seed=8).mean())
    assert "The true answers have drifted, which decides nothing." in found.summary
    assert "1 100.0% (was" in Path(found.html).read_text()
    assert "All these rows have the same truth" in found.performance[0].why


def test_all_that_decides_shares_the_level(world: World) -> None:
    one, two = world.version("one"), world.version("two")
    frame = rows(1_000)
    for name, tag in (("one", one), ("two", two)):
        log_rows(world.log, frame, tag, variant=name, request_id=name)
        tell(world.log, truths(frame), request_id=name)
    alone = world.run("one", "two", variant="one").performance[0]
    together = world.run("one", "two").performance[0]
    assert alone.control == "alarm at a p-value of at most 0.0167, the share of this part in 0.05"
    assert "at most 0.00833, " in together.control
    assert alone.threshold is not None
    assert together.threshold is not None
    assert together.threshold < alone.threshold


def test_labels_that_moved_most_are_named(world: World) -> None:
    blue = rows()["colour"].mask(np.arange(ROWS) % 2 == 0, "blue")
    log_rows(world.log, rows(colour=blue), world.version())
    labels = of(world.run(), "colour").labels
    assert labels[0].label == "blue"
    assert labels[0].share == pytest.approx((blue == "blue").mean())
    assert labels[0].reference == pytest.approx(0.1, abs=0.02)


def test_a_sample_of_a_large_window_is_judged_and_said_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.drift.window.read_window.__kwdefaults__", {"most_rows": 500})
    log_rows(world.log, rows(2_000), world.version())
    found = world.run()
    assert (found.rows, found.complete, found.data.rows) == (2_000, False, 500)
    assert any("a uniform sample of 500 of them was judged" in note for note in found.notes)


# What it leaves behind.


def test_reports_are_kept_in_files_and_in_the_state_database(world: World, tmp_path: Path) -> None:
    log_rows(world.log, rows(), world.version())
    beside = tmp_path / "there" / "report.html"
    found = world.run(html=beside)
    assert "Drift of flights" in beside.read_text()
    folder = world.home / "reports" / "drift" / "flights"
    said = orjson.loads(next(folder.glob("*.json")).read_bytes())
    assert Verdict.model_validate(said) == found
    report = world.state.drift_report("flights")
    assert report is not None
    assert report.verdict == said
    assert (report.status, report.until) == ("steady", found.until)


def test_only_what_the_plan_asks_for_says_how_it_is_now(world: World) -> None:
    log_rows(world.log, rows(), world.version())
    first = world.run(window=timedelta(days=1))
    for asked in ({"window": timedelta(hours=9)}, {"until": NOW}, {"variant": "m"}):
        world.run(**asked)
    current = world.state.current_drift_report("flights")
    assert current is not None
    assert current.verdict == first.model_dump(mode="json")


def test_a_page_that_cannot_be_written_leaves_no_part_of_it(world: World, tmp_path: Path) -> None:
    world.version()
    place = tmp_path / "folder.html"
    place.mkdir()
    with pytest.raises(SwitchyardError, match=r"cannot be written to /.*/folder.html \(Is a dir"):
        world.run(html=place)
    assert [each.name for each in tmp_path.glob(".*")] == []


def test_files_of_the_oldest_reports_are_removed(world: World) -> None:
    world.version()
    folder = world.home / "reports" / "drift" / "flights"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("somebody's own")
    for number in range(KEPT):
        for end in ("html", "json", "-performance.html"):
            (folder / f"2026-02-01T00-00-{number:02}.000000Z.{end}").touch()
    world.run()
    stamps = {file.name[:19] for file in folder.glob("2026*")}
    assert len(stamps) == KEPT
    assert "2026-02-01T00-00-00" not in stamps
    assert (folder / "notes.txt").exists()
