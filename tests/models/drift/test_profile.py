import numpy as np
import pandas as pd
import pytest
from drift_worlds import DAY, SCHEMA, answered, manifest, profiled, rows

from models.columns import Columns
from models.drift.joint import control_name, statistic
from models.drift.profile import Profile, profile, read
from models.drift.scores import kolmogorov_smirnov, psi
from models.schema import Field, Schema

LEVEL = 0.05


@pytest.fixture(scope="module")
def reference():
    return rows(120, seed=1)


@pytest.fixture(scope="module")
def contiguous(reference):
    return profiled(reference)


@pytest.fixture(scope="module")
def iid(reference):
    return profiled(reference, contiguous=False)


def p_values(found, reference, window):
    """P-value of each field of a window, as a report judges it."""
    columns, before = Columns.from_frame(SCHEMA, window), Columns.from_frame(SCHEMA, reference)
    out = {}
    for name, field in found.fields.items():
        counts = field.bins.count(columns[name])
        if field.method == "ks":
            score = kolmogorov_smirnov(before[name], columns[name])
        else:
            score = float(psi(np.array(field.counts), counts))
        out[name] = field.p_value(field.method, len(window), score, counts[-1] / len(window))
    return out


def alarms(found, reference, control, days=300):
    """Share of new days of the same world on which a report alarms."""
    world = rows(days, seed=2)
    name = control_name(control, 0.3)
    level = found.level(DAY, LEVEL, control, 0.3)
    total = 0
    for start in range(0, len(world), DAY):
        window = p_values(found, reference, world.iloc[start : start + DAY])
        total += statistic(name, np.array([list(window.values())]))[0] <= level
    return total / days


@pytest.mark.parametrize("control", ["bh", "share"])
def test_new_days_of_the_same_world_alarm_as_seldom_as_stated(contiguous, reference, control):
    """300 days: the slack is two standard errors."""
    assert alarms(contiguous, reference, control) <= LEVEL + 2 * np.sqrt(LEVEL * 0.95 / 300)


def test_thresholds_of_independent_rows_alarm_nearly_every_day(iid, reference):
    assert alarms(iid, reference, "bh", days=50) > 0.8


@pytest.mark.parametrize("field", ["price", "warmth"])
def test_planted_gaps_and_shifts_are_found(contiguous, reference, field):
    window = rows(10, seed=3)
    whole = p_values(contiguous, reference, window)
    moved = window.assign(price=window["price"] + 0.5 * reference["price"].std())
    assert p_values(contiguous, reference, moved)["price"] < 0.001 < whole["price"]
    gaps = window.assign(warmth=window["warmth"].where(np.arange(len(window)) % 10 > 0))
    assert p_values(contiguous, reference, gaps)["warmth"] < 0.001


def test_a_new_category_is_found(contiguous, reference):
    window = rows(5, seed=3)
    window["shop"] = window["shop"].where(np.arange(len(window)) % 10 > 0, "new")
    assert p_values(contiguous, reference, window)["shop"] < 0.01


def test_timestamps_are_never_judged(contiguous):
    assert list(contiguous.fields) == ["warmth", "price", "shop", "member"]


def test_the_facts_are_those_of_the_rows(contiguous, reference):
    price = contiguous.fields["price"]
    assert (price.rows, price.missing) == (len(reference), 0.0)
    assert price.mean == pytest.approx(reference["price"].mean())
    assert price.deviation == pytest.approx(reference["price"].std(ddof=0))
    assert (price.minimum, price.maximum) == (reference["price"].min(), reference["price"].max())
    assert contiguous.fields["shop"].mean is None
    assert contiguous.predicted is not None
    assert sum(contiguous.predicted.counts) == len(reference)


def test_a_profile_survives_the_manifest(contiguous):
    stored = manifest(drift_null=contiguous.model_dump(mode="json"))
    again = read(stored.model_validate_json(stored.model_dump_json()))
    assert again is not None
    assert again.fields["price"].bins == contiguous.fields["price"].bins
    assert again.level(1_000, 0.05, "bh", 0.3) == pytest.approx(
        contiguous.level(1_000, 0.05, "bh", 0.3), rel=0.05
    )


