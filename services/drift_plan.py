"""Whether what the plan says of drift fits the fields of an endpoint."""

from __future__ import annotations

from typing import Final

from models.schema import Schema
from switchyard.errors import PlanError
from switchyard.plan_monitoring import Drift
from switchyard.plan_problems import hint

__all__ = ["check_drift"]

_JUDGED: Final = ("float", "int", "bool", "category")
_LABELS: Final = ("bool", "category")
_OF_NUMBERS: Final = ("ks", "wasserstein")


def check_drift(endpoint: str, drift: Drift, schema: Schema) -> None:
    """Refuses names that are no fields, and methods that a field has no score for.

    Args:
        endpoint: Name of the endpoint.
        drift: Its settings.
        schema: Its fields.

    Raises:
        PlanError: Something does not fit.
    """
    for key, names in (("fields", drift.fields), ("ignore", drift.ignore)):
        for name in names:
            if name not in schema.names:
                raise PlanError(
                    f"drift.{key} of endpoint {endpoint!r} names {name!r}, which is no field of "
                    f"it; {hint(name, schema.names, 'its fields are')}."
                )
    for name, asked in drift.fields.items():
        kind = schema.by_name[name].type
        if kind not in _JUDGED:
            raise PlanError(
                f"drift.fields of endpoint {endpoint!r} names {name!r}, which is of type {kind}: "
                f"fields of the types {', '.join(_JUDGED)} are judged."
            )
        if kind in _LABELS and asked.method in _OF_NUMBERS:
            raise PlanError(
                f"drift.fields.{name} of endpoint {endpoint!r} asks for {asked.method}, which is "
                f"for numbers; take psi, js or chi2 for a field of type {kind}."
            )
