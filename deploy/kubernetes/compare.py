"""Where what is there differs from what was sent.

The API server itself says how an object would look if it were sent once more (a dry run), with all
that it fills in and however it writes numbers; a field that this would change was changed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["differences", "key_of"]

OTHERS: Final = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid")
"""Metadata that the server keeps for itself."""

SHOWN: Final = 60
"""Characters of a value that a sentence shows."""


def key_of(found: Mapping[str, Any]) -> tuple[str, str]:
    """Returns kind and name of an object."""
    return found["kind"], found["metadata"]["name"]


def differences(sent: Mapping[str, Any], there: Mapping[str, Any] | None) -> list[str]:
    """Returns a sentence for each difference.

    Args:
        sent: The object as it would be after it was sent again.
        there: As it is; None if it is not there.
    """
    kind, name = key_of(sent)
    if there is None:
        return [f"{kind} {name} is missing."]
    return [
        f"{kind} {name}: {place} is {_shown(now)}, but was sent as {_shown(wanted)}."
        for place, wanted, now in _walk(_sent_part(sent), _sent_part(there), "")
    ]


def _sent_part(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object without what only the server writes."""
    metadata = {key: value for key, value in found["metadata"].items() if key not in OTHERS}
    return {**{key: found[key] for key in found if key != "status"}, "metadata": metadata}


def _walk(wanted: Any, now: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yields where two values differ, as deep as can be told."""
    if isinstance(wanted, Mapping) and isinstance(now, Mapping):
        for key in sorted({*wanted, *now}):
            below = f"{place}.{key}" if place else str(key)
            yield from _walk(wanted.get(key), now.get(key), below)
    elif isinstance(wanted, list) and isinstance(now, list) and len(wanted) == len(now):
        for number, (one, other) in enumerate(zip(wanted, now, strict=True)):
            yield from _walk(one, other, f"{place}[{number}]")
    elif wanted != now:
        yield place, wanted, now


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
