"""What stands on BentoCloud otherwise than it was sent, a sentence each: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["differences"]

KEPT: Final = ("bento", "access_authorization", "envs", "secrets", "services")
"""Keys that BentoCloud tells again."""

NAMED: Final = ("name", "key")
"""Keys that tell the entries of a list apart."""


def differences(sent: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Returns the differences of a deployment.

    What was not sent may be there all the same: BentoCloud fills in what was left out.

    Args:
        sent: Content of the deployment file.
        there: What BentoCloud tells, in the same form.
    """
    found: list[str] = []
    for key in KEPT:
        found += _differences(sent.get(key), there.get(key), key)
    return found


def _differences(sent: Any, there: Any, place: str) -> Iterator[str]:
    if isinstance(sent, Mapping):
        held = there if isinstance(there, Mapping) else {}
        for key, value in sent.items():
            yield from _differences(value, held.get(key), f"{place}.{key}")
    elif isinstance(sent, Sequence) and not isinstance(sent, str):
        wanted, held = _by_name(sent), _by_name(there or ())
        for name, value in wanted.items():
            yield from _differences(value, held.get(name), f"{place}.{name}")
        for name in held:
            if name not in wanted:
                yield f"{place}.{name} was added by hand."
    elif sent != there:
        yield f"{place} is {there!r}, but was sent as {sent!r}."


def _by_name(entries: Sequence[Any]) -> dict[str, Any]:
    """Returns the entries of a list by what names them."""
    found: dict[str, Any] = {}
    for each in entries:
        if isinstance(each, Mapping):
            key = next(key for key in NAMED if key in each)
            found[str(each[key])] = each.get("value")
        else:
            found[str(each)] = each
    return found
