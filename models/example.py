"""What the package of an example, `models/<endpoint>/`, offers to `models.training`.

Its module `train` has a function `dataset() -> Dataset` and `TRAINERS`, a dictionary from framework
to `Trainer`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from models.columns import Columns
from models.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Artefact", "Dataset", "Floats", "Labels", "Step", "Trainer"]

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

Step = Callable[[float], None]
"""Hears the share of a training that is done, 0 to 1."""


@dataclass(frozen=True)
class Dataset:
    """What an example is trained on and judged by.

    Attributes:
        schema: Fields of the endpoint.
        classes: Labels in rising order, the order of the probabilities.
        train: Rows to train on, in time order where they have a time: the fields and `target`.
        holdout: Rows to judge by, of the same columns.
        transform: Turns columns into a float32 matrix; None if the rows are that matrix.
    """

    schema: Schema
    classes: tuple[int, ...]
    train: pd.DataFrame
    holdout: pd.DataFrame
    transform: Callable[[Columns], Floats] | None = None

    @cached_property
    def matrix(self) -> Floats:
        """Features of the rows to train on, (rows, columns)."""
        columns = self.columns(self.train)
        return columns.blocks["f4"] if self.transform is None else self.transform(columns)

    @cached_property
    def target(self) -> Labels:
        """Class of each row to train on."""
        return self.truth(self.train)

    @cached_property
    def digest(self) -> str:
        """sha256 of what is trained on: schema, columns and target.

        It depends on the values alone, not on the file they came in or on a library's version.
        """
        blocks = self.columns(self.train).blocks
        total = hashlib.sha256(self.schema.model_dump_json().encode())
        for name in sorted(blocks):
            total.update(np.ascontiguousarray(blocks[name]).tobytes())
        total.update(self.target.tobytes())
        return total.hexdigest()

    def columns(self, frame: pd.DataFrame) -> Columns:
        """Packs rows as the router does."""
        return Columns.from_frame(self.schema, frame)

    def truth(self, frame: pd.DataFrame) -> Labels:
        """Returns the index of each row's class."""
        return np.searchsorted(self.classes, frame["target"].to_numpy()).astype(np.int64)


@dataclass(frozen=True)
class Artefact:
    """What a trainer has left in its folder, in the words of `models.manifest.Manifest`."""

    format: Literal["skops", "safetensors", "savedmodel"]
    output: Literal["probabilities", "logits"]
    model_class: str | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()


class Trainer(Protocol):
    """Trains one model and saves it."""

    def __call__(self, matrix: Floats, target: Labels, folder: Path, step: Step) -> Artefact:
        """Trains and saves.

        Args:
            matrix: Features, (rows, columns).
            target: Index of the class of each row.
            folder: Where the artefact goes.
            step: Hears of the progress.
        """
