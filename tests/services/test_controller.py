"""Who leads, of several controllers on one state database."""

import math

import pytest
from prometheus_client import CollectorRegistry

from services.controller import LEASE_SECONDS, Leadership
from services.jobs import Jobs
from switchyard.errors import NotReady
from switchyard.plan import Plan
from switchyard.state import State

PLAN = {"endpoints": {"e": {"stable": "s", "variants": {"s": {"model": "m:production"}}}}}


class Clock:
    """Monotonic seconds that go only when told to, and the database's time with them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def state(tmp_path):
    opened = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


def test_nobody_leads_who_has_not_asked(state):
    assert not Leadership(state).held


def test_of_two_one_leads(state):
    one, other = Leadership(state), Leadership(state)
    one.seek()
    other.seek()
    assert (one.held, other.held) == (True, False)


def test_a_lease_that_was_given_back_is_free(state):
    one, other = Leadership(state), Leadership(state)
    one.seek()
    one.leave()
    other.seek()
    assert (one.held, other.held) == (False, True)


def test_one_that_was_replaced_hears_of_it_once(state):
    one, other = Leadership(state), Leadership(state)
    assert not one.seek()
    one.leave()
    assert not other.seek()
    assert [one.seek() for _ in range(3)] == [True, False, False]
    other.leave()
    assert [other.seek(), one.seek(), one.seek()] == [False, False, False]


def test_one_that_never_led_was_not_replaced(state):
    one, other = Leadership(state), Leadership(state)
    one.seek()
    assert not other.seek()


def test_what_one_that_was_replaced_has_said_is_taken_back(state, tmp_path, monkeypatch):
    """Every replica is scraped, so its numbers would stand beside its successor's for good."""
    registry = CollectorRegistry()
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)
    jobs = Jobs(Plan.model_validate(PLAN), state, tmp_path)
    for gauge in (jobs._shares, jobs.drift.gauges[0], jobs.live_drift.gauges[0]):
        gauge.publish({tuple("x" * len(gauge._gauge._labelnames)): 1.0})
    said = [one for family in registry.collect() for one in family.samples if one.value == 1]
    assert len(said) == 3
    jobs.take_back()
    values = [registry.get_sample_value(one.name, one.labels) for one in said]
    assert all(map(math.isnan, values))


def test_a_controller_that_was_stopped_for_long_leads_no_more(state):
    """Before the lease runs out, so that it never acts beside the one that has it next."""
    clock = Clock()
    one = Leadership(state, clock)
    one.seek()
    clock.seconds += LEASE_SECONDS / 2
    assert not one.held
    one.seek()
    assert one.held


def test_without_the_database_nobody_is_made_leader(state):
    class Away:
        def acquire_lease(self, *_):
            raise NotReady("The state database does not answer.", retry_after=1)

    lost = Leadership(Away())
    with pytest.raises(NotReady):
        lost.seek()
    assert not lost.held
