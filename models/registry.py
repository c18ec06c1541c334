"""From a reference in the plan to the version it stands for.

Versions lie in the model store and never change; aliases lie in the state database and move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import lock, store

if TYPE_CHECKING:
    from switchyard.state import State

__all__ = ["Tag", "find", "resolve"]


@dataclass(frozen=True, slots=True)
class Tag:
    """One version of one model; written `name:version`."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def resolve(ref: str, state: State) -> Tag:
    """Returns the version that a reference stands for now; see `find`."""
    return find(ref, lock.aliases(state))


def find(ref: str, known: Mapping[tuple[str, str], str]) -> Tag:
    """Returns the version that a reference stands for.

    A version that is in the store is taken as it is. Any other word is an alias.

    Args:
        ref: `name:version` or `name:alias`.
        known: The aliases in force, from `models.lock`.

    Raises:
        InvalidInput: The reference does not have this form.
        NotFound: No such version and no such alias, or an alias of a version that is gone.
    """
    name, word = store.split(ref)
    if store.has(name, word):
        return Tag(name, word)
    return Tag(name, lock.lookup(name, word, known))
