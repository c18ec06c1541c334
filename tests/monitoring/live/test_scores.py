from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from counted import MODEL, columns, frame

from models.drift.profile import Profile
from models.drift.scores import binned_kolmogorov_smirnov, psi
from monitoring.live.scores import MISSING, LiveScore, live_scores
from monitoring.live.sheets import FIELDS, PREDICTED, SCORE
from monitoring.live.window import Total
from switchyard.plan_monitoring import Drift


def totals(reference: Profile, rows: int = 800, **changes: float) -> list[Total]:
    """What a window of rows with these changes holds."""
    window = columns(rows, 1, **changes)
    late = frame(rows, 1)["probability_1"].to_numpy(np.float32)
    assert reference.predicted is not None
    predicted = reference.predicted.bins.count((late > 0.5).astype(np.int32))
    found = [
        Total(FIELDS, MODEL, name, rows, profile.bins.count(window[name]))
        for name, profile in reference.fields.items()
    ]
    score = Total("sklearn", MODEL, SCORE, rows, reference.score.bins.count(late))
    return [*found, score, Total("sklearn", MODEL, PREDICTED, rows, predicted)]


def scores(
    reference: Profile, found: list[Total], **settings: object
) -> dict[tuple[str, str, str], LiveScore]:
    drift = Drift.model_validate(settings)
    return {
        (one.variant, one.name, one.method): one
        for one in live_scores(found, drift, {MODEL: reference}.get)
    }


def exceeded(found: dict[tuple[str, str, str], LiveScore]) -> set[tuple[str, str]]:
    return {
        (one.name, one.method)
        for one in found.values()
        if one.score is not None and one.threshold is not None and one.score > one.threshold
    }


def test_every_column_has_a_score_and_a_threshold(reference: Profile) -> None:
    found = scores(reference, totals(reference))
    assert {*found} == {
        (FIELDS, "temp", "ks"),
        (FIELDS, "temp", MISSING),
        (FIELDS, "carrier", "psi"),
        ("sklearn", SCORE, "ks"),
        ("sklearn", PREDICTED, "psi"),
    }
    assert exceeded(found) == set()
    temp = reference.fields["temp"]
    window = temp.bins.count(columns(800, 1)["temp"])
    expected = binned_kolmogorov_smirnov(np.array(temp.counts), window)
    assert found[FIELDS, "temp", "ks"].score == pytest.approx(float(expected))


def test_a_sample_is_judged_by_its_own_rows(reference: Profile) -> None:
    (whole, *_) = totals(reference)
    drift = Drift.model_validate({"fields": {"temp": {"method": "chi2"}}})
    (one,) = live_scores([whole], drift, {MODEL: reference}.get)
    sample = replace(whole, counts=8 * whole.counts)
    assert sample.share == 1 / 8
    (other,) = live_scores([sample], drift, {MODEL: reference}.get)
    assert other.score == pytest.approx(one.score)
    assert other.threshold == one.threshold


def test_drift_exceeds_the_threshold_of_its_field_alone(reference: Profile) -> None:
    assert exceeded(scores(reference, totals(reference, shift=1.0))) == {("temp", "ks")}
    assert exceeded(scores(reference, totals(reference, missing=0.4))) == {("temp", MISSING)}


def test_an_all_missing_column_is_found(reference: Profile) -> None:
    found = scores(reference, totals(reference, missing=1.0))
    assert found[FIELDS, "temp", "ks"].score == 0.0  # it leaves missing values out
    assert ("temp", MISSING) in exceeded(found)


def test_a_window_below_the_minimum_has_no_score(reference: Profile) -> None:
    found = scores(reference, totals(reference, 199), minimum=200)
    assert {one.score for one in found.values()} == {None}
    found = scores(reference, totals(reference, 200), minimum=200)
    assert None not in {one.score for one in found.values()}


def test_a_window_too_small_for_the_null_has_no_threshold(reference: Profile) -> None:
    found = scores(reference, totals(reference, 20), minimum=1)
    assert {one.threshold for one in found.values()} == {None}


def test_the_plan_says_how_a_field_is_judged(reference: Profile) -> None:
    window = totals(reference)
    found = scores(reference, window, fields={"temp": {"method": "psi", "threshold": 0.2}})
    temp = reference.fields["temp"]
    (counted,) = [one.counts for one in window if one.name == "temp"]
    one = found[FIELDS, "temp", "psi"]
    assert one.score == pytest.approx(float(psi(np.array(temp.counts), counted)))
    assert one.threshold == 0.2
    assert not {(FIELDS, "temp", "ks"), (FIELDS, "temp", MISSING)} & {*found}


def test_what_needs_values_is_judged_by_what_counts_allow(reference: Profile) -> None:
    fields = {"temp": {"method": "wasserstein", "threshold": 9.0}, "carrier": {"method": "ks"}}
    found = scores(reference, totals(reference), fields=fields)
    threshold = found[FIELDS, "temp", "ks"].threshold
    assert threshold is not None
    assert threshold < 1  # 9 standard deviations are no threshold of ks
    assert (FIELDS, "carrier", "psi") in found


def test_the_threshold_of_the_default_method_may_be_planned(reference: Profile) -> None:
    found = scores(reference, totals(reference), fields={"temp": {"threshold": 0.5}})
    assert found[FIELDS, "temp", "ks"].threshold == 0.5


def test_a_stricter_level_has_higher_thresholds(reference: Profile) -> None:
    window = totals(reference)
    loose, strict = (scores(reference, window, level=level) for level in (0.2, 0.01))
    for key, one in loose.items():
        other = strict[key].threshold
        assert one.threshold is not None
        assert other is not None
        assert one.threshold < other


def test_a_model_without_profile_or_with_other_bins_has_no_scores(reference: Profile) -> None:
    (one, *_) = totals(reference)
    assert live_scores([one], Drift(), lambda tag: None) == []
    other = Total(FIELDS, MODEL, "temp", 800, np.array([400, 400]))
    gone = Total(FIELDS, MODEL, "wind", 800, np.array([400, 400]))
    assert live_scores([other, gone], Drift(), lambda tag: reference) == []