def test_a_version_stored_before_there_were_profiles_has_none():
    assert read(manifest()) is None


def test_answers_of_independent_rows_are_profiled_by_those_not_trained_on(reference):
    found = profiled(reference, contiguous=False, held=3_000)
    assert found.answers == pytest.approx(0.25)
    assert found.score.rows == 3_000
    assert found.fields["price"].rows == len(reference)


def test_losses_of_rows_trained_on_are_raised_to_those_of_the_others(reference):
    frame = answered(reference)
    sure = np.where(frame["target"] == 1, 0.9, 0.1)
    frame.loc[frame.index < 9_000, "probability_1"] = sure[:9_000]
    frame["probability_0"] = 1 - frame["probability_1"]
    naive = profile(frame, manifest(), contiguous=True).skill
    honest = profile(frame, manifest(), contiguous=True, held=3_000).skill
    assert naive is not None
    assert honest is not None
    assert honest.threshold("skill", 500, 0.5) > 1.5 * naive.threshold("skill", 500, 0.5)


@pytest.mark.parametrize("count", [1, 3, 60])
@pytest.mark.parametrize("contiguous", [True, False])
def test_a_small_reference_judges_nothing_that_it_cannot_know(count, contiguous):
    found = profiled(rows(1, seed=1).iloc[:count], contiguous=contiguous)
    assert found.rows == count
    assert found.fields["price"].null.threshold("ks", 1_000, 0.05) == np.inf
    assert found.level(1_000, 0.05, "bh", 0.3) == 0.05


def test_constant_and_empty_columns_are_no_trouble(reference):
    frame = reference.assign(price=7.0, warmth=np.nan, shop="a", member=True)
    found = profiled(frame)
    assert found.fields["warmth"].missing == 1.0
    assert found.fields["warmth"].mean is None
    same = p_values(found, frame, frame.iloc[:1_000])
    assert min(same.values()) > 0.05
    other = frame.iloc[:1_000].assign(price=7.1, warmth=1.0)
    changed = p_values(found, frame, other)
    assert max(changed["price"], changed["warmth"]) < 0.001
    assert Profile.model_validate_json(found.model_dump_json()).rows == len(frame)


def test_a_value_whose_square_is_more_than_a_float_holds_is_no_trouble(reference):
    frame = reference.head(600).copy()
    frame.loc[3, "price"] = 1e300
    found = profiled(frame).fields["price"]
    assert (found.deviation, found.maximum) == (None, 1e300)
    assert "ks" in found.null.methods


def test_a_regression_is_profiled_by_its_values(reference):
    frame = reference.assign(prediction=reference["price"] * 0.9, target=reference["price"])
    about = {"task": "regression", "output": "values", "classes": None}
    found = profile(frame, manifest(**about), contiguous=True)
    assert found.predicted is None
    assert found.truth is not None
    assert found.truth.mean == pytest.approx(reference["price"].mean())
    assert found.skill is not None
    assert found.skill.threshold("skill", 500, 0.05) < 0.2


@pytest.mark.parametrize("target", [None, np.nan])
def test_truth_that_is_not_known_has_no_profile(reference, target):
    frame = answered(reference).drop(columns="target")
    if target is not None:
        frame = frame.assign(target=target)
    found = profile(frame, manifest(), contiguous=True)
    assert found.truth is None
    assert found.skill is None


def test_truth_that_is_known_in_part_is_profiled_without_skill(reference):
    frame = answered(reference)
    frame["target"] = frame["target"].where(np.arange(len(frame)) % 2 == 0)
    found = profile(frame, manifest(), contiguous=True)
    assert found.truth is not None
    assert found.truth.missing == pytest.approx(0.5)
    assert found.truth.counts[2] == 0  # 1.0 is the label 1, not another one
    assert found.skill is None


def test_a_model_of_tensors_has_answers_only():
    schema = Schema.of([Field(name="image", type="tensor", shape=(2,))])
    frame = pd.DataFrame({"image": [np.zeros(2, np.float32)] * 300, "price": np.arange(300.0)})
    found = profile(answered(frame), manifest(schema), contiguous=False)
    assert found.fields == {}
    assert found.score.null.methods
