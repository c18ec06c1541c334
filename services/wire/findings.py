"""Collecting everything that is wrong with a request, and saying it in plain sentences."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from switchyard.errors import InvalidInput, Problem

__all__ = ["LISTED", "Findings", "describe", "quote"]

LISTED = 100
"""Problems that one answer lists; the rest are counted."""

SHOWN = 40
"""Characters that a sentence shows of a caller's string."""


class Findings:
    """The problems of one request.

    Attributes:
        problems: The first ones, at most `listed`.
        total: How many there are in all.

    Args:
        listed: How many problems to keep; None keeps all.
    """

    __slots__ = ("_listed", "problems", "total")

    def __init__(self, listed: int | None = LISTED) -> None:
        self.problems: list[Problem] = []
        self.total = 0
        self._listed = listed

    def add(self, problem: str, row: int | None = None, field: str | None = None) -> None:
        """Notes one problem, at a row and a field if it lies there."""
        self.total += 1
        if self._listed is None or self.total <= self._listed:
            self.problems.append(
                Problem(problem, row, None if field is None else _printable(field))
            )

    def hint(self, name: str, known: Iterable[str]) -> str:
        """Returns the question after the known name that is closest, or nothing if none is near.

        The search is slow and a request may have millions of unknown names, so only the first
        `LISTED` problems get it.
        """
        if self.total >= LISTED:
            return ""
        near = get_close_matches(name[:SHOWN], list(known), n=1, cutoff=0.5)
        return f"; did you mean {quote(near[0])}?" if near else ""

    def error(self) -> InvalidInput:
        """Returns the refusal: its sentence tells the first problem and how many there are."""
        first = self.problems[0]
        parts = []
        if first.row is not None:
            parts.append(f"row {first.row}")
        if first.field is not None:
            parts.append(f"field {quote(first.field)}")
        place = ", ".join(parts)
        sentence = f"{place[:1].upper()}{place[1:]}: {first.problem}" if place else first.problem
        if not sentence.endswith("?"):
            sentence += "."
        if self.total > len(self.problems):
            sentence = (
                f"{self.total} problems, of which the details list the first "
                f"{len(self.problems)} and leave out {self.total - len(self.problems)} more. "
                f"{sentence}"
            )
        elif self.total > 1:
            sentence = f"{self.total} problems. {sentence}"
        return InvalidInput(sentence, self.problems)

    def check(self) -> None:
        """Raises the refusal if anything was found.

        Raises:
            InvalidInput: There are problems.
        """
        if self.total:
            raise self.error()


def describe(value: Any) -> str:
    """Returns what a JSON value is, short enough for a sentence."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the string {quote(value)}"
        case int():
            # Python refuses to print integers of thousands of digits.
            return f"the number {value}" if -(10**30) < value < 10**30 else "a huge number"
        case float():
            return f"the number {value!r}"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def quote(text: str) -> str:
    """Returns a caller's string in quotes, printable and cut to a sentence's size."""
    return repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}..."


def _printable(text: str) -> str:
    """Cuts and cleans a name: answers are UTF-8, which has no place for lone surrogates."""
    return text[:SHOWN].encode("utf-8", "backslashreplace").decode()
