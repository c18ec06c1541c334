"""What a metric of the plan is of one row of the joined log, in SQL.

The class order of a row's probabilities is that of its model's manifest: feedback names classes by
their labels, as text. With p the probability of the true class, that is 0 where the model does not
know the class:

- `log_loss` is -ln(p), with p clipped at 1e-15 as in scikit-learn's `log_loss` before 1.3;
- `brier` is half of Brier's sum over the classes (Monthly Weather Review 78, 1950),
  (sum(p_k^2) - 2 p + 1) / 2: with two classes the square of what is missing to the truth, and
  always within [0, 1];
- `latency` is that of the answer: a variant that fails fast is not a fast one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from models import store
from switchyard.errors import InvalidInput, SwitchyardError
from switchyard.plan_rollout import Metric

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "CLASSES",
    "LABEL",
    "TRUTH",
    "add_classes",
    "as_number",
    "check",
    "known_classes",
    "value_of",
]

_BEFORE: Final = """(SELECT * EXCLUDE (assigned, assignment, variant, model, role, prediction,
    probabilities, confidence, latency_ms, status) FROM predictions)"""
"""What a covariate may depend on: what is known of a row before a variant has answered it."""

CLASSES: Final = "_classes"
"""Column that the expressions need beside those of `joined`: labels of the row's model, in the
order of its probabilities, null where they are not known."""

LABEL: Final = f"""(CASE
    WHEN actual_number IS NULL OR actual NOT IN ('true', 'false') THEN actual
    WHEN list_contains({CLASSES}, actual) OR actual = CAST(prediction AS VARCHAR) THEN actual
    ELSE CAST(CAST(actual_number AS BIGINT) AS VARCHAR) END)"""
"""The true class, as text. A caller may say true for the class 1, which is kept as the text 'true'
and the number 1. Where the classes are not known, a prediction of that text says that it is one."""

TRUTH: Final = "coalesce(actual_number, TRY_CAST(actual AS DOUBLE))"
"""The true value, a DOUBLE."""

_SCORED: Final = f"{CLASSES} IS NOT NULL AND probabilities IS NOT NULL AND actual IS NOT NULL"
_P: Final = f"coalesce(probabilities[list_position({CLASSES}, {LABEL})], 0)::DOUBLE"
_SQUARES: Final = "list_inner_product(probabilities, probabilities)::DOUBLE"

_OF_SOURCE: Final[dict[str, str]] = {
    "accuracy": f"({LABEL} = CAST(prediction AS VARCHAR))",
    "log_loss": f"CASE WHEN {_SCORED} THEN -ln(greatest({_P}, 1e-15)) END",
    "brier": f"CASE WHEN {_SCORED} THEN ({_SQUARES} - 2 * {_P} + 1) / 2 END",
    "absolute_error": f"abs(TRY_CAST(prediction AS DOUBLE) - {TRUTH})",
    "squared_error": f"pow(TRY_CAST(prediction AS DOUBLE) - {TRUTH}, 2)",
    "reward": "reward",
    "latency": "CASE WHEN status = 'ok' THEN latency_ms END",
    "error": "(status <> 'ok')",
    "confidence": "confidence",
}


_NUMBERS: Final = re.compile(
    r"BOOLEAN|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|BIGNUM|DECIMAL|FLOAT|DOUBLE"
)
"""Types of DuckDB whose values are numbers or can be taken as such."""


def value_of(metric: Metric) -> str:
    """Returns the SQL of a metric's value, a DOUBLE, null where a row has no outcome."""
    return as_number(metric.sql if metric.source is None else _OF_SOURCE[metric.source])


def as_number(expression: str | None) -> str:
    """Returns the SQL of an expression's value as a DOUBLE, null where it is no number."""
    return f"TRY_CAST(({expression}\n) AS DOUBLE)"


