from __future__ import annotations

from typing import Any

from databases import Clock

from switchyard.state import State, iso
from switchyard.state.drift import KEPT


def said(status: str, until: str = "2026-01-01", **more: Any) -> dict[str, Any]:
    return {"status": status, "until": until, "variant": None, "planned": True, **more}


def test_an_endpoint_without_reports_has_none(state: State) -> None:
    assert state.drift_report("flights") is None
    assert state.current_drift_report("flights") is None
    assert state.drift_reports("flights") == []


def test_reports_count_up_by_endpoint(state: State, clock: Clock) -> None:
    first = state.add_drift_report("flights", said("steady"))
    clock.forward(7)
    second = state.add_drift_report("flights", said("drift", rows=2**40))
    other = state.add_drift_report("digits", said("unknown"))
    assert (first.number, second.number, other.number) == (1, 2, 1)
    assert second.created == iso(clock.now)
    assert state.drift_report("flights") == second
    assert state.drift_report("flights", 1) == first
    assert state.drift_report("flights", 3) is None
    assert state.drift_reports("flights") == [second, first]
    assert state.drift_reports("flights", limit=1) == [second]


def test_old_reports_are_forgotten_and_their_numbers_do_not_come_again(state: State) -> None:
    state.add_drift_report("digits", said("steady"))
    for _ in range(KEPT + 2):
        state.add_drift_report("flights", said("steady"))
    numbers = [each.number for each in state.drift_reports("flights", limit=KEPT + 9)]
    assert numbers == list(range(KEPT + 2, 2, -1))
    assert state.drift_report("digits") is not None


def test_how_it_is_now_says_the_last_report_that_the_plan_asks_for(state: State) -> None:
    """Also after a replay, whose windows end years ago."""
    state.add_drift_report("flights", said("unknown", "2026-01-03"))
    replayed = state.add_drift_report("flights", said("drift", "2013-07-04"))
    state.add_drift_report("flights", said("steady", "2026-01-04", planned=False))
    assert state.current_drift_report("flights") == replayed
    last = state.drift_report("flights")
    assert last is not None
    assert not last.planned
