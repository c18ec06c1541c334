from __future__ import annotations

from switchyard.state import State


def test_nothing_is_changed_at_first(state: State) -> None:
    assert state.log_change() is None
    state.reset_log()
    assert state.log_change() is None


def test_changes_add_up_until_they_are_taken_back(state: State) -> None:
    state.change_log({"level": "debug", "access": 0.5}, "ann")
    made = state.change_log({"access": None, "fields": True}, "bob")
    assert made == state.log_change()
    assert made.settings == {"level": "debug", "access": None, "fields": True}
    assert made.who == "bob"
    state.reset_log()
    assert state.log_change() is None
