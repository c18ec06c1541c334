"""Evidently's report of the performance, for tasks of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from drift_worlds import manifest

from monitoring.drift.presets import performance_preset
from monitoring.drift.references import Model
from monitoring.drift.window import Window
from monitoring.log.scan import connect

ROWS = 60
LABELS = ("a", "b", "c")


def reference(task: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Reference rows with answers and truth, and what the manifest says of the task."""
    rng = np.random.default_rng(1)
    if task == "regression":
        value = rng.normal(size=ROWS)
        truth = value + rng.normal(size=ROWS)
        frame = pd.DataFrame({"prediction": value, "target": truth})
        return frame, {"output": "values", "classes": None}
    said, truth = rng.choice(LABELS, ROWS), rng.choice(LABELS, ROWS)
    frame = pd.DataFrame({"prediction": said, "target": truth})
    return frame, {"classes": LABELS}


@pytest.mark.parametrize(
    ("task", "shows"), [("regression", "Mean Error"), ("multiclass", "Confusion Matrix")]
)
def test_each_task_has_its_own_preset(task: str, shows: str) -> None:
    frame, about = reference(task)
    model = Model("m:1", manifest(task=task, **about), None)
    with connect() as db:
        given = pd.DataFrame(
            {
                "label": frame["target"].astype(str),
                "truth": frame["target"] if task == "regression" else np.nan,
                "prediction": frame["prediction"].astype(str),
            }
        )
        db.register("given", given)
        db.execute(
            "CREATE TEMP VIEW answered AS "
            "SELECT *, 'm' AS variant, 'm:1' AS model, true AS ok, 0.5 AS score FROM given"
        )
        found = performance_preset(Window(db, ROWS, ROWS, {}), "m", model, frame)
    assert found is not None
    assert found.html is not None, found.notes
    assert shows in found.html
    assert found.notes[0].startswith(f"Evidently's report of m (m) is of {ROWS} rows with truth")


@pytest.mark.parametrize("truth", [["a"] * ROWS, ["unheard of"] * ROWS, [None] * ROWS])
def test_a_truth_of_one_class_or_of_none_has_no_report(truth: list[str | None]) -> None:
    frame, about = reference("multiclass")
    model = Model("m:1", manifest(task="multiclass", **about), None)
    with connect() as db:
        db.execute(
            "CREATE TEMP TABLE answered AS SELECT 'm' AS variant, 'm:1' AS model, true AS ok, "
            "unnest(?::VARCHAR[]) AS label, NULL::DOUBLE AS truth, 'a' AS prediction, 0.5 AS score",
            [truth],
        )
        assert performance_preset(Window(db, ROWS, ROWS, {}), "m", model, frame) is None
