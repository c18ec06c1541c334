from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services import topology
from switchyard.errors import NotFound, PlanError
from switchyard.plan import Plan
from switchyard.state import State

Register = Callable[..., str]

A = {"name": "a", "type": "float"}
B = {"name": "b", "type": "float"}
MORE = {"name": "more", "type": "float", "nullable": True}


def plan_of(**endpoints: dict[str, str]) -> Plan:
    """A plan of endpoints, each with its variants as name to model reference."""
    return Plan.model_validate(
        {
            "endpoints": {
                name: {
                    "stable": next(iter(variants)),
                    "variants": {key: {"model": ref} for key, ref in variants.items()},
                }
                for name, variants in endpoints.items()
            }
        }
    )


def resolve(state: State, **endpoints: dict[str, str]) -> dict[str, topology.EndpointSpec]:
    return topology.resolve(plan_of(**endpoints), state)


def test_a_model_that_is_not_there(register: Register, state: State) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        resolve(state, e={"v": "nowhere:production"})


def test_an_alias_that_is_not_set(register: Register, state: State) -> None:
    register("m")
    with pytest.raises(NotFound, match="staging"):
        resolve(state, e={"v": "m:staging"})


@pytest.mark.parametrize(
    "other",
    [
        {"task": "regression", "output": "values", "classes": None},
        {"task": "multiclass", "output": "probabilities", "classes": ("no", "yes", "perhaps")},
        {"task": "binary", "output": "probabilities", "classes": ("yes", "no")},
    ],
    ids=["task", "number of classes", "order of classes"],
)
def test_variants_that_answer_different_questions(
    other: dict[str, Any], register: Register, state: State
) -> None:
    register("one", task="binary", output="probabilities", classes=("no", "yes"))
    register("two", **other)
    with pytest.raises(PlanError, match="'e' do not answer the same question"):
        resolve(state, e={"v": "one:production", "w": "two:production"})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ([A, {"name": "b", "type": "text"}], "'b' has another type"),
        ([A, B, {**MORE, "nullable": False}], "'more' is not in every variant"),
    ],
)
def test_variants_whose_fields_do_not_fit_together(
    fields: list[dict[str, Any]], sentence: str, register: Register, state: State
) -> None:
    register("one")
    register("two", fields=fields)
    with pytest.raises(PlanError, match=sentence) as refusal:
        resolve(state, e={"v": "one:production", "w": "two:production"})
    assert "endpoint 'e'" in refusal.value.message


def test_a_challenger_may_use_one_nullable_field_more(register: Register, state: State) -> None:
    register("one")
    register("two", fields=[MORE, B, A], framework="torch", format="pt2")
    spec = resolve(state, e={"v": "one:production", "w": "two:production"})["e"]
    assert spec.schema.names == ("a", "b", "more")
    assert spec.variants["v"].manifest.fields.names == ("a", "b")
    assert spec.variants["w"].manifest.fields.names == ("more", "b", "a")
    assert (spec.name, spec.task, spec.classes) == ("e", "regression", None)


def test_variants_are_bound_to_the_versions_of_today(register: Register, state: State) -> None:
    old = register("m")
    new = register("m", alias="staging")
    refs = {"champion": "m:production", "challenger": "m:staging", "fixed": f"m:{old}"}
    spec = resolve(state, e=refs)["e"]
    assert {name: v.version for name, v in spec.variants.items()} == {
        "champion": old,
        "challenger": new,
        "fixed": old,
    }
    assert spec.variants["challenger"].tag == f"m:{new}"
    state.set_alias("m", "production", new, "test", "promoted")
    assert resolve(state, e=refs)["e"].variants["champion"].version == new
    assert spec.variants["champion"].version == old


def test_only_frameworks_that_a_variant_needs(register: Register, state: State) -> None:
    register("s")
    register("t", framework="torch", format="pt2")
    both = resolve(state, e={"v": "s:production"}, f={"v": "t:production", "w": "s:production"})
    assert topology.frameworks(both.values()) == ("sklearn", "torch")
    assert topology.frameworks([both["e"]]) == ("sklearn",)


def test_a_host_serves_each_reference_of_its_framework_once(
    register: Register, state: State
) -> None:
    version, newer = register("s"), register("s", alias="staging")
    register("t", framework="torch", format="pt2")
    specs = resolve(
        state,
        e={"v": "s:production", "w": "s:staging"},
        f={"v": "t:production", "w": "s:production"},
    ).values()
    found = topology.references(specs, "sklearn")
    assert {ref: v.tag for ref, v in found.items()} == {
        "s:production": f"s:{version}",
        "s:staging": f"s:{newer}",
    }
    assert list(topology.references(specs, "torch")) == ["t:production"]
    assert topology.references(specs, "tensorflow") == {}


@pytest.mark.parametrize(
    ("key_field", "sentence"),
    [
        ("c", "'c', which is no field of it; a sticky key can be read from kind, count"),
        ("a", "'a', which is of type float; a sticky key can be read from kind, count"),
    ],
)
def test_a_key_field_that_cannot_be_one_is_refused(
    key_field: str, sentence: str, register: Register, state: State
) -> None:
    kind = {"name": "kind", "type": "category", "categories": ("x", "y")}
    register("one", fields=[A, kind, {"name": "count", "type": "int"}])
    plan = {"stable": "v", "variants": {"v": {"model": "one:production"}}, "key_field": key_field}
    with pytest.raises(PlanError, match=sentence) as refusal:
        topology.resolve(Plan.model_validate({"endpoints": {"e": plan}}), state)
    assert "endpoint 'e'" in refusal.value.message


def test_an_endpoint_without_a_fit_field_has_no_key_field(register: Register, state: State) -> None:
    register("one")
    plan = {"stable": "v", "variants": {"v": {"model": "one:production"}}, "key_field": "a"}
    with pytest.raises(PlanError, match="from no field of this endpoint"):
        topology.resolve(Plan.model_validate({"endpoints": {"e": plan}}), state)


@pytest.mark.parametrize("key", ["redact", "drop"])
@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("bb", "names 'bb', which is no field of it; perhaps 'b' is meant"),
        ("prediction", "names 'prediction', which is a column of the log itself"),
        ("key", "names 'key', which is a column of the log itself"),
    ],
)
def test_only_fields_can_be_kept_out_of_the_log(
    key: str, named: str, sentence: str, register: Register, state: State
) -> None:
    register("one", fields=[A, B])
    plan = {"stable": "v", "variants": {"v": {"model": "one:production"}}, key: ["a", named]}
    with pytest.raises(PlanError, match=sentence) as refusal:
        topology.resolve(Plan.model_validate({"endpoints": {"e": plan}}), state)
    assert refusal.value.message.startswith(f"The {key} list of endpoint 'e'")


def test_a_field_with_the_name_of_a_column_of_the_log_can_be_kept_out(
    register: Register, state: State
) -> None:
    register("one", fields=[A, {"name": "status", "type": "float"}])
    plan = {"stable": "v", "variants": {"v": {"model": "one:production"}}, "drop": ["status"]}
    specs = topology.resolve(Plan.model_validate({"endpoints": {"e": plan}}), state)
    assert specs["e"].settings.drop == ["status"]
