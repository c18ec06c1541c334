import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from models import runtime, store, training
from models.columns import Columns
from models.drift import profile
from models.manifest import MANIFEST_FILE
from switchyard import settings
from switchyard.state import State

NAMES = [f"{endpoint}-{name}" for endpoint in training.ENDPOINTS for name in training.FRAMEWORKS]
FLIGHTS = [name for name in NAMES if name.startswith("flights")]
DIGITS = [name for name in NAMES if name.startswith("digits")]


@dataclass
class Run:
    """One training of all examples, in a folder of its own."""

    home: Path
    state: State
    outcomes: dict[str, training.Outcome]
    heard: list[tuple[str, str, float]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    (home / "models").mkdir()
    heard = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWITCHYARD_HOME", str(home))
        BentoMLContainer.model_store.set(ModelStore(home / "models"))
        state = State.open(f"sqlite:///{home / 'state.db'}")
        outcomes = training.train(NAMES, state, lambda *step: heard.append(step))
        yield Run(home, state, {outcome.name: outcome for outcome in outcomes}, heard)
        state.close()
        BentoMLContainer.model_store.reset()


@pytest.fixture
def empty_state(tmp_path):
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield state
    state.close()


@pytest.fixture
def empty_store(run, tmp_path):
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    yield tmp_path / "models"
    BentoMLContainer.model_store.set(ModelStore(run.home / "models"))


def quiet(name, stage, done):
    pass


def train_nothing(name, stage, done):
    raise AssertionError(f"{name} should not be trained")


def stored(run, name):
    return store.path(name, run.outcomes[name].version), store.manifest(
        name, run.outcomes[name].version
    )


@pytest.mark.parametrize("name", FLIGHTS)
def test_flights_are_good_enough_on_the_holdout(run, name):
    metrics = run.outcomes[name].metrics
    assert set(metrics) == {"auc", "accuracy", "log_loss", "brier", "base_rate"}
    assert metrics["auc"] >= 0.67
    assert metrics["base_rate"] == pytest.approx(2849 / 12836)
    assert metrics["brier"] < metrics["base_rate"] * (1 - metrics["base_rate"])


@pytest.mark.parametrize("name", DIGITS)
def test_digits_are_good_enough_on_the_holdout(run, name):
    metrics = run.outcomes[name].metrics
    assert set(metrics) == {"accuracy", "log_loss"}
    assert metrics["accuracy"] >= 0.965


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_tells_what_the_version_is(run, name):
    endpoint, framework = name.rsplit("-", 1)
    _, manifest = stored(run, name)
    assert manifest.framework == framework
    assert manifest.metrics == run.outcomes[name].metrics
    assert manifest.task == ("binary" if endpoint == "flights" else "multiclass")
    assert manifest.classes == ((0, 1) if endpoint == "flights" else tuple(range(10)))
    transform = "models.flights.features:transform" if endpoint == "flights" else None
    assert manifest.transform == transform
    assert len(manifest.training_data) == hashlib.sha256().digest_size * 2
    assert "numpy" in manifest.libraries
    assert len(manifest.libraries) >= 3


@pytest.mark.parametrize("names", [FLIGHTS, DIGITS])
def test_the_frameworks_share_schema_and_training_data(run, names):
    manifests = [stored(run, name)[1] for name in names]
    assert all(manifest.fields == manifests[0].fields for manifest in manifests)
    assert len({manifest.training_data for manifest in manifests}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_version_repeats_its_reference(run, name):
    """In batches of another size than at training."""
    folder, manifest = stored(run, name)
    sample = store.reference(name, run.outcomes[name].version)
    model = runtime.load(folder, manifest, threads=1)
    head = sample.head(64)
    chance = model.predict(Columns.from_frame(manifest.fields, head))
    saved = head[[f"probability_{label}" for label in manifest.classes]].to_numpy()
    np.testing.assert_allclose(chance, saved, atol=1e-4)
    labels = np.array(manifest.classes)[saved.argmax(axis=1)]
    np.testing.assert_array_equal(head["prediction"], labels)


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_profiles_the_reference_and_stays_small(run, name):
    folder, manifest = stored(run, name)
    found = profile.read(manifest)
    assert found is not None
    judged = [field.name for field in manifest.fields if field.type != "timestamp"]
    assert list(found.fields) == judged
    assert found.label == ("contiguous" if name in FLIGHTS else "iid")
    assert found.rows == len(store.reference(name, run.outcomes[name].version))
    assert found.truth is not None
    assert found.predicted is not None
    assert found.skill is not None
    # A model is surer of rows that it was trained on; the hold-out of the digits is a quarter.
    assert found.answers == (1.0 if name in FLIGHTS else pytest.approx(0.25, abs=0.01))
    assert (folder / MANIFEST_FILE).stat().st_size < 200_000


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_holds_all_rows_in_order_with_their_truth(run, name):
    sample = store.reference(name, run.outcomes[name].version)
    assert not sample[["prediction", "target"]].isna().any(axis=None)
    if name in DIGITS:
        assert len(sample) == 1797
        assert (sample["prediction"] == sample["target"]).mean() > 0.98
        return
    times = sample["scheduled_departure"]
    assert len(sample) == 77_911
    assert times.is_monotonic_increasing
    assert times.iloc[0] < pd.Timestamp("2013-01-01 12:00")
    assert pd.Timestamp("2013-03-31") < times.iloc[-1] < pd.Timestamp("2013-04-01")
    assert sample["target"].mean() == pytest.approx(0.236, abs=0.001)


@pytest.mark.parametrize("name", NAMES)
def test_production_is_the_new_version_and_the_history_says_why(run, name):
    (change,) = run.state.alias_history(name)
    assert run.state.alias(name, "production") == run.outcomes[name].version
    assert (change.from_version, change.who) == (None, "train")
    assert "train" in change.why


@pytest.mark.parametrize("name", NAMES)
def test_progress_only_grows_and_ends_with_the_version(run, name):
    steps = [(stage, done) for heard, stage, done in run.heard if heard == name]
    shares = [done for _, done in steps]
    assert shares == sorted(shares)
    assert steps[0] == ("reading the data", 0.0)
    assert steps[-1] == (f"saved as {name}:{run.outcomes[name].version}", 1.0)


def test_ensure_keeps_what_is_in_production(run):
    before = run.state.aliases()
    outcomes = training.ensure(NAMES, run.state, train_nothing)
    assert {outcome.how for outcome in outcomes} == {"kept"}
    assert [outcome.name for outcome in outcomes] == NAMES
    assert run.state.aliases() == before


def test_ensure_registers_again_what_the_store_has(run, empty_state):
    outcomes = training.ensure(NAMES, empty_state, train_nothing)
    assert {outcome.how for outcome in outcomes} == {"registered"}
    assert empty_state.aliases() == run.state.aliases()
    assert empty_state.alias_history(NAMES[0])[0].why == "newest intact version in the store"


def test_ensure_trains_only_what_is_missing(empty_store, empty_state):
    name = "digits-sklearn"
    (first,) = training.ensure([name], empty_state, quiet)
    (second,) = training.ensure([name], empty_state, train_nothing)
    assert (first.how, second.how) == ("trained", "kept")
    assert first.version == second.version
    assert first.metrics == second.metrics


def test_ensure_takes_the_newest_version_that_is_intact(empty_store, empty_state, tmp_path):
    name = "digits-sklearn"
    first, second = (training.train([name], empty_state, quiet)[0] for _ in range(2))
    other = State.open(f"sqlite:///{tmp_path / 'other.db'}")
    altered = empty_store / name / second.version / "model.skops"
    altered.write_bytes(altered.read_bytes() + b" ")
    (outcome,) = training.ensure([name], other, train_nothing)
    other.close()
    assert (outcome.how, outcome.version) == ("registered", first.version)


def test_ensure_replaces_an_alias_whose_version_is_gone(empty_store, empty_state):
    name = "digits-sklearn"
    empty_state.set_alias(name, "production", "gone", "someone", "by hand")
    (outcome,) = training.ensure([name], empty_state, quiet)
    assert outcome.how == "trained"
    assert empty_state.alias(name, "production") == outcome.version


def test_training_again_gives_the_same_model(empty_store, empty_state):
    for name in ("digits-sklearn", "digits-torch"):
        first, second = (training.train([name], empty_state, quiet)[0] for _ in range(2))
        assert first.version != second.version
        assert first.metrics == pytest.approx(second.metrics, rel=1e-6)
        assert (first.current, second.current) == (None, first.version)
        assert empty_state.alias(name, "production") == first.version


def test_ensure_imports_no_framework_when_nothing_is_missing(run):
    code = (
        "import sys; from models import training; from switchyard.state import State;"
        f"training.ensure({NAMES!r}, State.open(), print);"
        "print(sorted({'torch', 'tensorflow', 'keras', 'sklearn'} & set(sys.modules)))"
    )
    environment = {**os.environ, "BENTOML_HOME": str(run.home), "SWITCHYARD_HOME": str(run.home)}
    environment.pop("SWITCHYARD_DATABASE_URL", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=settings.ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["[]"]


def test_score_by_hand():
    target = np.array([0, 0, 1, 1])
    chance = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    assert training.score(target, chance) == pytest.approx(
        {
            "auc": 3 / 4,
            "accuracy": 3 / 4,
            "log_loss": -np.log([0.9, 0.6, 0.3, 0.8]).mean(),
            "brier": (0.1**2 + 0.4**2 + 0.7**2 + 0.2**2) / 4,
            "base_rate": 0.5,
        }
    )


def test_score_of_several_classes_where_one_never_occurs():
    chance = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], dtype=np.float32)
    metrics = training.score(np.array([0, 0]), chance)
    assert metrics == pytest.approx(
        {"accuracy": 0.5, "log_loss": -np.log([0.5, 0.1]).mean()}, rel=1e-5
    )
