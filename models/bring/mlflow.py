"""Models out of MLflow: from an address in its registry to an endpoint that answers.

What MLflow knows (signature, input example, figures, tags, run) goes along; the rest is what
`models.bring.add` does with any model. MLflow's own code never loads the model.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models.bring import corrections, infer, mlflow_fetch, mlflow_model, mlflow_pt2
from models.bring.add import Added, add
from models.bring.describe import Options, Origin
from models.bring.mlflow_fetch import Fetched
from models.bring.mlflow_model import Packed
from models.bring.mlflow_signature import Signature
from switchyard.errors import InvalidInput
from switchyard.state import State

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["import_model"]

FEW_ROWS: Final = 100
"""Fewer rows than this say little about drift."""

_ADDRESS = re.compile(r"[a-z0-9+-]+:/")


def import_model(
    uri: str,
    name: str | None = None,
    sample: Path | str | pd.DataFrame | None = None,
    options: Options | None = None,
    *,
    tracking_uri: str | None = None,
    endpoint: str | None = None,
    alias: str = "production",
    plan: Path | None = None,
    state: State | None = None,
) -> Added:
    """Brings a model out of MLflow. An alias that exists already stays where it is.

    Args:
        uri: `models:/name/version`, `models:/name@alias`, `models:/m-<id>`, `runs:/<id>/<path>`, or
            the path of a folder with an `MLmodel` file.
        name: Name of the model here; without it, that of the registered model.
        sample: Rows of its input, as for `add.add`; without it, MLflow's input example.
        options: What the owner says of the model; it wins over what MLflow says.
        tracking_uri: Address of the tracking server; without it, that of `MLFLOW_TRACKING_URI`.
        endpoint: Endpoint that answers with it; without it, one of the model's name.
        alias: Alias that the plan names; it is set if it is new.
        plan: The plan; without it, that of the settings.
        state: The state database; without it, that of the settings.

    Raises:
        SwitchyardError: Something is wrong; store, plan and aliases are as they were.
    """
    options = options or Options()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "fetched"
        folder.mkdir()
        found = _find(uri, folder, tracking_uri)
        packed = mlflow_model.read(found.folder, found.uri)
        called = name or _name(found)
        rows, options = _rows(found.uri, packed, sample, options)
        origin = Origin(found.uri, found.run_id or packed.run_id, found.tags, found.metrics)
        artefact = packed.artefact
        if artefact.suffix == ".pt2":
            artefact = mlflow_pt2.without_pickles(artefact, Path(scratch) / "model.pt2")
        added = add(
            called,
            artefact,
            rows,
            replace(options, origin=origin),
            endpoint=endpoint,
            alias=alias,
            plan=plan,
            state=state,
        )
    return replace(added, notes=(*added.notes, *_notes(packed, rows)))


def _find(uri: str, folder: Path, tracking_uri: str | None) -> Fetched:
    if _ADDRESS.match(uri):
        return mlflow_fetch.fetch(uri, folder, tracking_uri)
    if not Path(uri).is_dir():
        raise InvalidInput(
            f"There is no folder {uri}; name a folder with an MLmodel file, or an address like "
            "models:/NAME/VERSION."
        )
    return Fetched(Path(uri), uri)


def _name(found: Fetched) -> str:
    """Returns the name of the registered model in the letters that a name may have here."""
    word = re.sub(r"[^a-z0-9._-]+", "-", (found.name or "").lower()).strip("-._")
    if not word:
        raise InvalidInput(f"{found.uri} has no name of its own; give it one with --name.")
    return word


def _rows(
    uri: str, packed: Packed, sample: Path | str | pd.DataFrame | None, options: Options
) -> tuple[pd.DataFrame, Options]:
    """Returns rows with the columns of the signature, and the options with its types."""
    given = sample if sample is not None else packed.example
    if given is None:
        raise InvalidInput(
            f"{uri} has no input example, and rows must prove that it answers; give some with "
            "--sample rows.parquet, or log the model with input_example=..."
        )
    which = "sample" if sample is not None else "input example"
    rows = infer.read(given)
    if len(rows) == 1:
        rows = infer.read(
            rows.iloc[[0, 0]]
        )  # what was exported by one row may take no other number
    if packed.signature is None or options.transform is not None:
        return rows, options  # a transform makes what the signature tells of
    rows = _chosen(rows, packed.signature, which, options.target)
    said = {name: dict(about) for name, about in packed.signature.fields.items()}
    for field, about in corrections.read(options.schema).fields.items():
        said[field] = said.get(field, {}) | about.model_dump(exclude_none=True)
    said = {name: about for name, about in said.items() if about}
    _check_fit(rows, said, which)
    return rows, replace(options, schema=said)


def _chosen(
    rows: pd.DataFrame, signature: Signature, which: str, target: str | None
) -> pd.DataFrame:
    missing = [name for name in signature.fields if name not in rows.columns]
    if missing:
        raise InvalidInput(
            f"The {which} does not fit the signature of the model: it lacks the column "
            f"{missing[0]!r}; the signature has {', '.join(signature.fields)}. Give rows that have "
            "them with --sample."
        )
    names = list(signature.fields)
    if target is not None and target in rows.columns:
        names.append(target)
    return rows[list(dict.fromkeys(names))]


def _check_fit(rows: pd.DataFrame, said: Mapping[str, Any], which: str) -> None:
    try:
        corrections.read(said).conform(rows)
    except InvalidInput as error:
        reason = error.message.removeprefix("schema: ").rstrip(".")
        raise InvalidInput(
            f"The {which} does not fit the signature of the model: {reason}. Give other rows with "
            "--sample, or say what the field is with --schema."
        ) from error


def _notes(packed: Packed, rows: pd.DataFrame) -> tuple[str, ...]:
    notes = []
    if packed.signature is None:
        notes.append("MLflow knows no signature of it, so the rows alone said what it takes.")
    if packed.code:
        notes.append("Code that came with the model (code_paths) is not taken over.")
    if len(rows) < FEW_ROWS:
        notes.append(
            f"It keeps {len(rows)} rows to tell drift from, which is few; --sample with rows of "
            "the training data makes that possible."
        )
    return tuple(notes)
