"""Data whose rows share their weather, as rows of one day do, and profiles of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from models.drift.profile import Profile, profile
from models.manifest import Manifest
from models.schema import Field, Schema

DAY = 100
"""Rows of a day."""

SCHEMA = Schema.of(
    [
        Field(name="when", type="timestamp"),
        Field(name="warmth", type="float", dtype="float64", nullable=True),
        Field(name="price", type="float", dtype="float64"),
        Field(name="shop", type="category", categories=("a", "b", "c"), unknown="other"),
        Field(name="member", type="bool"),
    ]
)


def rows(days: int, seed: int) -> pd.DataFrame:
    """Rows of days: the warmth of each day is its own, and lasts; the rest is independent."""
    rng = np.random.default_rng(seed)
    warmth, level = [], 0.0
    for _ in range(days):
        level = 0.5 * level + rng.normal()
        warmth.append(level + 0.3 * rng.normal(size=DAY))
    count = days * DAY
    when = np.datetime64("2026-01-01", "us") + np.arange(count) * np.timedelta64(864, "s")
    return pd.DataFrame(
        {
            "when": when,
            "warmth": np.concatenate(warmth),
            "price": rng.exponential(size=count),
            "shop": rng.choice(["a", "b", "c"], size=count, p=[0.6, 0.3, 0.1]),
            "member": rng.random(count) < 0.4,
        }
    )


def manifest(schema: Schema = SCHEMA, **about: Any) -> Manifest:
    """Returns the manifest of a model of two classes, unless told otherwise."""
    said: dict[str, Any] = {
        "framework": "sklearn",
        "format": "skops",
        "task": "binary",
        "fields": schema,
        "output": "probabilities",
        "classes": (0, 1),
        "created": datetime.now(UTC),
    }
    return Manifest.model_validate(said | about)


def answered(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Adds truth, and answers that know a part of it."""
    rng = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(-2 * frame["price"].to_numpy() + 1))
    return frame.assign(
        prediction=(chance > 0.5).astype(np.int64),
        probability_0=1 - chance,
        probability_1=chance,
        target=(rng.random(len(frame)) < chance).astype(np.int64),
    )


def profiled(frame: pd.DataFrame, *, contiguous: bool = True, **about: Any) -> Profile:
    """Profiles rows of `rows`."""
    return profile(answered(frame), manifest(), contiguous=contiguous, **about)
