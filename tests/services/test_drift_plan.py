from __future__ import annotations

from typing import Any

import pytest
from drifting import SCHEMA

from services.drift_plan import check_drift
from switchyard.errors import PlanError
from switchyard.plan_monitoring import Drift


@pytest.mark.parametrize(
    ("drift", "sentence"),
    [
        ({"ignore": ["color"]}, "drift.ignore of endpoint 'e' names 'color', which is no field"),
        ({"fields": {"z": {}}}, "drift.fields of endpoint 'e' names 'z', which is no field"),
        ({"fields": {"when": {}}}, "names 'when', which is of type timestamp"),
        (
            {"fields": {"colour": {"method": "ks"}}},
            "asks for ks, which is for numbers; take psi, js or chi2 for a field of type category",
        ),
        ({"fields": {"flag": {"method": "wasserstein"}}}, "for a field of type bool"),
    ],
)
def test_what_does_not_fit_the_fields_is_refused(drift: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence.replace("(", "[(]")):
        check_drift("e", Drift.model_validate(drift), SCHEMA)


def test_what_fits_is_taken() -> None:
    fields = {"x": {"method": "psi"}, "colour": {"method": "chi2", "threshold": 9.5}, "y": {}}
    drift = Drift.model_validate({"fields": fields, "ignore": ["when", "flag"]})
    check_drift("e", drift, SCHEMA)
