"""Aliases, and the lock that carries them inside a Bento.

`bentoml build` freezes every alias that the plan names into `switchyard.lock`, so that a Bento
serves with no state database near:

    {"lock_version": 1, "aliases": {"flights-sklearn": {"production": "h3x2..."}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson
import pydantic
from pydantic import BaseModel, ConfigDict

from models import store
from switchyard import settings
from switchyard.errors import ModelRefused, NotFound

if TYPE_CHECKING:
    from switchyard.plan import Plan
    from switchyard.state import State

__all__ = ["LOCK_FILE", "Lock", "adopt", "aliases", "effective", "freeze", "lookup", "read"]

LOCK_FILE = "switchyard.lock"
"""Its name, in the folder of the plan's code."""


class Lock(BaseModel):
    """The contents of a lock.

    Attributes:
        lock_version: Version of the format.
        aliases: Model to alias to version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lock_version: Literal[1] = 1
    aliases: dict[str, dict[str, str]]


def read(path: Path) -> Lock:
    """Reads a lock.

    Raises:
        NotFound: There is no such file.
        ModelRefused: The file is not a lock.
    """
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"There is no lock {path}; `bentoml build` writes one.") from error
    except pydantic.ValidationError as error:
        raise ModelRefused(
            f"{path} is not a lock of Switchyard; remove it, and build the Bento again."
        ) from error


def freeze(plan: Plan, state: State) -> bytes:
    """Returns the lock of a plan: every alias its variants name, with today's version.

    Variants that name a version have nothing to freeze.

    Raises:
        NotFound: An alias is not set, or its version is not in the store.
    """
    frozen: dict[str, dict[str, str]] = {}
    known = aliases(state)
    for endpoint in plan.endpoints.values():
        for variant in endpoint.variants.values():
            name, word = store.split(variant.model)
            if not store.has(name, word):
                frozen.setdefault(name, {})[word] = lookup(name, word, known)
    lock = Lock(aliases=frozen)
    return orjson.dumps(lock.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def aliases(state: State) -> dict[tuple[str, str], str]:
    """Returns the version of each (model, alias), as `effective` has them."""
    return effective(state.aliases())


def effective(known: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """Returns the aliases in force, given those of the state database.

    A state database without a single alias has never been used, so the lock beside the code, if
    there is one, stands for it.
    """
    path = settings.ROOT / LOCK_FILE
    if known or not path.is_file():
        return known
    frozen = read(path).aliases
    return {(name, alias): tag for name, tags in frozen.items() for alias, tag in tags.items()}


def adopt(state: State) -> None:
    """Copies the lock's aliases into a state database that has none.

    Called before an alias is set: with the first one, the database counts as used, and what only
    the lock knows would be forgotten. Many processes may do so at once.
    """
    if not state.aliases():
        state.adopt(aliases(state), "lock", f"taken over from {LOCK_FILE}")


def lookup(name: str, alias: str, known: Mapping[tuple[str, str], str]) -> str:
    """Returns the version that an alias stands for.

    Args:
        name: Name of the model.
        alias: The alias.
        known: The aliases in force.

    Raises:
        NotFound: The alias is not set, or its version is not in the store.
    """
    version = known.get((name, alias))
    if version is None:
        mine = [word for model, word in known if model == name]
        if mine:
            raise NotFound(
                f"Model {name!r} has neither a version nor an alias {alias!r}; its aliases are "
                f"{', '.join(mine)}, and `switchyard models list` shows its versions."
            )
        raise NotFound(
            f"Model {name!r} has neither a version nor an alias {alias!r}; train the examples with "
            "`switchyard train`, or bring a model of your own with `switchyard models add`."
        )
    if not store.has(name, version):
        raise NotFound(
            f"The alias {alias!r} of model {name!r} stands for version {version!r}, which is not "
            "in the store; point the alias to a version that `switchyard models list` shows."
        )
    return version
