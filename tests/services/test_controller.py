"""Who leads, of several controllers on one state database."""

import pytest

from services.controller import LEASE_SECONDS, Leadership
from switchyard.errors import NotReady
from switchyard.state import State


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
