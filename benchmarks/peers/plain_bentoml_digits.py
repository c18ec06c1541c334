"""(b) Plain BentoML with the digits model: a service that calls a batchable one by `depends`.

Follows BentoML's pages on model composition and adaptive batching; all settings are its defaults.
Run as `bentoml serve benchmarks.peers.plain_bentoml_digits:Router`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml.models import BentoModel
from numpy.typing import NDArray

from models import runtime
from models.columns import Columns
from models.manifest import Manifest

__all__ = ["Router", "SklearnModel"]


@bentoml.service
class SklearnModel:
    """The scikit-learn model."""

    reference = BentoModel("digits-sklearn:latest")

    def __init__(self) -> None:
        folder = Path(self.reference.path)
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        self.model = runtime.load(folder, manifest)

    @bentoml.api(batchable=True)  # type: ignore[untyped-decorator]
    def predict(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns probabilities (rows, 10) of images (rows, 64)."""
        rows = np.ascontiguousarray(images, dtype=np.float32)
        return self.model.predict(Columns(self.model.manifest.fields, {"f4": rows}, len(rows)))


@bentoml.service
class Router:
    """The entry."""

    model = bentoml.depends(SklearnModel)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, inputs: NDArray[np.float64]) -> dict[str, Any]:
        """Classifies images."""
        probabilities = await self.model.to_async.predict(inputs)
        return {
            "predictions": probabilities.argmax(axis=1).tolist(),
            "probabilities": probabilities.tolist(),
        }