def add_classes(db: DuckDBPyConnection, classes: Mapping[str, Iterable[int | str]]) -> None:
    """Makes the table `model_classes` of a session: the labels of each model in order.

    Args:
        db: From `monitoring.feedback.open_joined`.
        classes: Labels by `name:version`; models without classes are left out.
    """
    db.execute(f"CREATE OR REPLACE TEMP TABLE model_classes (model VARCHAR, {CLASSES} VARCHAR[])")
    for model, labels in classes.items():
        db.execute("INSERT INTO model_classes VALUES (?, ?)", [model, [*map(str, labels)]])


def known_classes(db: DuckDBPyConnection) -> dict[str, tuple[int | str, ...]]:
    """Returns the labels of the models whose answers are in a session, as their manifests say.

    Those that are no longer in the store are left out; their rows have no probabilities to judge.
    """
    found = {}
    for (model,) in db.execute("SELECT DISTINCT model FROM predictions").fetchall():
        try:
            classes = store.manifest(*store.split(model)).classes
        except SwitchyardError:
            continue
        if classes is not None:
            found[model] = classes
    return found


def check(db: DuckDBPyConnection, name: str, metric: Metric, is_empty: bool) -> None:
    """Refuses a metric whose SQL is no expression that DuckDB can evaluate row by row.

    Args:
        db: From `monitoring.feedback.open_joined`.
        name: Of the metric.
        metric: The metric.
        is_empty: Whether there is no prediction, so that nothing is known of the fields.

    Raises:
        InvalidInput: `sql` or `covariate` is no such expression.
    """
    for key, expression, view in (
        ("sql", metric.sql, "joined"),
        ("covariate", metric.covariate, _BEFORE),
    ):
        if expression is None:
            continue
        problem = _form_problem(db, expression)
        if problem is None and not is_empty:
            problem = _type_problem(db, expression, view)
        if problem is not None:
            raise InvalidInput(
                f"The metric {name!r} cannot be computed; its {key!r} in the plan, "
                f"{expression!r}, {problem}."
            )


def _form_problem(db: DuckDBPyConnection, expression: str) -> str | None:
    """Returns why a text is no expression over the columns of one row, as a clause."""
    # By itself first: it must not end the brackets and go on with a statement of its own.
    parsed = db.execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression}\n)"]).fetchone()
    tree: dict[str, Any] = orjson.loads(parsed[0]) if parsed else {"error": True}
    if tree["error"] or not _is_expression(tree["statements"]):
        return "is not one SQL expression"
    if _holds(tree, "SUBQUERY") or _holds(tree, "STAR"):
        return "may use the columns of one row only: no query and no star"
    return None


def _type_problem(db: DuckDBPyConnection, expression: str, view: str) -> str | None:
    """Returns why an expression has no number for a row of a view, as a clause."""
    import duckdb

    try:
        # A WHERE takes neither aggregates nor windows, which are no values of one row.
        db.execute(f"EXPLAIN SELECT 1 FROM {view} WHERE ({expression}\n) IS NOT NULL")
        found = db.execute(f"DESCRIBE SELECT ({expression}\n) FROM {view}").fetchone()
    except duckdb.Error as error:
        return f"is refused by DuckDB: {str(error).splitlines()[0].rstrip('.!')}"
    kind = str(found[1]) if found else ""
    if not _NUMBERS.fullmatch(kind.partition("(")[0]):
        return f"is of the type {kind}, but must be a number or a truth value"
    return None


def _is_expression(statements: list[dict[str, Any]]) -> bool:
    if len(statements) != 1:
        return False
    node = statements[0]["node"]
    return (
        node["type"] == "SELECT_NODE"
        and node["from_table"]["type"] == "EMPTY"
        and len(node["select_list"]) == 1
    )


def _holds(tree: object, kind: str) -> bool:
    """Whether a node of this class is anywhere in a serialized query."""
    if isinstance(tree, list):
        return any(_holds(part, kind) for part in tree)
    if not isinstance(tree, dict):
        return False
    return tree.get("class") == kind or any(_holds(part, kind) for part in tree.values())
