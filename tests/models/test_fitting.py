from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import files, runtime
from models.columns import Columns
from models.fitting import Recipe, fold, keras_trainer, scaling, torch_trainer
from models.manifest import Manifest
from models.schema import Field, Schema

SCHEMA = Schema.of([Field(name="x", type="float"), Field(name="y", type="float")])
TRAINERS = {"torch": torch_trainer, "tensorflow": keras_trainer}


def test_scaling_leaves_flags_and_constants_alone():
    matrix = np.array([[0, 7, 10], [1, 7, 20], [0, 7, 30]], dtype=np.float32)
    mean, deviation = scaling(matrix)
    np.testing.assert_allclose(mean, [0, 0, 20])
    np.testing.assert_allclose(deviation, [1, 1, np.sqrt(200 / 3)], rtol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_a_folded_layer_takes_raw_columns(seed):
    random = np.random.default_rng(seed)
    rows = random.normal(random.uniform(-1000, 1000, 4), random.uniform(0.5, 50, 4), (20, 4))
    rows = rows.astype(np.float32)
    weight = random.normal(size=(3, 4)).astype(np.float32)
    bias = random.normal(size=3).astype(np.float32)
    mean, deviation = scaling(rows)
    raw_weight, raw_bias = fold(weight, bias, mean, deviation)
    scaled = (rows.astype(np.float64) - mean) / deviation
    np.testing.assert_allclose(rows @ raw_weight.T + raw_bias, scaled @ weight.T + bias, atol=2e-2)


def manifest(framework, artefact, folder):
    return Manifest(
        framework=framework,
        format=artefact.format,
        task="binary",
        fields=SCHEMA,
        output=artefact.output,
        classes=(0, 1),
        model_class=artefact.model_class,
        model_kwargs=artefact.model_kwargs,
        files=files.digests(folder),
        created=datetime.now(UTC),
    )


@pytest.mark.parametrize("framework", TRAINERS)
def test_a_network_learns_what_no_line_separates(framework, tmp_path):
    """Inside or outside a circle, in columns far from zero and of unequal size."""
    random = np.random.default_rng(0)
    circle = random.normal(size=(2000, 2))
    target = (np.hypot(*circle.T) > 1.2).astype(np.int64)
    matrix = (circle * [100, 0.01] + [1000, 3]).astype(np.float32)
    heard = []
    recipe = Recipe(hidden=(16, 8), classes=2, epochs=20, batch=100, rate=1e-2, decay=0.01)
    artefact = TRAINERS[framework](recipe)(matrix, target, tmp_path, heard.append)
    model = runtime.load(tmp_path, manifest(framework, artefact, tmp_path))
    columns = Columns(SCHEMA, {"f4": matrix}, len(matrix))
    assert (model.predict(columns).argmax(axis=1) == target).mean() > 0.97
    assert heard == pytest.approx([(epoch + 1) / 20 for epoch in range(20)])
