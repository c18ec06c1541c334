"""(c) A FastAPI app of the usual tutorial shape: a pydantic model, a sync endpoint, the estimator.

Run as `uvicorn benchmarks.peers.fastapi_sklearn:app --no-access-log`.
"""

from __future__ import annotations

import json
from pathlib import Path

import bentoml.models
import numpy as np
import skops.io
from fastapi import FastAPI
from pydantic import BaseModel

__all__ = ["app"]

folder = Path(bentoml.models.get("digits-sklearn:latest").path)
manifest = json.loads((folder / "manifest.json").read_text())
model = skops.io.load(folder / "model.skops", trusted=manifest["trusted"])

app = FastAPI()


class Digits(BaseModel):
    """Images of digits, 64 grey values each."""

    inputs: list[list[float]]


class Answer(BaseModel):
    """The digit of each image, and the probability of each of the ten."""

    predictions: list[int]
    probabilities: list[list[float]]


@app.post("/predict")
def predict(digits: Digits) -> Answer:
    """Classifies images."""
    probabilities = model.predict_proba(np.array(digits.inputs, dtype=np.float32))
    return Answer(
        predictions=probabilities.argmax(axis=1).tolist(), probabilities=probabilities.tolist()
    )
