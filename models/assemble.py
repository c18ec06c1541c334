"""The folder of a version: what it consists of, and how it is written.

BentoML's own `bentoml.models.create` copies file by file into the folder that others read from. So
the folder is put together here, somewhere else, and `models.store` puts it in its place.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from models import files
from models.manifest import MANIFEST_FILE, REFERENCE_FILE, Manifest
from models.schema import Schema
from switchyard.errors import ModelRefused

if TYPE_CHECKING:
    import pandas as pd
    from bentoml._internal.models.model import ModelInfo

__all__ = ["assemble", "record", "reference_table"]


_GROUP_ROWS: Final = 8_192
"""A host that warms a model up reads a few rows, and no more than one group of them."""


def record(name: str, manifest: Manifest) -> ModelInfo:
    """Returns BentoML's record of a new version, with its tag, as `bentoml.models.create` makes it.

    Args:
        name: Name of the model.
        manifest: Its manifest.
    """
    from bentoml._internal.models.model import ModelContext, ModelInfo, ModelOptions
    from bentoml._internal.tag import Tag

    return ModelInfo(
        tag=Tag(name, None).make_new_version(),
        module="switchyard",
        labels={},
        options=ModelOptions(),
        metadata={"framework": manifest.framework},
        context=ModelContext(framework_name="", framework_versions={}),
        signatures={},
        api_version="v1",
    )


def assemble(
    target: Path, folder: Path, table: pd.DataFrame, manifest: Manifest, info: ModelInfo
) -> None:
    """Writes everything that a version consists of.

    Args:
        target: Folder of the version; it is made.
        folder: Folder with the artefact.
        table: From `reference_table`.
        manifest: Its manifest; `files` is filled in here.
        info: From `record`.

    Raises:
        ModelRefused: The artefact is missing, or holds something else than files and folders, or
            the manifest could not be read again.
        OSError: Something cannot be written.
    """
    target.mkdir()
    for name, source in files.listing(folder).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / name)
    table.to_parquet(target / REFERENCE_FILE, index=False, row_group_size=_GROUP_ROWS)
    complete = manifest.model_copy(update={"files": files.digests(target)})
    (target / MANIFEST_FILE).write_text(_text(complete))
    with (target / files.BENTOML_FILE).open("w") as stream:
        info.dump(stream)


def _text(manifest: Manifest) -> str:
    """Returns a manifest as it is stored; a server that cannot read one does not start."""
    text = manifest.model_dump_json(indent=2) + "\n"
    try:
        Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        # JSON has no NaN and no infinity, so pydantic writes null for them.
        reason = "a number that is not finite" if first["input"] is None else first["msg"]
        raise ModelRefused(
            f"The model's manifest could not be read again: {place} holds {reason}."
        ) from error
    return text


def reference_table(manifest: Manifest, reference: pd.DataFrame) -> pd.DataFrame:
    """Returns reference rows as they are stored, tensors flat.

    Args:
        manifest: What the rows are of.
        reference: The schema's fields, `prediction`, and `probability_<class>` for each class.

    Raises:
        ModelRefused: A column is missing.
    """
    needed = [*manifest.fields.names, "prediction"]
    needed += [f"probability_{label}" for label in manifest.classes or ()]
    missing = [column for column in needed if column not in reference.columns]
    if missing:
        raise ModelRefused(f"The reference rows lack the column {missing[0]!r}.")
    return _flatten(manifest.fields, reference)


def _flatten(schema: Schema, frame: pd.DataFrame) -> pd.DataFrame:
    """Parquet holds lists, not arrays of two axes and more, so tensors are stored flat."""
    import numpy as np
    import pandas as pd

    table = frame.copy(deep=False)
    for field in schema:
        if field.type == "tensor":
            flat = [np.asarray(value, dtype=field.dtype).ravel() for value in frame[field.name]]
            table[field.name] = pd.Series(flat, index=frame.index)
    return table
