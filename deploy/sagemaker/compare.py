"""What is there otherwise than it was sent, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any, Final

__all__ = ["differences"]

UNSEEN: Final = frozenset({"Tags"})
"""What no description shows."""

KEYS: Final = ("VariantName", "Name", "CaptureMode", "AlarmName")
"""What tells the entries of a list apart: AWS may return them in another order."""


def differences(what: str, sent: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """Returns sentences on what differs; what was not sent may be anything.

    Args:
        what: Is described, such as `The model x`.
        sent: Body of the request; a value that names a secret is not compared.
        seen: Body of the description.
    """
    return [
        f"{what}: {place} was sent as {_shown(given)} and is {_shown(found)}."
        for place, given, found in _walk("", sent, seen)
    ]


def _walk(place: str, sent: Any, seen: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(sent, Mapping) and isinstance(seen, Mapping):
        for key, value in sent.items():
            if key not in UNSEEN:
                yield from _walk(f"{place}.{key}".lstrip("."), value, seen.get(key))
    elif isinstance(sent, list) and isinstance(seen, list):
        known = {_name(each, str(index)): each for index, each in enumerate(seen)}
        for index, each in enumerate(sent):
            name = _name(each, str(index))
            yield from _walk(f"{place}.{name}", each, known.get(name))
        given = {_name(each, str(index)) for index, each in enumerate(sent)}
        for name in known.keys() - given:
            yield f"{place}.{name}", None, known[name]
    elif not _same(sent, seen):
        yield place, sent, seen


def _name(entry: Any, index: str) -> str:
    if isinstance(entry, Mapping):
        return next((str(entry[key]) for key in KEYS if key in entry), index)
    return index


def _same(sent: Any, seen: Any) -> bool:
    if isinstance(sent, str) and "${" in sent:
        return True
    numbers = [each for each in (sent, seen) if isinstance(each, int | float)]
    if len(numbers) == 2:
        return isclose(*numbers, rel_tol=1e-6)
    return bool(sent == seen)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping | list):
        return "something"
    return str(value)
