"""The rows that servers are asked about: from the reference samples of the models in the store."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import payloads
from benchmarks.errors import BenchmarkError
from benchmarks.payloads import Payload
from benchmarks.targets import MODELS
from models import store

if TYPE_CHECKING:
    import pandas as pd

    from models.schema import Schema

__all__ = ["digits", "digits_npy", "flights", "flights_arrow", "store_folder", "versions"]

ROWS = 256
"""Rows drawn from a reference sample at least: bodies of one row take turns over all of them."""

BODIES = 8
"""Bodies of many rows that take turns, where the sample has as many rows."""


@cache
def versions() -> dict[str, str]:
    """Returns the newest version of each model that the targets serve.

    Raises:
        BenchmarkError: The store lacks one.
    """
    found = {}
    for name in MODELS:
        kept = store.versions(name)
        if not kept:
            raise BenchmarkError(f"The store has no model {name!r}: run `switchyard train` first.")
        found[name] = kept[-1].version
    return found


def store_folder() -> Path:
    """Returns BentoML's folder of models."""
    name = MODELS[0]
    return store.path(name, versions()[name]).parent.parent


@cache
def digits(rows: int) -> Payload:
    """Digits as nested lists in JSON."""
    frame, schema = _sample("digits-sklearn", rows)
    return payloads.as_matrix_json(frame, schema, rows)


@cache
def digits_npy(rows: int) -> Payload:
    """The same digits as npy arrays."""
    frame, schema = _sample("digits-sklearn", rows)
    return payloads.as_npy(frame, schema, rows)


@cache
def flights(rows: int) -> Payload:
    """Flights as JSON records."""
    frame, schema = _sample("flights-sklearn", rows)
    return payloads.as_records(frame, schema, rows)


@cache
def flights_arrow(rows: int) -> Payload:
    """The same flights as Arrow streams."""
    frame, schema = _sample("flights-sklearn", rows)
    return payloads.as_arrow(frame, schema, rows)


@cache
def _sample(name: str, rows: int) -> tuple[pd.DataFrame, Schema]:
    """Draws rows for bodies of so many each."""
    version = versions()[name]
    frame = store.reference(name, version)
    drawn = min(max(ROWS, BODIES * rows), len(frame))
    frame = frame.sample(drawn, random_state=0).reset_index(drop=True)
    return frame, store.manifest(name, version).fields
