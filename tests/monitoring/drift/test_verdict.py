"""The form of the JSON verdict, which is fixed."""

from __future__ import annotations

from pathlib import Path

import orjson
import pydantic
import pytest

from monitoring.drift import Verdict
from monitoring.drift import verdict as module
from monitoring.drift.verdict import worst


def test_the_schema_of_the_verdict_is_the_one_that_is_documented() -> None:
    file = Path(module.__file__).with_name("verdict.schema.json")
    assert orjson.loads(file.read_bytes()) == Verdict.model_json_schema(), (
        "write json.dumps(Verdict.model_json_schema(), indent=2) into it"
    )


def test_what_the_form_does_not_know_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="Field required"):
        Verdict.model_validate({"endpoint": "flights"})
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        Verdict.model_validate({"surprise": 1})


def test_several_parts_have_drifted_if_one_has_and_are_unknown_only_together() -> None:
    assert worst([]) == "unknown"
    assert worst(["unknown", "steady"]) == "steady"
    assert worst(["unknown", "steady", "drift"]) == "drift"
