"""Code that a manifest may name: functions and classes of this project, and nothing else.

A manifest is data that may have been tampered with, so `module:name` is resolved by the place of
the module's file below the project's folder. What is installed (the standard library,
site-packages, even a virtual environment inside the project) cannot be reached, and neither can a
name that a module of the project merely imports.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from switchyard import settings
from switchyard.errors import ModelRefused

__all__ = ["resolve"]

_REFERENCE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)


def resolve(reference: str) -> Any:
    """Imports what a manifest's `module:name` stands for.

    Args:
        reference: Dotted module and the name of a function or class that is defined in it.

    Returns:
        The function or class.

    Raises:
        ModelRefused: The reference is malformed, or the module is not a file of this project,
            cannot be imported, or does not define that name.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelRefused(f"{reference!r} is not of the form module:name.")
    module_name, name = match.groups()
    expected = _source(module_name)
    if expected is None:
        raise ModelRefused(
            f"{reference!r} is not code of this project: there is no file of that module "
            f"below {settings.ROOT}."
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ModelRefused(
            f"The module {module_name} of this project cannot be imported "
            f"({type(error).__name__}: {error}); the model needs its {name}."
        ) from error
    origin = getattr(module, "__file__", None)
    if origin is None or Path(origin).resolve() != expected:
        raise ModelRefused(
            f"{reference!r} is not code of this project: an installed module has the same name."
        )
    found = getattr(module, name, None)
    if found is None or getattr(found, "__module__", None) != module_name:
        raise ModelRefused(f"The module {module_name} does not define {name!r}.")
    return found


def _source(module: str) -> Path | None:
    """Returns the file that must hold a module of the project, found without importing anything."""
    base = settings.ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            resolved = path.resolve()
            return resolved if resolved.is_relative_to(settings.ROOT) else None
    return None
