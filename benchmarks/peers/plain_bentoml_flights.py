"""(b) Plain BentoML with the three flights models, chosen at random as Switchyard's split does.

Follows BentoML's pages on model composition and adaptive batching (several inputs in a pydantic
model, a batchable service that takes a list of them); all settings are its defaults.
Run as `bentoml serve benchmarks.peers.plain_bentoml_flights:Router`.
"""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pandas as pd
from bentoml.models import BentoModel
from numpy.typing import NDArray
from pydantic import BaseModel

from models import runtime
from models.columns import Columns
from models.manifest import Manifest

__all__ = ["Router", "SklearnModel", "TensorFlowModel", "TorchModel"]


class Flight(BaseModel):
    """A departure and the weather of its hour."""

    scheduled_departure: datetime
    carrier: str
    origin: str
    dest: str
    distance: float
    temp: float | None
    dewp: float | None
    humid: float | None
    wind_dir: float | None
    wind_speed: float | None
    precip: float | None
    pressure: float | None
    visib: float | None


def load(path: str) -> runtime.Model:
    folder = Path(path)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    return runtime.load(folder, manifest)


def probabilities(model: runtime.Model, flights: list[Flight]) -> NDArray[np.float64]:
    frame = pd.DataFrame([flight.model_dump() for flight in flights])
    return model.predict(Columns.from_frame(model.manifest.fields, frame))


@bentoml.service
class SklearnModel:
    """The scikit-learn model."""

    reference = BentoModel("flights-sklearn:latest")

    def __init__(self) -> None:
        self.model = load(self.reference.path)

    @bentoml.api(batchable=True)  # type: ignore[untyped-decorator]
    def predict(self, flights: list[Flight]) -> NDArray[np.float64]:
        """Returns the probabilities (rows, 2) of on time and late."""
        return probabilities(self.model, flights)


@bentoml.service
class TorchModel:
    """The PyTorch model."""

    reference = BentoModel("flights-torch:latest")

    def __init__(self) -> None:
        self.model = load(self.reference.path)

    @bentoml.api(batchable=True)  # type: ignore[untyped-decorator]
    def predict(self, flights: list[Flight]) -> NDArray[np.float64]:
        """Returns the probabilities (rows, 2) of on time and late."""
        return probabilities(self.model, flights)


@bentoml.service
class TensorFlowModel:
    """The TensorFlow model."""

    reference = BentoModel("flights-tensorflow:latest")

    def __init__(self) -> None:
        self.model = load(self.reference.path)

    @bentoml.api(batchable=True)  # type: ignore[untyped-decorator]
    def predict(self, flights: list[Flight]) -> NDArray[np.float64]:
        """Returns the probabilities (rows, 2) of on time and late."""
        return probabilities(self.model, flights)


@bentoml.service
class Router:
    """The entry: one of the three models answers, by a split of 50, 30 and 20 percent."""

    sklearn = bentoml.depends(SklearnModel)
    torch = bentoml.depends(TorchModel)
    tensorflow = bentoml.depends(TensorFlowModel)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, inputs: list[Flight]) -> dict[str, Any]:
        """Tells which flights will be 15 minutes late or more."""
        variant = random.choices(["sklearn", "torch", "tensorflow"], weights=[50, 30, 20])[0]
        model = {"sklearn": self.sklearn, "torch": self.torch, "tensorflow": self.tensorflow}
        answer = await model[variant].to_async.predict(inputs)
        return {
            "variant": variant,
            "predictions": answer.argmax(axis=1).tolist(),
            "probabilities": answer.tolist(),
        }
