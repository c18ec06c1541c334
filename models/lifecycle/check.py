"""Loads a version in a process of its own, runs its reference rows, and reports in JSON.

    python -m models.lifecycle.check NAME:VERSION [SECONDS]

`verify` starts it. On standard output there are lines of JSON, each an object with fields of
`verify.Report`, written as soon as they are known; a process that dies has said how far it
came. What the model prints goes to standard error. After SECONDS the kernel ends the process, even
one whose parent is gone.

A row counts as answered as before if every probability is within 1e-4 of the stored one (1e-3 on a
GPU, whose convolutions round to 10 bits), and the stored class still has the largest, within twice
that; for regression, if its value is within 1e-4 of the stored one, relative to the largest stored
magnitude. That is a hundred times what float32 loses in other batch sizes and on other processors,
and far less than what any change of weights, transform or classes brings about.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import time
import traceback
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from models import files, memory, runtime, store
from models.columns import Columns
from models.manifest import Manifest
from models.reference import spread
from switchyard.errors import ModelRefused, SwitchyardError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BATCH_ROWS", "TOLERANCE", "check", "difference"]

Array = np.ndarray[Any, Any]
Say = Callable[..., None]

MOST_ROWS: Final = 5_000
"""Most reference rows that are answered, spread over all."""

BATCH_ROWS: Final = 64
"""Rows of one prediction: a usual batch of a host under load."""

TOLERANCE: Final = {"cpu": 1e-4, "cuda": 1e-3}
"""Largest difference that counts as rounding, by device."""

WARM_UP: Final = 5
REPEATS: Final = (20, 500)
"""Predictions that are not timed, and least and most that are."""

SECONDS: Final = 1.0
"""How long predictions of one batch size are timed, once the least number is done."""

_MISFITS: Final = (KeyError, ValueError, TypeError, AttributeError, OverflowError)
"""What pandas and NumPy raise on columns that are not what the manifest says."""

NICE: Final = 10
"""Lowers the priority, so that a server on the same machine goes first."""


def check(name: str, version: str, say: Say) -> None:
    """Checks a version in this process.

    Args:
        name: Name of the model.
        version: Version of it.
        say: Called with fields of the report as soon as they are known.

    Raises:
        SwitchyardError: What is wrong with the version.
    """
    folder, manifest = store.path(name, version), store.manifest(name, version)
    files.check(folder, manifest)
    say(digest_ok=True)
    model = runtime.load(folder, manifest)
    say(loads=True)
    frame, columns = _rows(name, version, manifest)
    batches = range(0, columns.rows, BATCH_ROWS)
    parts = [columns.slice(start, min(start + BATCH_ROWS, columns.rows)) for start in batches]
    answers = np.concatenate([model.predict(part) for part in parts])
    mismatches, largest = difference(frame, answers, manifest, TOLERANCE[model.device])
    say(rows=columns.rows, mismatches=mismatches, largest_difference=largest)
    whole = Columns.from_frame(manifest.fields, _at_least(BATCH_ROWS, frame))
    say(latency_seconds=_median(model, whole, BATCH_ROWS))
    say(row_latency_seconds=_median(model, whole, 1))
    if mismatches:
        raise ModelRefused(
            f"{name}:{version} answers {mismatches} of its {columns.rows} reference rows "
            f"differently from when it was stored (by up to {largest:.3g}): the code or a library "
            "it relies on has changed; store the model once more."
        )


def difference(
    frame: pd.DataFrame, answers: Array, manifest: Manifest, tolerance: float
) -> tuple[int, float]:
    """Compares answers with those that are stored beside the rows.

    Args:
        frame: Reference rows (n) with `prediction` and `probability_<class>`.
        answers: Probabilities (n, classes) or values (n, 1), as `runtime.Model.predict` gives them.
        manifest: What the rows are of.
        tolerance: Largest difference that counts as rounding.

    Returns:
        The number of rows that differ, and the largest difference of any number.
    """
    stored = _stored(frame, manifest)
    apart = np.abs(answers - stored)
    if manifest.classes is None:
        allowed = tolerance * float(np.abs(stored).max())
        return int((apart > allowed).any(axis=1).sum()), float(apart.max())
    places = {label: place for place, label in enumerate(manifest.classes)}
    chosen = frame["prediction"].map(places).fillna(-1).to_numpy(np.intp)
    theirs = np.where(chosen < 0, -np.inf, answers[np.arange(len(answers)), chosen])
    moved = theirs < answers.max(axis=1) - 2 * tolerance
    return int(((apart > tolerance).any(axis=1) | moved).sum()), float(apart.max())


def _rows(name: str, version: str, manifest: Manifest) -> tuple[pd.DataFrame, Columns]:
    """Reads the reference rows; a manifest that was altered may not fit them."""
    from pyarrow import ArrowException

    tag = f"{name}:{version}"
    try:
        whole = store.reference(name, version)
        frame = whole.iloc[spread(len(whole), MOST_ROWS)]
        stored = _stored(frame, manifest)
        columns = Columns.from_frame(manifest.fields, frame)
    except (*_MISFITS, ArrowException) as error:
        raise ModelRefused(
            f"The reference rows of {tag} do not fit its manifest "
            f"({type(error).__name__}: {error}); store the model once more."
        ) from error
    if not columns.rows:
        raise ModelRefused(f"{tag} has no reference rows to check it with; store it with some.")
    if not np.isfinite(stored).all():
        raise ModelRefused(f"A stored prediction of {tag} is no number; store the model once more.")
    return frame, columns


def _stored(frame: pd.DataFrame, manifest: Manifest) -> Array:
    """Returns the stored probabilities (n, classes) or values (n, 1), float64."""
    names = [f"probability_{label}" for label in manifest.classes or ()]
    table = frame[["prediction", *names]]
    return table[names or ["prediction"]].to_numpy(np.float64)


def _at_least(rows: int, frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame of at least so many rows, the first ones repeated if need be."""
    return frame.iloc[np.arange(max(rows, len(frame))) % len(frame)]


