"""Sentences for what is wrong with a plan: from pydantic's errors to file, line and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from switchyard.yaml_lines import Key, Lines

__all__ = ["first_problem", "hint", "problem", "wrong"]

EXPECTED: Final = {
    "model_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
}
"""What pydantic's errors of type mean, in words."""


def wrong(problem: str, *place: Key) -> PydanticCustomError:
    """Returns an error for a validator to raise.

    Args:
        problem: What is wrong, a clause that follows the name of the key.
        place: The key, below the value that is being validated; nothing for the value itself.
    """
    return PydanticCustomError("plan", "{problem}", {"problem": problem, "place": list(place)})


def hint(name: Key, known: Sequence[str], what: str) -> str:
    """Returns a clause with the known name that is closest, or with all of them after `what`."""
    close = get_close_matches(str(name), known, n=1)
    if close:
        return f"perhaps {close[0]!r} is meant"
    return f"{what} {', '.join(map(repr, known))}"


def first_problem(error: ValidationError, path: Path, lines: Lines) -> str:
    """Returns one sentence on the problem that stands first in the file."""
    problems = map(_place_and_problem, error.errors())
    place, problem = min(problems, key=lambda found: lines(found[0]))
    key = ".".join(map(_printable, place)) or "the plan"
    return f"{path}, line {lines(place)}: {key} {problem}."


def problem(error: ValidationError) -> str:
    """Returns what is wrong with settings that came otherwise than by a plan, as a clause."""
    place, clause = _place_and_problem(error.errors()[0])
    return f"{'.'.join(map(_printable, place)) or 'the settings'} {clause}"


def _printable(key: Key) -> str:
    text = str(key)
    return text if text.isprintable() else repr(text)


def _place_and_problem(error: ErrorDetails) -> tuple[tuple[Key, ...], str]:
    context: Mapping[str, Any] = error.get("ctx", {})
    place = tuple(part for part in error["loc"] if part != "[key]")
    given = error["input"]
    match error["type"]:
        case "plan":
            return (*place, *context["place"]), context["problem"]
        case "missing":
            return place[:-1], f"needs the key {place[-1]!r}"
        case "too_short":
            return place, "is empty, but needs at least one entry"
        case "literal_error":
            return place, f"is {given!r}, but must be {context['expected']}"
        case "greater_than":
            return place, f"is {given!r}, but must be greater than {context['gt']:g}"
        case kind:
            return place, f"{_shown(given)}, but {EXPECTED.get(kind, error['msg'])}"


def _shown(given: Any) -> str:
    if given is None:
        return "has no value"
    if isinstance(given, dict):
        return "is a mapping"
    if isinstance(given, list):
        return "is a list"
    return f"is {given!r}"
