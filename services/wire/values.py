"""What each type of field accepts: the exact rules, one value at a time.

These rules are the reference. `services.wire.blocks` packs whole columns much faster, and whatever
it finds odd comes here to be told apart:

| type        | accepts                                                        | not           |
|-------------|----------------------------------------------------------------|---------------|
| `float`     | finite numbers that its dtype can hold                         | true, 1e39    |
| `int`       | integers of 64 bits, also written 5.0; nullable ones within    | "5", 5.5      |
|             | 2^53 - 1, because they are stored as float64                   |               |
| `bool`      | true, false                                                    | 0, 1          |
| `category`  | strings; unseen ones if the field maps them to "other"         | 3             |
| `timestamp` | ISO 8601 strings, see `services.wire.times`                    | epoch seconds |
| `text`      | strings that UTF-8 can hold                                    | 3             |
| `tensor`    | nested lists of numbers of exactly the field's shape           | ragged lists  |

A nullable field also takes null, or NaN, for a missing value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache, partial
from math import isfinite, isinf, isnan, nan
from typing import Any

from models.schema import MISSING_TIME, Field
from services.wire.findings import describe, quote
from services.wire.times import micros

__all__ = [
    "FRACTION",
    "HUGE",
    "INFINITE",
    "LARGE",
    "MISSING",
    "NAMED",
    "SAFE",
    "UNSAFE",
    "Misfit",
    "absent",
    "code_table",
    "converter",
    "timestamp",
]

SAFE = 2**53 - 1
"""Largest integer up to which every integer has a float64 of its own."""

NAMED = 10
"""Categories that a sentence names."""

MISSING = "is null or NaN, and the field takes no missing values"
HUGE = "is too large for float32, which ends at about 3.4e38"
INFINITE = "must be a finite number, not infinity"
FRACTION = "must be an integer, not a number with a fraction"
LARGE = "is outside the integers of 64 bits"
UNSAFE = "is outside -(2^53 - 1) to 2^53 - 1, the range of a nullable integer"
NO_TIME = "must be an ISO 8601 time such as '2013-07-04T18:30' or '2013-07-04T18:30:00+02:00'"

_FLOAT32 = struct.Struct("=f")


class Misfit(Exception):
    """A value that its field does not accept; the text continues "field 'x': ..."."""


def converter(field: Field) -> Callable[[Any], Any]:
    """Returns the function from a JSON value of the field to what its block stores.

    That is a float, an int (also for codes, times in microseconds and bools), a str, or for a
    tensor the flat list of its numbers. The function raises `Misfit`.
    """
    rule = _rule(field)
    return partial(_nullable, rule, absent(field)) if field.nullable else partial(_required, rule)


def absent(field: Field) -> Any:
    """Returns what the field's block stores for a missing value."""
    match field.type:
        case "float" | "int":
            return nan
        case "timestamp":
            return MISSING_TIME
        case "text":
            return None
        case _:
            return -1


@lru_cache(maxsize=256)
def code_table(categories: tuple[str, ...]) -> dict[str, int]:
    """Returns the code of each category."""
    return {label: code for code, label in enumerate(categories)}


@lru_cache(maxsize=256)
def _folded(categories: tuple[str, ...]) -> dict[str, str]:
    return {label.casefold(): label for label in categories}


def _unknown_category(field: Field, label: str) -> str:
    known = field.categories or ()
    named = ", ".join(quote(name) for name in known[:NAMED])
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    # A search for the nearest name would take milliseconds for every row of a large request.
    meant = _folded(known).get(label.strip().casefold())
    question = f"; did you mean {quote(meant)}?" if meant else ""
    return f"{quote(label)} is not a known category; known are {named}{more}{question}"


def _rule(field: Field) -> Callable[[Any], Any]:
    match field.type:
        case "float":
            return partial(_float, field.dtype == "float32")
        case "int":
            return _safe_int if field.nullable else _int
        case "bool":
            return _bool
        case "category":
            return partial(_category, field, code_table(field.categories or ()))
        case "timestamp":
            return timestamp
        case "text":
            return _text
        case "tensor":
            number = _int if field.dtype == "int64" else partial(_float, field.dtype == "float32")
            return partial(_tensor, field.shape or (), number)


def _required(rule: Callable[[Any], Any], value: Any) -> Any:
    if _is_missing(value):
        raise Misfit(MISSING)
    return rule(value)


def _nullable(rule: Callable[[Any], Any], marker: Any, value: Any) -> Any:
    return marker if _is_missing(value) else rule(value)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))


def _float(single: bool, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Misfit(f"must be a number, not {describe(value)}")
    try:
        number = float(value)
        if single:
            _FLOAT32.pack(number)
    except OverflowError:
        raise Misfit(HUGE if single else "is too large for float64") from None
    if isinf(number):
        raise Misfit(INFINITE)
    if isnan(number):  # inside a tensor; elsewhere NaN is a missing value
        raise Misfit(MISSING)
    return number


def _int(value: Any) -> int:
    if isinstance(value, float) and isnan(value):  # inside a tensor
        raise Misfit(MISSING)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Misfit(f"must be an integer, not {describe(value)}")
    if isinstance(value, float) and not value.is_integer():
        raise Misfit(FRACTION if isfinite(value) else INFINITE)
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise Misfit(LARGE)
    return number


def _safe_int(value: Any) -> float:
    number = _int(value)
    if abs(number) > SAFE:
        raise Misfit(UNSAFE)
    return float(number)


def _bool(value: Any) -> int:
    if not isinstance(value, bool):
        raise Misfit(f"must be true or false, not {describe(value)}")
    return int(value)


def _category(field: Field, codes: dict[str, int], value: Any) -> int:
    if not isinstance(value, str):
        raise Misfit(f"must be a string, not {describe(value)}")
    code = codes.get(value)
    if code is not None:
        return code
    if field.unknown == "other":
        return len(codes)
    raise Misfit(_unknown_category(field, value))


def timestamp(value: Any) -> int:
    """Returns the microseconds since 1970, UTC, of an ISO 8601 string.

    Raises:
        Misfit: It is something else.
    """
    if not isinstance(value, str):
        raise Misfit(f"{NO_TIME}, not {describe(value)}")
    try:
        return micros(value)
    except ValueError as error:
        raise Misfit(f"{NO_TIME}; {quote(value)} is none: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Misfit(f"must be a string, not {describe(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Misfit("holds half of a surrogate pair, which UTF-8 cannot carry") from None
    return value


def _tensor(shape: tuple[int, ...], number: Callable[[Any], Any], value: Any) -> list[Any]:
    flat: list[Any] = []
    _flatten(value, shape, number, "", flat)
    return flat


def _flatten(
    value: Any, shape: tuple[int, ...], number: Callable[[Any], Any], place: str, flat: list[Any]
) -> None:
    """Appends the numbers of a nested list; its depth is bounded by the shape, not the caller."""
    if not shape:
        try:
            flat.append(number(value))
        except Misfit as misfit:
            raise Misfit(f"at {place} {misfit}" if place else str(misfit)) from None
        return
    where = f"at {place} " if place else ""
    if not isinstance(value, (list, tuple)):
        raise Misfit(f"{where}must be a list of {shape[0]} values, not {describe(value)}")
    if len(value) != shape[0]:
        raise Misfit(f"{where}must have {shape[0]} values, not {len(value)}")
    for index, item in enumerate(value):
        _flatten(item, shape[1:], number, f"{place}[{index}]", flat)