def _median(model: runtime.Model, columns: Columns, rows: int) -> float:
    """Returns the median seconds of a prediction, over slices of the rows one after the other."""
    starts = range(0, columns.rows - rows + 1, rows)
    parts = [columns.slice(start, start + rows) for start in starts]
    least, most = REPEATS
    seconds: list[float] = []
    for count in range(-WARM_UP, most):
        started = time.perf_counter()
        model.predict(parts[count % len(parts)])
        if count >= 0:
            seconds.append(time.perf_counter() - started)
        if len(seconds) >= least and sum(seconds) > SECONDS:
            break
    return statistics.median(seconds)


def main() -> None:
    """Runs the check that the command line names, and says what comes out."""
    parser = argparse.ArgumentParser(prog="python -m models.lifecycle.check", description=__doc__)
    parser.add_argument("tag", metavar="NAME:VERSION")
    parser.add_argument("seconds", nargs="?", type=float, default=120.0)
    arguments = parser.parse_args()
    signal.alarm(max(1, math.ceil(arguments.seconds)))
    os.nice(NICE)
    memory.bound()
    with _own_output() as output:

        def say(**fields: Any) -> None:
            print(json.dumps(fields), file=output, flush=True)

        try:
            check(*store.split(arguments.tag), say)
            say(problem=None)
        except SwitchyardError as error:
            say(problem=error.message)
        except Exception as error:
            traceback.print_exc()
            brief = f"{type(error).__name__}: {error}"
            say(problem=f"The check of {arguments.tag} failed ({brief}).")


def _own_output() -> IO[str]:
    """Returns the standard output for this module alone; all others print to standard error."""
    own = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(own, "w")


if __name__ == "__main__":
    main()
