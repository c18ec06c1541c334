"""JSON bodies of other platforms: rows under a name of theirs, and parameters beside them.

Whatever names a request of `/predict` (`endpoint`, `key`, `variant`, ...) may stand beside the rows
or among the parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from services.wire.findings import Findings, describe, quote
from services.wire.json import from_object
from services.wire.request import Request
from services.wire.values import Misfit
from switchyard.errors import InvalidInput, Problem

__all__ = ["Forms", "as_it_is", "listed", "request_of", "split"]

Form = Callable[[Any], Any]
"""From what stands under a name to `inputs` of `/predict`; raises `Misfit`."""

Forms = Mapping[str, Form]
"""The names under which a platform may hold rows."""


def request_of(document: Any, forms: Forms, parameters: str) -> Request:
    """Returns the request that a platform's body makes.

    Args:
        document: Parsed JSON.
        forms: The names under which the rows may stand.
        parameters: The name under which parameters stand.

    Raises:
        InvalidInput: Not an object, rows under none or several of the names, or keys and parameters
            that no request has.
    """
    if not isinstance(document, dict):
        raise InvalidInput(
            f"The body must be a JSON object with its rows under {_either(forms)}, "
            f"not {describe(document)}."
        )
    given = [name for name in forms if document.get(name) is not None]
    if len(given) != 1:
        found = " and ".join(map(repr, given)) if given else "none of them"
        raise InvalidInput(f"The body must have rows under {_either(forms)}; it has {found}.")
    (name,) = given
    rows = _read(name, forms[name], document[name])
    beside = {key: value for key, value in document.items() if key not in (name, parameters)}
    return from_object({**beside, **_parameters(document, parameters), "inputs": rows})


def as_it_is(value: Any) -> Any:
    """Takes the forms of `/predict`: records, an object of columns, or rows in schema order."""
    return value


def listed(value: Any) -> list[Any]:
    """Takes a list of records, or of rows in schema order.

    Raises:
        Misfit: It is none, or empty.
    """
    if not isinstance(value, list):
        raise Misfit(f"must be a list with one entry for each row, not {describe(value)}")
    if not value:
        raise Misfit("is empty: send at least one row")
    return value


def split(value: Any) -> Any:
    """Takes a table as pandas writes it with `orient="split"`.

    Columns that are only counted, as those of a frame without names are, stand in schema order.

    Raises:
        Misfit: It is none.
        InvalidInput: Rows do not fit its columns; the details name them.
    """
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise Misfit("must be an object with 'columns' and 'data', a list of rows")
    columns, rows = value.get("columns"), listed(value["data"])
    if columns is None:
        return rows
    if not isinstance(columns, list):
        raise Misfit(f"must have its 'columns' in a list, not {describe(columns)}")
    _check_rows(rows, len(columns))
    if columns == list(range(len(columns))):
        return rows
    names = list(map(str, columns))
    times = Counter(names)
    if len(times) < len(names):
        twice = next(name for name in names if times[name] > 1)
        raise Misfit(f"names the column {quote(twice)} more than once")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _check_rows(rows: list[Any], width: int) -> None:
    findings = Findings()
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            findings.add(f"must be a list of values, not {describe(row)}", index)
        elif len(row) != width:
            findings.add(f"has {len(row)} values where 'columns' has {width}", index)
    findings.check()


def _read(name: str, form: Form, value: Any) -> Any:
    """Returns the rows that stand under a name."""
    try:
        return form(value)
    except Misfit as misfit:
        raise _refusal(name, str(misfit)) from None


def _parameters(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    given = document.get(name)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _refusal(name, f"must be an object, not {describe(given)}")
    if "inputs" in given:
        raise _refusal(name, "holds 'inputs', which are no parameter")
    return given


def _refusal(name: str, problem: str) -> InvalidInput:
    return InvalidInput(f"{name!r} {problem}.", [Problem(problem, field=name)])


def _either(forms: Forms) -> str:
    *most, last = map(repr, forms)
    return f"one of {', '.join(most)} or {last}"
