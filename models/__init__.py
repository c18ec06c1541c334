"""What a model is: its schema, its manifest, its files, and the registry that names versions.

From Python, `models.add` brings a model of your own, as `switchyard models add` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.bring.add import Added, Options, add

__all__ = ["Added", "Options", "add"]


def __getattr__(name: str) -> Any:
    """Imports what `add` needs when it is asked for: no server process does."""
    if name not in __all__:
        raise AttributeError(f"module 'models' has no attribute {name!r}")
    from models.bring import add

    return getattr(add, name)
