"""What a version must be to take an alias' place, and what is kept of refusals."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lifecycle import FIELDS, Registry, Serve, open_registry, plan_of

from models import lock, store
from models.lifecycle.promote import Moved, promote
from switchyard.errors import GateNotPassed, InvalidInput, NotFound, NotReady, PromotionRefused
from switchyard.plan import Plan

PLAN = plan_of("m:production")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with open_registry(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def to(registry: Registry) -> Callable[..., Moved]:
    def run(version: str, plan: Plan = PLAN, **more) -> Moved:
        settings = {"plan": plan, "state": registry.state, "who": "ada", "why": "better", **more}
        return promote("m", version, **settings)

    return run


@pytest.fixture
def refused(registry: Registry, to) -> Callable[..., str]:
    """Promotes what is refused; returns the sentence once nothing but its record is seen."""

    def run(version: str, *arguments, error=PromotionRefused, **more) -> str:
        before, history = registry.state.aliases(), registry.state.alias_history("m")
        with pytest.raises(error) as caught:
            to(version, *arguments, **more)
        assert registry.state.aliases() == before
        assert registry.state.observe().candidates == ()
        added = registry.state.alias_history("m")[len(history) :]
        kept = [(change.action, change.to_version, change.why) for change in added]
        assert kept == [("refused", version, caught.value.message)]
        return caught.value.message

    return run


# What goes wrong.


@pytest.mark.parametrize("version", ["nothing", "Nothing", "a b", "*", ""])
def test_a_version_that_is_not_there_is_no_refusal(version: str, to, registry: Registry) -> None:
    registry.first()
    with pytest.raises((NotFound, InvalidInput)):
        to(version)
    assert len(registry.state.alias_history("m")) == 1


def test_a_bad_name_of_an_alias(to, registry: Registry) -> None:
    with pytest.raises(InvalidInput, match="'Live!' is no usable alias"):
        to(registry.first(), alias="Live!")


def test_another_framework_is_a_variant_of_its_own(refused, registry: Registry) -> None:
    registry.first()
    other = registry.store(framework="torch", format="pt2")
    assert "runs on torch" in refused(other)
    assert "a variant of its own" in refused(other, force=True)


def test_another_task_does_not_fit_the_endpoint(refused, registry: Registry) -> None:
    registry.first()
    registry.first("n")
    classes = {"task": "binary", "output": "probabilities", "classes": ("no", "yes")}
    artefact = registry.folder / "none"
    artefact.mkdir()
    manifest = store.manifest("m", registry.store()).model_copy(update=classes)
    rows = store.reference("m", store.versions("m")[0].version)
    rows[["probability_no", "probability_yes"]] = 0.5
    other = store.create("m", manifest, artefact, rows)
    said = refused(other, plan_of("m:production", "n:production"))
    assert "endpoint 'e' answers with a number" in said
    assert "has the classes no, yes" in said


def test_fields_that_have_no_union_with_a_neighbours_do_not_fit(refused, registry) -> None:
    registry.first()
    registry.first("n")
    other = registry.store(fields=(*FIELDS, {"name": "c", "type": "float"}))
    said = refused(other, plan_of("m:production", "n:production"))
    assert (
        "beside the other variants of the endpoint 'e': field 'c' is not in every variant" in said
    )
    assert "bring it as a model of its own" in said


def test_damaged_files_are_refused_even_with_force(refused, registry: Registry) -> None:
    registry.first()
    version = registry.store()
    (store.path("m", version) / "model.onnx").write_bytes(b"damaged")
    assert "model.onnx" in refused(version)
    assert "model.onnx" in refused(version, force=True)


def test_a_manifest_that_cannot_be_read_is_refused(refused, registry: Registry) -> None:
    registry.first()
    version = registry.store()
    (store.path("m", version) / "manifest.json").write_text("{}")
    assert "cannot be read" in refused(version)


def test_a_gate_that_is_not_passed_says_the_rule_and_both_numbers(refused, registry) -> None:
    registry.first(metrics={"auc": 0.7})
    version = registry.store(metrics={"auc": 0.6})
    gates = ["metrics.auc >= current - 0.01", "metrics.auc >= 0.5", "metrics.f1 >= 0.5"]
    said = refused(version, plan_of("m:production", gates=gates), error=GateNotPassed)
    assert said == (
        f"m:{version} may not become 'production'. metrics.auc >= current - 0.01: it is 0.6, and "
        f"at least 0.69 is asked for (current: 0.7); metrics.f1 >= 0.5: m:{version} has no "
        "metrics.f1."
    )


def test_the_details_of_a_refusal_are_every_rule(to, registry: Registry) -> None:
    registry.first()
    gates = ["metrics.auc >= 0.7", "latency <= 10000 ms"]
    version = registry.store(metrics={"auc": 0.6})
    with pytest.raises(GateNotPassed) as caught:
        to(version, plan_of("m:production", gates=gates))
    body = caught.value.body()
    assert body["code"] == "gate_not_passed"
    assert [detail["field"] for detail in body["details"]] == ["verified", *gates]


def test_latency_is_measured_of_both(refused, registry: Registry) -> None:
    registry.first()
    gates = ["latency <= 0.001 * current"]
    said = refused(registry.store(), plan_of("m:production", gates=gates), error=GateNotPassed)
    assert "latency <= 0.001 * current: it is " in said
    assert re.search(
        r"it is [\d.e-]+ ms, and at most [\d.e-]+ ms is .* \(current: [\d.e-]+ ms", said
    )


def test_a_version_that_answers_otherwise_needs_force(refused, to, registry: Registry) -> None:
    registry.first()
    version = registry.store(wrong=True)
    assert "differently from when stored" in refused(version, error=GateNotPassed)
    assert to(version, force=True).overruled is not None


def test_a_neighbour_without_a_version(refused, registry: Registry) -> None:
    registry.first()
    plan = plan_of("m:production", "n:production")
    assert "Model 'n' has neither" in refused(registry.store(), plan)


def test_an_alias_that_is_named_like_a_version(to, registry: Registry) -> None:
    first, version = registry.first(), registry.store()
    with pytest.raises(InvalidInput, match=f"'{first}' is a version of model 'm', so no alias"):
        to(version, alias=first)
    assert registry.state.aliases() == {("m", "production"): first}


def test_a_refusal_is_heard_even_if_it_cannot_be_recorded(to, registry, monkeypatch) -> None:
    def no_answer(*_: object) -> None:
        raise NotReady("gone")

    registry.first()
    monkeypatch.setattr(registry.state, "record_refusal", no_answer)
    with pytest.raises(PromotionRefused, match="runs on torch"):
        to(registry.store(framework="torch", format="pt2"))


# What goes right.


def test_a_promotion_is_in_the_history(to, registry: Registry) -> None:
    first, version = registry.first(), registry.store()
    moved = to(version)
    assert (moved.before, moved.version, moved.changed) == (first, version, True)
    assert [verdict.rule for verdict in moved.verdicts] == ["verified"]
    last = registry.state.alias_history("m")[-1]
    kept = (last.from_version, last.to_version, last.who, last.why, last.action, last.overruled)
    assert kept == (first, version, "ada", "better", "promote", None)
    assert registry.state.observe().candidates == ()


def test_what_force_overrules_is_in_the_history_with_its_numbers(to, registry: Registry) -> None:
    registry.first()
    plan = plan_of("m:production", gates=["metrics.auc >= 0.7"])
    moved = to(registry.store(metrics={"auc": 0.6}), plan, force=True)
    overruled = "metrics.auc >= 0.7: it is 0.6, and at least 0.7 is asked for"
    assert moved.overruled == overruled
    assert registry.state.alias_history("m")[-1].overruled == overruled


def test_force_that_was_not_needed_is_not_recorded(to, registry: Registry) -> None:
    registry.first()
    assert to(registry.store(), force=True).overruled is None
    assert registry.state.alias_history("m")[-1].overruled is None


def test_a_version_that_is_there_already_changes_nothing(to, registry: Registry) -> None:
    version = registry.first()
    moved = to(version)
    assert (moved.changed, moved.is_followed) == (False, True)
    with Serve(registry.state):
        moved = to(version)
    assert (moved.before, moved.version, moved.changed) == (version, version, False)
    assert (moved.hosts, moved.routers) == (("onnx here:1",), ("router here:2",))
    assert len(registry.state.alias_history("m")) == 1
    assert registry.state.observe().candidates == ()


def test_another_alias_may_name_the_version(to, registry: Registry) -> None:
    first, version = registry.first(), registry.store()
    assert to(version, alias="staging").before is None
    assert to("staging").version == version
    assert registry.state.aliases() == {("m", "production"): version, ("m", "staging"): version}
    assert first != version


def test_gates_are_those_of_the_endpoints_that_name_the_alias(to, registry: Registry) -> None:
    registry.first()
    plan = plan_of("m:production", gates=["metrics.auc >= 0.7"])
    assert to(registry.store(), plan, alias="staging").changed


def test_a_current_version_that_is_gone_stands_in_nobodys_way(to, registry: Registry) -> None:
    gone = registry.first()
    store.delete("m", gone)
    plan = plan_of("m:production", gates=["metrics.auc >= current"])
    moved = to(registry.store(metrics={"auc": 0.1}), plan)
    assert (moved.before, moved.verdicts[-1].passed) == (gone, True)


def test_what_only_the_lock_knows_is_kept(to, registry: Registry, monkeypatch) -> None:
    first, version = registry.store(), registry.store()
    monkeypatch.setattr(lock, "LOCK_FILE", str(registry.folder / lock.LOCK_FILE))
    aliases = {"m": {"production": first}, "n": {"production": "v"}}
    (registry.folder / lock.LOCK_FILE).write_text(json.dumps({"aliases": aliases}))
    assert to(version).before == first
    assert registry.state.aliases() == {("m", "production"): version, ("n", "production"): "v"}
