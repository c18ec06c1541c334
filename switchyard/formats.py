"""What names, model references, URLs and durations look like in the plan."""

from __future__ import annotations

import re
from math import inf
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from switchyard.plan_problems import wrong

__all__ = ["NAME", "REFERENCE", "BaseUrl", "Duration", "Name", "Reference", "seconds"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Endpoints and variants: they become metric labels and names of folders."""

REFERENCE: Final = re.compile(
    r"[a-z0-9]([-._a-z0-9]*[a-z0-9])?:[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?"
)
"""A BentoML tag, where an alias may stand in place of the version."""

_DURATION: Final = re.compile(r"(\d+\.?\d*|\.\d+)\s*(ms|s|m|h|d)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(value: Any) -> float:
    """Reads a duration: a number of seconds, or a number with its unit, like `10m` or `24h`.

    Raises:
        ValueError: It is neither, or not above 0; a clause that follows the value says so.
    """
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        value = float(found[1]) * _UNITS[found[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise ValueError("is no duration; write seconds or a unit: 30, '500ms', '10m', '24h', '7d'")
    return float(value)


def _duration(value: Any) -> float:
    try:
        return seconds(value)
    except ValueError as error:
        raise wrong(f"{value!r} {error}") from None


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise wrong(
            "is not a usable name; take letters, digits, '-' and '_', at most 64, "
            "and begin with a letter or digit"
        )
    return text


def _reference(text: str) -> str:
    if not REFERENCE.fullmatch(text):
        raise wrong(
            f"is {text!r}, but must be 'name:alias' or 'name:version', "
            "like 'flights-torch:production'"
        )
    return text


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is never closed
        usable = False
    if not usable or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise wrong(f"is {text!r}, but must look like 'http://torch-host:3000'")
    return text.rstrip("/")


Name = Annotated[str, AfterValidator(_name)]
Reference = Annotated[str, AfterValidator(_reference)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Duration = Annotated[float, BeforeValidator(_duration)]
"""Seconds."""
