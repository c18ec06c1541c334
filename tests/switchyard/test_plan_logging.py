"""The section `logging` of the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from switchyard import plan
from switchyard.errors import PlanError
from switchyard.plan_monitoring import Logging

ENDPOINTS = "endpoints: {e: {stable: a, variants: {a: {model: 'm:production'}}}}\n"


def load(folder: Path, section: str) -> Logging:
    path = folder / "switchyard.yaml"
    path.write_text(ENDPOINTS + section)
    return plan.load(path).logging


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("logging: {level: loud}", "line 2: logging.level is 'loud'"),
        ("logging: {access: 1.5}", "line 2: logging.access is 1.5"),
        ("logging: {access: -0.1}", "line 2: logging.access is -0.1"),
        ("logging: {access: all}", "line 2: logging.access is 'all'"),
        ("logging: {access: .nan}", "line 2: logging.access is nan"),
        ("logging: {fields: carrier}", "line 2: logging.fields is 'carrier'"),
        ("logging: {levels: info}", "line 2: "),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(
    section: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(PlanError) as caught:
        load(tmp_path, section + "\n")
    assert sentence in str(caught.value)


def test_left_out_no_request_is_logged_and_no_value(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Logging(level="info", access=None, fields=False)
    assert load(tmp_path, "logging: {access: 0.01}\n").access == 0.01
