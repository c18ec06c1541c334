"""Profiles of made-up references, and batches of made-up requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from models.columns import Columns, Projection
from models.drift.profile import Profile, profile
from models.manifest import Manifest
from models.schema import Field, Schema
from monitoring.live.blocks import BlockCounter
from monitoring.live.counter import Watched
from monitoring.live.sheets import fields_sheet, prediction_sheet
from monitoring.log.rows import LoggedBatch, LoggedRequest

SCHEMA = Schema.of(
    [
        Field(name="temp", type="float", nullable=True),
        Field(name="carrier", type="category", categories=("AA", "UA"), unknown="other"),
    ]
)
MODEL = "flights-sklearn:a"
NOW = 1_767_268_830.0
"""Half a minute into a slice of one."""


def frame(rows: int, seed: int = 0, shift: float = 0.0, missing: float = 0.05) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    temp = rng.normal(shift, 1.0, rows).astype(np.float32)
    late = rng.random(rows)
    return pd.DataFrame(
        {
            "temp": np.where(rng.random(rows) < missing, np.nan, temp),
            "carrier": rng.choice(["AA", "UA"], rows, p=[0.3, 0.7]),
            "prediction": (late > 0.5).astype(int),
            "probability_0": 1 - late,
            "probability_1": late,
        }
    )


def columns(rows: int, seed: int = 0, **changes: float) -> Columns:
    return Columns.from_frame(SCHEMA, frame(rows, seed, **changes))


def make_profile(rows: int = 3000) -> Profile:
    manifest = Manifest.model_validate(
        {
            "framework": "sklearn",
            "format": "skops",
            "task": "binary",
            "fields": [field.model_dump() for field in SCHEMA],
            "output": "probabilities",
            "classes": [0, 1],
            "created": "2026-01-01T00:00:00Z",
        }
    )
    return profile(frame(rows), manifest, contiguous=True)


def make_watched(reference: Profile, schema: Schema = SCHEMA, model: str = MODEL) -> Watched:
    sheet = fields_sheet(model, reference, SCHEMA.names)
    return Watched(
        schema=schema,
        fields=((sheet, Projection(schema, SCHEMA), BlockCounter(SCHEMA, sheet.bins)),),
        predictions={("sklearn", model): prediction_sheet("sklearn", model, reference)},
        seconds=60,
    )


def batch(rows: Columns, event_time: np.ndarray[Any, Any] | None = None, **changes: Any) -> Any:
    """A batch of one request that the model answered."""
    late = np.linspace(0, 1, len(rows), dtype=np.float32)
    request = LoggedRequest(
        "r", 0, len(rows), NOW, event_time, "sklearn", "split", None, 1.0, 1, None
    )
    values: dict[str, Any] = {
        "endpoint": "flights",
        "variant": "sklearn",
        "model": MODEL,
        "role": "primary",
        "status": "ok",
        "columns": rows,
        "requests": [request],
        "output": np.stack([1 - late, late], axis=1),
        "classes": (0, 1),
    }
    return LoggedBatch(**{**values, **changes})
