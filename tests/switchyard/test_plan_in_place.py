"""What the environment puts in the place of what a plan says."""

from __future__ import annotations

from pathlib import Path

import pytest

from switchyard import plan
from switchyard.errors import Conflict, PlanError

PLAN = """\
endpoints: {e: {stable: a, variants: {a: {model: "m:production"}}}}
log: {keep_days: 30, store: "s3://of-the-plan/log"}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SWITCHYARD_MODE", "SWITCHYARD_LOG_STORE", "SWITCHYARD_VARIANT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "switchyard.yaml").write_text(PLAN)
    return tmp_path / "switchyard.yaml"


def test_nothing_is_changed_where_nothing_is_set(path: Path) -> None:
    assert plan.load(path) == plan.read_plan(path)


@pytest.mark.parametrize("mode", ["static", "live"])
def test_the_mode_of_the_place_counts(
    path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(PLAN + f"mode: {'live' if mode == 'static' else 'static'}\n")
    monkeypatch.setenv("SWITCHYARD_MODE", mode)
    assert plan.load(path).mode == mode
    assert plan.read_plan(path).mode != mode


def test_a_plan_that_is_static_in_its_place_is_not_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.load(path).check_changeable()
    monkeypatch.setenv("SWITCHYARD_MODE", "static")
    with pytest.raises(Conflict, match="static"):
        plan.load(path).check_changeable()


def test_the_store_of_the_place_counts_and_the_rest_of_the_log_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_LOG_STORE", "s3://of-the-place/log")
    loaded = plan.load(path)
    assert loaded.log == plan.read_plan(path).log.model_copy(
        update={"store": "s3://of-the-place/log"}
    )
    assert loaded.log.keep_days == 30
    assert loaded.mode == "live"


def test_the_variant_of_the_place_takes_all_traffic_of_its_endpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = '{a: {model: "m:1"}, b: {model: "n:1"}}'
    traffic = "{split: {a: 0.4, b: 0.6}, shadow: {a: 1.0}, coverage: 0.5}"
    section = f"{{stable: a, fallback: true, variants: {variants}, traffic: {traffic}}}"
    path.write_text(f"endpoints: {{e: {section}, other: {section}}}\n")
    written = plan.read_plan(path)
    monkeypatch.setenv("SWITCHYARD_VARIANT", "e=b")
    loaded = plan.load(path)
    assert loaded.endpoints["other"] == written.endpoints["other"]
    assert loaded.endpoints["e"].traffic == plan.Traffic(split={"a": 0.0, "b": 1.0})
    assert loaded.endpoints["e"].fallback
    assert loaded.endpoints["e"].variants == written.endpoints["e"].variants


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "SWITCHYARD_VARIANT",
            "torch",
            "SWITCHYARD_VARIANT is 'torch'; it must look like 'endpoint=variant'",
        ),
        (
            "SWITCHYARD_VARIANT",
            "e=b",
            "SWITCHYARD_VARIANT is 'e=b', but the plan has no such endpoint and variant.",
        ),
        (
            "SWITCHYARD_MODE",
            "frozen",
            "SWITCHYARD_MODE is 'frozen'; it must be 'live' or 'static'.",
        ),
        (
            "SWITCHYARD_LOG_STORE",
            "logs",
            "SWITCHYARD_LOG_STORE is 'logs', but must be a URL like 's3://bucket/folder'",
        ),
    ],
)
def test_a_variable_that_is_wrong_is_named(
    path: Path, variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(PlanError) as caught:
        plan.load(path)
    assert caught.value.message.startswith(said)
    assert str(path) not in caught.value.message
