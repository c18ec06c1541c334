"""The sticky key of a request that names none: the value of a field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.columns import Columns
from models.schema import OTHER, Schema
from services.wire.findings import quote
from switchyard.errors import InvalidInput, Problem

__all__ = ["KeyField"]


class KeyField:
    """Reads the sticky key from the rows of a request.

    A key is the value as text: a category's label, an integer's digits, `true` or `false`. So a
    caller that names the same text as its key is the same unit. All unseen categories share the
    key `other`, which is all that is known of them.

    Args:
        name: The field; a category, text, int or bool.
        schema: The endpoint's schema.
    """

    def __init__(self, name: str, schema: Schema) -> None:
        field = schema.by_name[name]
        self.name = name
        self._type = field.type
        self._labels = (*(field.categories or ()), OTHER)

    def of(self, columns: Columns, places: Sequence[int] | None) -> str | None:
        """Returns the key of the rows, None where the value is missing.

        Args:
            columns: The rows, at least one.
            places: Index of each in its request; None where none was left out.

        Raises:
            InvalidInput: The rows do not agree on one.
        """
        values = columns[self.name].tolist()
        first = self._text(values[0])
        if values.count(values[0]) < len(values):  # NaN, which is missing, is not even itself
            for row, value in enumerate(values):
                if (other := self._text(value)) != first:
                    raise self._disagreement(first, other, row if places is None else places[row])
        return first

    def _text(self, value: Any) -> str | None:
        match self._type:
            case "category":
                return None if value < 0 else self._labels[value]
            case "bool":
                return None if value < 0 else ("false", "true")[value]
            case "int":
                return None if value != value else str(int(value))  # a missing one is NaN
            case _:
                return value or None

    def _disagreement(self, first: str | None, other: str | None, row: int) -> InvalidInput:
        one, two = ("null" if text is None else quote(text) for text in (first, other))
        return InvalidInput(
            f"The field {self.name!r} is the sticky key, so all rows of one request must share "
            f"its value, and here are {one} and {two}: send them apart, or name a 'key'.",
            [Problem(f"is {two}, where the first row has {one}", row, self.name)],
        )
