"""Models of one line, y = slope x, made in seconds: some of them fail on what others can answer."""

from __future__ import annotations

import shutil

from e2e.server import Server
from e2e.versions import python

_MAKE = """
import sys, tempfile
from datetime import UTC, datetime
from pathlib import Path
import numpy as np, pandas as pd
from sklearn.linear_model import LinearRegression
from models import sklearn, store
from models.manifest import Manifest

slope = float(sys.argv[1])
rows = np.linspace(0, 1, 8)
fitted = LinearRegression(fit_intercept=False).fit(rows[:, None], rows)
fitted.coef_ = np.array([slope])
with tempfile.TemporaryDirectory() as scratch:
    trusted = sklearn.save(fitted, Path(scratch))
    manifest = Manifest(
        framework="sklearn", format="skops", task="regression", output="values", trusted=trusted,
        fields=({"name": "x", "type": "float", "dtype": "float64"},), created=datetime.now(UTC),
    )
    reference = pd.DataFrame({"x": rows, "prediction": slope * rows})
    print(store.create("line", manifest, Path(scratch), reference))
"""

_FIRST = """
import sys
from switchyard.state import State
State.open().set_alias("line", "production", sys.argv[1], "test", "made for it")
"""

OVERFLOWS = 1e308
"""A slope that answers x up to 1; 10 times it is infinite in float64, which no answer may be."""


def own_models(server: Server) -> None:
    """Gives a server that is not started yet a store of its own, with `line:production`."""
    (server.bentoml_home / "models").unlink()
    python(server, "-c", _FIRST, line(server, 10))


def line(server: Server, slope: float) -> str:
    """Stores a version of the model `line` and returns it."""
    return python(server, "-c", _MAKE, str(slope))


def remove_models(server: Server) -> None:
    """Ends a server with a store of its own."""
    server.kill()
    shutil.rmtree(server.bentoml_home / "models")
