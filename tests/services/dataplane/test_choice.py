from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from models.columns import Columns
from services import topology
from services.dataplane.choice import Chooser
from services.traffic.hashing import exposure_point, variation_point
from services.traffic.split import initial
from services.wire.encode import Encoder
from services.wire.request import Request
from switchyard.errors import Forbidden, NotFound
from switchyard.plan import Plan
from switchyard.plan_rollout import CANARY
from switchyard.records import Revision
from switchyard.state import State

FIELDS = (
    {"name": "a", "type": "float"},
    {"name": "who", "type": "text", "nullable": True},
)
KEYS = [f"traveller-{n}" for n in range(2000)]


@pytest.fixture
def spec(register: Callable[..., str], state: State) -> topology.EndpointSpec:
    register("m", fields=FIELDS)
    plan = {
        "stable": "s",
        "variants": {name: {"model": "m:production"} for name in ("s", "t")},
        "key_field": "who",
    }
    return topology.resolve(Plan.model_validate({"endpoints": {"e": plan}}), state)["e"]


def revision(coverage: float = 1.0, **shares: float) -> Revision:
    shares = shares or {"s": 0.5, "t": 0.5}
    return Revision("e", 1, "now", "test", "", shares, initial(shares), {}, coverage)


def rows(spec: topology.EndpointSpec, *names: str | None) -> Columns:
    return Encoder(spec.schema, 10).encode([{"a": 1.0, "who": name} for name in names])


def choose(
    chooser: Chooser, columns: Columns, *, is_admin: bool = False, **asked: Any
) -> tuple[str, str, str, str | None]:
    return chooser.choose(Request(None, **asked), columns, None, is_admin)


def test_a_variant_that_is_not_there_or_not_for_everybody(spec: topology.EndpointSpec) -> None:
    chooser = Chooser(spec, revision())
    columns = rows(spec, "ada")
    with pytest.raises(Forbidden, match="needs the admin scope"):
        choose(chooser, columns, variant="t")
    with pytest.raises(NotFound, match="no variant 'u'; it has s, t"):
        choose(chooser, columns, variant="u", is_admin=True)


def test_keys_outside_the_coverage_meet_the_stable_variant(spec: topology.EndpointSpec) -> None:
    chooser = Chooser(spec, revision(coverage=0.3))
    columns = rows(spec, "ada")
    for key in KEYS:
        choice = choose(chooser, columns, key=key)
        if exposure_point("e", key) < 0.3:
            drawn = "s" if variation_point("e", key) < 0.5 else "t"
            assert choice == (drawn, drawn, "split", key)
        else:
            assert choice == ("s", "s", "override", key)


def test_the_coverage_moves_no_key_to_another_variant(spec: topology.EndpointSpec) -> None:
    columns = rows(spec, "ada")
    some, more = (Chooser(spec, revision(coverage=coverage)) for coverage in (0.2, 0.6))
    for key in KEYS:
        before, after = choose(some, columns, key=key), choose(more, columns, key=key)
        assert before[2] == "override" or before == after


@pytest.mark.parametrize(("coverage", "kinds"), [(0.0, {"override"}), (1.0, {"split"})])
def test_the_ends_of_the_coverage(
    spec: topology.EndpointSpec, coverage: float, kinds: set[str]
) -> None:
    chooser = Chooser(spec, revision(coverage))
    columns = rows(spec, None)
    keyed = {choose(chooser, columns, key=key)[2] for key in KEYS}
    drawn = {choose(chooser, columns)[2] for _ in KEYS}
    assert keyed == drawn == kinds


def test_without_a_key_exposure_and_variant_are_drawn(spec: topology.EndpointSpec) -> None:
    chooser = Chooser(spec, revision(coverage=0.5, s=0.25, t=0.75))
    columns = rows(spec, None)
    counts = Counter(choose(chooser, columns)[:3] for _ in range(8000))
    assert set(counts) == {("s", "s", "override"), ("s", "s", "split"), ("t", "t", "split")}
    # 0.5, 0.125 and 0.375 of 8000, each give or take six standard deviations
    assert abs(counts["s", "s", "override"] - 4000) < 270
    assert abs(counts["s", "s", "split"] - 1000) < 180
    assert abs(counts["t", "t", "split"] - 3000) < 260


def test_a_forced_variant_keeps_what_the_split_gives(spec: topology.EndpointSpec) -> None:
    chooser = Chooser(spec, revision())
    columns = rows(spec, "ada")
    for key in KEYS[:50]:
        assigned = choose(chooser, columns, key=key)[1]
        choice = choose(chooser, columns, key=key, variant="t", is_admin=True)
        assert choice == ("t", assigned, "forced", key)


def test_the_field_is_the_key_where_the_caller_names_none(spec: topology.EndpointSpec) -> None:
    chooser = Chooser(spec, revision())
    for key in KEYS[:50]:
        assert choose(chooser, rows(spec, key, key)) == choose(chooser, rows(spec, None), key=key)
    assert choose(chooser, rows(spec, "ada", "grace"), key="mine")[3] == "mine"
    assert choose(chooser, rows(spec, None))[3] is None


def test_a_request_without_a_good_row_has_no_key(spec: topology.EndpointSpec) -> None:
    nothing = rows(spec, "ada").slice(0, 0)
    assert choose(Chooser(spec, revision()), nothing)[3] is None


def test_keys_of_a_canary_are_called_so(spec: topology.EndpointSpec) -> None:
    canary = replace(spec.variants["s"], name=CANARY)
    spec = replace(spec, variants={**spec.variants, CANARY: canary})
    chooser = Chooser(spec, revision(s=0.4, t=0.5, canary=0.1))
    columns = rows(spec, "ada")
    choices = [choose(chooser, columns, key=key) for key in KEYS]
    assert {choice[1:3] for choice in choices} == {
        ("s", "split"),
        ("t", "split"),
        (CANARY, CANARY),
    }
