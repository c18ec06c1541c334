"""MLflow's `.pt2` files without the pickled sample inputs and the guard code that they hold.

`mlflow.pytorch` saves with `torch.export.save` as it is, which keeps the example that a program was
exported by, as a pickle, and code that compares the shapes of inputs with it. Inference needs
neither. Nothing of the file is loaded to leave them out: the archive is copied but for one member
and one key. What is left is for `models.formats.pt2` to check.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from models.formats.archive import DAMAGED
from switchyard.errors import ModelRefused

__all__ = ["without_pickles"]

_SAMPLES = "data/sample_inputs/model.pt"
_PROGRAM = "models/model.json"


def without_pickles(path: Path, target: Path) -> Path:
    """Copies a `.pt2` file without sample inputs and guard code.

    Args:
        path: The file.
        target: The copy; it is made.

    Returns:
        The copy.

    Raises:
        ModelRefused: The file is not a `.pt2` file.
    """
    try:
        with (
            zipfile.ZipFile(path) as given,
            zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as made,
        ):
            for entry in given.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise zipfile.BadZipFile(
                        "it holds compressed members, which torch never writes"
                    )
                name = entry.filename.partition("/")[2]
                content = b"" if name == _SAMPLES else given.read(entry)
                made.writestr(entry.filename, _bare(content) if name == _PROGRAM else content)
    except (*DAMAGED, ValueError) as error:
        raise ModelRefused(
            f"{path.name} is damaged, or no .pt2 file ({error}); fetch or log it again."
        ) from error
    return target


def _bare(program: bytes) -> bytes:
    parsed = json.loads(program)
    if not isinstance(parsed, dict):
        raise ValueError("its program is no object")
    return json.dumps(parsed | {"guards_code": []}).encode()
