"""Canaries from their start to their end, on a real registry with real small models."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lifecycle import FIELDS, Registry, Serve, open_registry, plan_of, wait_until

from models import store
from models.lifecycle.catalog import delete
from models.registry import Tag
from services import reroute, revisions
from services.rollout import advance as rollout
from services.rollout.advance import advance
from services.rollout.start import abort, start
from services.traffic.findings import Seen
from services.traffic.ledger import Tried
from services.traffic.split import shares_of
from switchyard.errors import Conflict, InvalidInput, NotFound, PromotionRefused
from switchyard.plan import Plan
from switchyard.plan_rollout import CANARY
from switchyard.records import Canary, iso, utc_now

SETTINGS = {"steps": [10.0, 50.0], "bake": 60.0, "minimum_requests": 10}
FINE = (Tried(1000, 0, (1000,)), Tried(9000, 0, (9000,)))
FAILING = (Tried(10, 5, (5,)), Tried(90, 0, (90,)))


def plan(**section: Any) -> Plan:
    made = plan_of("m:production", "n:production").model_dump(mode="json", exclude={"hosts"})
    endpoint = made["endpoints"]["e"] | {"canary": SETTINGS} | section
    endpoint["traffic"] = {"split": {"v0": 0.5, "v1": 0.5}}
    endpoint["gates"] = section.get("gates", [])
    return Plan.model_validate({"endpoints": {"e": endpoint}})


PLAN = plan()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with open_registry(tmp_path, monkeypatch) as opened:
        opened.first("m")
        opened.first("n")
        revisions.current("e", PLAN.endpoints["e"], opened.state)
        yield opened


@pytest.fixture
def new(registry: Registry) -> str:
    return f"m:{registry.store('m')}"


@pytest.fixture
def begin(registry: Registry) -> Callable[..., Canary]:
    def run(model: str, endpoint: str = "e", plan: Plan = PLAN, **asked: Any) -> Canary:
        state = registry.state
        return start(endpoint, model, plan=plan, state=state, who="ada", why="try", asked=asked)

    return run


@pytest.fixture
def look(registry: Registry) -> Callable[..., Canary]:
    """Lets the controller look once, at given counts, and returns what has become of the canary."""
    counted: dict[int, tuple[Tried, Tried]] = {}

    def run(tried: tuple[Tried, Tried] | None = None, plan: Plan = PLAN) -> Canary:
        (canary,) = (one for one in registry.state.canaries("e") if one.running)
        latest = registry.state.latest_revision("e")
        assert latest is not None
        if tried is not None:
            counted[latest.number] = tried
        seen = Seen(tried=dict(counted))
        advance(canary, plan, registry.state, lambda canary, settings: seen)
        return registry.state.canaries("e")[-1]

    return run


def baked(registry: Registry) -> None:
    """Puts back when the step came into force."""
    canary = registry.state.canary("e")
    assert canary is not None
    since = iso(utc_now() - timedelta(seconds=61))
    registry.state.move_canary(replace(canary, since=since))


def traffic(registry: Registry) -> dict[str, float]:
    latest = registry.state.latest_revision("e")
    assert latest is not None
    return shares_of(latest.intervals)


# Starting


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"steps": []}, "steps is empty"),
        ({"steps": [5, 5]}, "every step must be larger"),
        ({"steps": [50, 5]}, "every step must be larger"),
        ({"steps": [0, 5]}, "a percentage above 0"),
        ({"steps": [5, 101]}, "at most 100"),
        ({"steps": ["a"]}, "steps.0 is 'a', but must be a number"),
        ({"bake": -1}, "bake"),
        ({"guards": {"errrors": True}}, "perhaps 'errors' is meant"),
        ({"guards": {"metrics": {"accuracy": 0.1}}}, "'accuracy' is no metric"),
        ({"guards": {"prometheus": [{"url": "http://p", "query": "up"}]}}, "at_most"),
    ],
)
def test_settings_that_make_no_sense(asked, sentence, begin, new, registry) -> None:
    with pytest.raises(InvalidInput) as refused:
        begin(new, **asked)
    assert sentence in refused.value.message
    assert registry.state.canaries() == []


def test_steps_that_leave_nothing_to_compare_with(begin, new) -> None:
    with pytest.raises(InvalidInput, match="begin below 100"):
        begin(new, steps=[100])
    assert begin(new, steps=[100], guards={"errors": False, "slow": False}).status == "loading"


def test_outcomes_that_are_known_too_late(begin, new) -> None:
    metrics = {"primary": "accuracy", "outcome_window": "1d"}
    late = plan(metrics=metrics, canary={**SETTINGS, "guards": {"metrics": {"accuracy": 0.1}}})
    with pytest.raises(InvalidInput, match="'outcome_window'"):
        begin(new, plan=late)
    assert begin(new, plan=late, bake="1d").status == "loading"


def test_a_stable_variant_without_a_share(begin, new, registry) -> None:
    endpoint = PLAN.endpoints["e"]
    reroute.change("e", endpoint, registry.state, split={"v1": 1}, who="ada", reason="")
    with pytest.raises(Conflict, match=r"'v0' has 0\.00% of the traffic"):
        begin(new)


def test_a_version_that_does_not_fit_beside_the_one_it_replaces(begin, registry) -> None:
    fields = [*FIELDS, {"name": "c", "type": "float"}]
    alone = plan_of("m:production")
    with pytest.raises(PromotionRefused, match="field 'c' is not in every variant"):
        begin(f"m:{registry.store('m', fields=fields)}", plan=alone)


def test_an_endpoint_or_version_that_is_not_there(begin, new) -> None:
    with pytest.raises(NotFound, match="no endpoint 'f'; it has e"):
        begin(new, endpoint="f")
    with pytest.raises(NotFound, match="nowhere"):
        begin("m:nowhere")


def test_a_version_of_another_model(begin, registry) -> None:
    with pytest.raises(InvalidInput, match="is the model 'm', so its canary must be a version of"):
        begin(f"n:{registry.store('n')}")


def test_the_version_that_answers_already(begin, registry) -> None:
    with pytest.raises(Conflict, match="stands for already"):
        begin(f"m:{registry.state.alias('m', 'production')}")


def test_a_stable_variant_that_is_bound_to_a_version(begin, registry, new) -> None:
    fixed = f"m:{registry.state.alias('m', 'production')}"
    made = PLAN.model_dump(mode="json", exclude={"hosts"})
    made["endpoints"]["e"]["variants"]["v0"]["model"] = fixed
    with pytest.raises(Conflict, match="bind it to an alias in the plan, like 'm:production'"):
        begin(new, plan=Plan.model_validate(made))


def test_a_version_that_does_not_load(begin, registry) -> None:
    with pytest.raises(PromotionRefused):
        begin(f"m:{registry.bare('m')}")
    assert registry.state.canary("e") is None


def test_a_second_canary_at_once(begin, new) -> None:
    begin(new)
    with pytest.raises(Conflict, match="A canary goes on at endpoint 'e'"):
        begin(new)


# Its way


def test_it_waits_until_every_host_has_it(begin, new, look, registry) -> None:
    begin(new)
    assert look().status == "loading"
    with Serve(registry.state, refs=("m:production", "n:production")):
        wait_until(lambda: look().status == "running")
    shares = traffic(registry)
    assert (shares["v1"], shares[CANARY]) == (0.5, 0.05)
    assert registry.state.latest_revision("e").reason == f"step 1 of 2: 10% of 'v0' go to {new}"


def test_a_host_that_cannot_load_it(begin, new, look, registry) -> None:
    begin(new)
    failing = {new: "it is broken"}
    with Serve(registry.state, refs=("m:production", "n:production"), failing=failing):
        wait_until(lambda: look().status == "failed" if registry.state.canary("e") else True)
    ended = registry.state.canaries("e")[-1]
    assert ended.verdict == f"onnx here:1 cannot load {new}: it is broken"
    assert traffic(registry) == {"v0": 0.5, "v1": 0.5}


def test_no_host_within_the_time(begin, new, look, registry, monkeypatch) -> None:
    begin(new)
    monkeypatch.setattr(rollout, "LOAD_LOOKS", 2)
    assert [look().status for _ in range(3)] == ["loading", "loading", "failed"]
    assert registry.state.canary("e") is None


def test_the_time_without_a_controller_is_not_held_against_it(begin, new, look, registry) -> None:
    begun = begin(new)
    registry.state.move_canary(replace(begun, since=iso(utc_now() - timedelta(days=1))))
    assert look().status == "loading"
    with Serve(registry.state, refs=("m:production", "n:production")):
        wait_until(lambda: look().status == "running")


def test_traffic_that_changes_while_it_loads_stays_changed(begin, new, look, registry) -> None:
    begin(new)
    split = {"v0": 0.8, "v1": 0.2}
    reroute.change("e", PLAN.endpoints["e"], registry.state, split=split, who="bob", reason="")
    with Serve(registry.state, refs=("m:production", "n:production")):
        wait_until(lambda: look().status == "running")
    assert traffic(registry) == {"v0": 0.72, "v1": 0.2, CANARY: 0.08}
    assert look(FAILING).status == "failed"
    assert traffic(registry) == split


def test_a_version_that_is_deleted_while_it_loads(begin, new, look) -> None:
    begin(new)
    store.delete(*new.split(":"))
    ended = look()
    assert (ended.status, ended.verdict) == ("failed", f"{new} was deleted meanwhile.")


@pytest.fixture
def running(begin, new, registry) -> Canary:
    """A canary at its first step."""
    begun = begin(new)
    with Serve(registry.state, refs=("m:production", "n:production")):
        wait_until(lambda: is_running(begun, registry))
    found = registry.state.canary("e")
    assert found is not None
    return found


def is_running(begun: Canary, registry: Registry) -> bool:
    advance(registry.state.canary("e") or begun, PLAN, registry.state, lambda *_: Seen())
    found = registry.state.canary("e")
    return found is not None and found.status == "running"


def test_it_fails_and_the_shares_are_back_to_the_interval(running, look, registry) -> None:
    before = registry.state.revisions("e")[0]
    began = iso(utc_now())
    failed = look(FAILING)
    assert failed.status == "failed"
    assert began < registry.state.taken_back()["e"] == failed.since
    assert "The guard 'errors' fails: 5 of 10 requests failed at the canary" in failed.verdict
    latest = registry.state.latest_revision("e")
    assert (latest.intervals, latest.shares) == (before.intervals, before.shares)
    assert latest.restores == before.number
    assert failed.verdict in latest.reason
    assert failed.evidence["findings"][0]["outcome"] == "fail"


def test_after_its_end_the_plan_is_followed_again(running, look, registry) -> None:
    look(FAILING)
    changed = (
        plan()
        .endpoints["e"]
        .model_copy(
            update={
                "traffic": PLAN.endpoints["e"].traffic.model_copy(
                    update={"split": {"v0": 0.9, "v1": 0.1}}
                )
            }
        )
    )
    assert revisions.current("e", changed, registry.state).shares == {"v0": 0.9, "v1": 0.1}


def test_a_plan_that_changed_meanwhile_is_in_force_at_its_end(running, look, registry) -> None:
    traffic_of = {"split": {"v0": 0.9, "v1": 0.1}}
    changed = PLAN.model_dump(mode="json", exclude={"hosts"})
    changed["endpoints"]["e"]["traffic"] = traffic_of
    restarted = Plan.model_validate(changed)
    assert look(FAILING, plan=restarted).status == "failed"
    assert traffic(registry) == traffic_of["split"]
    assert revisions.in_force(registry.state.latest_revision("e"), restarted.endpoints["e"])


def test_what_it_did_to_the_traffic_is_no_change_once_it_is_taken_back(
    begin, new, look, registry
) -> None:
    """Also where the traffic from before had itself been brought back."""
    section = PLAN.endpoints["e"]
    reroute.change("e", section, registry.state, split={"v0": 1}, who="ada", reason="")
    reroute.restore("e", section, registry.state, who="ada", reason="")
    begin(new)
    with Serve(registry.state, refs=("m:production", "n:production")):
        wait_until(lambda: look().status == "running")
    look(FAILING)
    assert [one.number for one in revisions.kept(registry.state.revisions("e"))] == [1]


def test_it_bakes_then_steps_then_is_promoted(running, look, registry, new) -> None:
    assert look(FINE).status == "running"
    baked(registry)
    stepped = look(FINE)
    assert (stepped.status, stepped.step) == ("running", 1)
    assert traffic(registry) == {"v0": 0.25, "v1": 0.5, CANARY: 0.25}
    baked(registry)
    assert look(FINE).status == "promoting"
    assert look().status == "promoted"
    assert f"m:{registry.state.alias('m', 'production')}" == new
    assert traffic(registry) == {"v0": 0.5, "v1": 0.5}
    assert registry.state.canary("e") is None


def test_gates_that_are_not_passed_take_it_back_in_the_end(running, look, registry) -> None:
    strict = plan(gates=["metrics.auc >= 0.9"])
    before = registry.state.alias("m", "production")
    for _ in range(2):
        baked(registry)
        look(FINE, plan=strict)
    ended = look(plan=strict)
    assert ended.status == "failed"
    assert "It may not be promoted" in ended.verdict
    assert registry.state.alias("m", "production") == before
    assert traffic(registry) == {"v0": 0.5, "v1": 0.5}


def test_somebody_else_promotes_meanwhile(running, look, registry) -> None:
    registry.state.set_alias("m", "production", registry.store("m"), "bob", "", action="promote")
    ended = look(FINE)
    assert (ended.status, "moved to another version" in ended.verdict) == ("aborted", True)
    assert traffic(registry) == {"v0": 0.5, "v1": 0.5}


def test_somebody_else_promotes_the_very_version(running, look, registry) -> None:
    registry.state.set_alias("m", "production", running.version, "bob", "", action="promote")
    assert look(FAILING).status == "aborted"


def test_the_plan_has_another_stable_variant_by_now(running, look, registry) -> None:
    assert look(FINE, plan=plan(stable="v1")).status == "aborted"
    assert CANARY not in traffic(registry)


def test_somebody_else_changes_the_traffic_meanwhile(running, look, registry) -> None:
    latest = registry.state.latest_revision("e")
    other = replace(
        registry.state.revisions("e")[0], number=latest.number + 1, who="bob", reason="by hand"
    )
    registry.state.add_revision(other)
    assert look(FINE).status == "aborted"
    assert registry.state.latest_revision("e") == other


# Its end by hand


def test_abort(running, registry) -> None:
    ended = abort("e", plan=PLAN, state=registry.state, who="ada", why="no more")
    assert (ended.status, ended.verdict) == ("aborted", "Aborted by ada: no more")
    assert traffic(registry) == {"v0": 0.5, "v1": 0.5}
    with pytest.raises(NotFound, match="No canary goes on"):
        abort("e", plan=PLAN, state=registry.state, who="ada", why="")


def test_abort_while_the_controller_looks(running, registry, monkeypatch) -> None:
    """A look that comes in between is no reason to be told to try again."""
    read, looks = registry.state.canary, iter([1])

    def looked_at(endpoint: str) -> Canary | None:
        found = read(endpoint)
        for _ in looks:
            registry.state.move_canary(found)
        return found

    monkeypatch.setattr(registry.state, "canary", looked_at)
    ended = abort("e", plan=PLAN, state=registry.state, who="ada", why="")
    assert (ended.status, CANARY in traffic(registry)) == ("aborted", False)


def test_abort_before_it_has_a_share(begin, new, registry) -> None:
    begin(new)
    numbers = len(registry.state.revisions("e"))
    assert abort("e", plan=PLAN, state=registry.state, who="ada", why="").status == "aborted"
    assert len(registry.state.revisions("e")) == numbers


def test_a_new_canary_may_follow(running, begin, registry) -> None:
    abort("e", plan=PLAN, state=registry.state, who="ada", why="")
    assert begin(f"m:{registry.store('m')}").status == "loading"


# Two controllers, and one that dies


def test_of_two_controllers_one_acts(running, registry) -> None:
    look = lambda canary, settings: Seen(tried={2: FAILING})  # noqa: E731
    advance(running, PLAN, registry.state, look)
    revisions_then = registry.state.revisions("e")
    advance(running, PLAN, registry.state, look)  # it has seen the canary as it was before
    assert registry.state.revisions("e") == revisions_then
    assert len(registry.state.canaries("e")) == 1


def test_of_two_controllers_that_promote_the_slower_one_does_no_harm(
    running, look, registry, monkeypatch
) -> None:
    for _ in range(2):
        baked(registry)
        look(FINE)
    propose, version = registry.state.propose, running.version

    def overtaken(*asked: Any) -> str:
        registry.state.set_alias("m", "production", version, "the quicker one", "")
        return propose(*asked)

    monkeypatch.setattr(registry.state, "propose", overtaken)
    assert look().status == "promoting"
    assert look().status == "promoted"


DIES = """
import os, sys
from services.rollout import advance as rollout
from switchyard.plan import Plan
from switchyard.state import State

plan = Plan.model_validate_json(sys.argv[1])
state = State.open()
ended = rollout._end
rollout._end = lambda *_: os._exit(9)  # the alias has moved, and nothing else has happened
rollout.advance(state.canary("e"), plan, state, None)
"""


def test_a_controller_that_is_killed_while_it_promotes(running, look, registry, new) -> None:
    for _ in range(2):
        baked(registry)
        promoting = look(FINE)
    assert promoting.status == "promoting"
    died = registry.python(DIES, PLAN.model_dump_json(exclude={"hosts"}))
    assert died.wait(60) == 9, died.communicate()
    assert f"m:{registry.state.alias('m', 'production')}" == new
    assert registry.state.canary("e").status == "promoting"
    assert look().status == "promoted"
    assert CANARY not in traffic(registry)


def test_its_version_is_not_deleted_meanwhile(begin, new, registry) -> None:
    begin(new)
    tag = Tag(*new.split(":"))
    with pytest.raises(Conflict, match="the alias 'production' is about to move to it"):
        delete(tag, PLAN, registry.state)
    abort("e", plan=PLAN, state=registry.state, who="ada", why="")
    delete(tag, PLAN, registry.state)
