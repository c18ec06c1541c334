import pytest

from benchmarks.simulate.experiments import NAIVE, ROWS, TESTS, false_alarms
from benchmarks.simulate.power import fixed_size, powers
from benchmarks.simulate.tables import alarm_table, most_alarms, power_table, too_many
from benchmarks.simulate.worlds import BEYOND


def test_sequential_tests_hold_in_every_world_and_the_naive_ones_do_not():
    runs = 60
    alarms = dict(false_alarms(runs, 1500, seed=1))
    assert too_many(alarms, runs) == []
    for world in ("even split", "late feedback", "ramp while the world changes"):
        assert alarms[world][NAIVE] > most_alarms(runs)
    assert [world for world, shares in alarms.items() if ROWS in shares] == ["keys that come back"]
    assert alarm_table(alarms, runs, 1500).row_count == len(TESTS) + 2


def test_too_many_alarms_are_told_with_test_and_world():
    quiet = dict.fromkeys(TESTS, 0.01)
    loud = {**quiet, "one-sided": 0.5, NAIVE: 1.0}
    alarms = {"quiet": quiet, "loud": loud, BEYOND.name: loud}
    assert too_many(alarms, 2000) == ["one-sided in loud"]


def test_size_of_the_fixed_horizon_is_that_of_the_textbook():
    assert fixed_size(0.1) == pytest.approx(16 * 2 * (1 + 1.1**2) / 2 / 0.01, rel=0.03)


def test_large_lift_is_found_within_a_few_times_the_fixed_size():
    found = {power.lift: power for power in powers(4, seed=1)}
    assert found[0.1].found == 1
    assert 200 <= found[0.1].mean <= 3 * found[0.1].fixed
    assert power_table(list(found.values())).row_count == 3
