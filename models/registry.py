"""From a reference in the plan to the version it stands for.

Versions lie in the model store and never change; aliases lie in the state database and move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import lock, store
from switchyard.errors import InvalidInput

if TYPE_CHECKING:
    from switchyard.state import State

__all__ = ["Tag", "check_alias", "find", "resolve"]


@dataclass(frozen=True, slots=True)
class Tag:
    """One version of one model; written `name:version`."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def check_alias(name: str, alias: str) -> None:
    """Refuses a name for an alias that could not be told from a version, or breaks the rule.

    Args:
        name: Name of the model.
        alias: Name of the alias.

    Raises:
        InvalidInput: It is no usable name, or the model has a version of that name, which `find`
            would take instead.
    """
    store.check_word("alias", alias)
    if store.has(name, alias):
        raise InvalidInput(
            f"{alias!r} is a version of model {name!r}, so no alias can be called that; "
            "take another name, like 'production'."
        )


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
