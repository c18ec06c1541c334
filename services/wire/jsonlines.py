"""Rows as lines of JSON (`application/jsonlines`): each a record, or a list in schema order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import orjson

from services.wire.answer import Scores
from services.wire.findings import Findings
from services.wire.json import load
from switchyard.errors import InvalidInput, Problem, TooLarge

__all__ = ["inputs_of", "render"]

_LINE: Final = re.compile(rb"\S[^\n]*")
"""A line that is not blank, from its first character on."""


def inputs_of(body: bytes, max_rows: int) -> list[Any]:
    """Returns the rows as a list, one of the forms of a JSON request.

    Args:
        body: UTF-8 text; blank lines are skipped.
        max_rows: Most rows of one request.

    Raises:
        InvalidInput: There are no lines, or some are not JSON.
        TooLarge: More rows than allowed.
    """
    lines = list(islice(_lines(body), max_rows + 1))
    if not lines:
        raise InvalidInput("The body is empty: send at least one line.")
    if len(lines) > max_rows:
        raise TooLarge(
            f"The request has more than the {max_rows} rows that this endpoint takes: split it."
        )
    findings = Findings()
    rows = []
    for index, line in enumerate(lines):
        try:
            rows.append(load(line))
        except InvalidInput as error:
            findings.add(error.message.removeprefix("The body ").removesuffix("."), index)
    findings.check()
    return rows


def render(
    scores: Scores, rows: int, good: Sequence[int] | None, problems: Iterable[Problem]
) -> bytes:
    """Returns one line for each row: its prediction, probabilities and confidence.

    Args:
        scores: The predictions of the good rows, in order.
        rows: Number of rows of the request; the lines of bad ones have null and `errors`.
        good: Indices of the good rows; None where all are.
        problems: What is wrong with the others.
    """
    lines: list[dict[str, Any]] = [{"prediction": None} for _ in range(rows)]
    for index, place in enumerate(range(rows) if good is None else good):
        lines[place]["prediction"] = scores.predictions[index]
        if scores.confidence is not None:
            lines[place]["probabilities"] = scores.output[index]
            lines[place]["confidence"] = scores.confidence[index]
    for problem in problems:
        if problem.row is not None:
            lines[problem.row].setdefault("errors", []).append(problem.as_dict())
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(line, option=option) for line in lines)


def _lines(body: bytes) -> Iterator[bytes]:
    """Yields the lines that are not blank, one at a time: a body may hold millions of either."""
    return (found[0].rstrip() for found in _LINE.finditer(body))
