from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.batches import PAIRS
from benchmarks.load import ClosedLoad
from benchmarks.memory import Memory
from benchmarks.mirrored import Mirrored
from benchmarks.openloop import OpenLoad
from benchmarks.results import Growth, Results
from benchmarks.verdicts import Verdict, batch_ratio, judge


def closed(rate: float = 100.0, p50: float = 1.0, p99: float = 2.0, bad: int = 0) -> ClosedLoad:
    return ClosedLoad(int(rate) + bad, 1.0, p50, p99, p99, bad, 0)


def opened(p99: float, errors: int = 0) -> OpenLoad:
    return OpenLoad(100.0, 100, 100 - errors, 1.0, p99, p99, 0.1, 0, errors)


def verdict(results: Results, words: str) -> Verdict:
    (found,) = [one for one in judge(results) if words in one.target]
    return found


def test_what_was_not_measured_is_neither_passed_nor_failed() -> None:
    verdicts = judge(Results())
    assert {one.passed for one in verdicts} == {None}


@pytest.mark.parametrize(("measured", "passed"), [(0.39, False), (0.4, True)])
def test_lower_bounds_are_met_from_below(measured: float, passed: bool) -> None:
    assert Verdict("", measured, 0.4, at_least=True).passed is passed


@pytest.mark.parametrize(("measured", "passed"), [(5.01, False), (5.0, True)])
def test_upper_bounds_are_met_from_above(measured: float, passed: bool) -> None:
    assert Verdict("", measured, 5.0, at_least=False).passed is passed


def test_ratios_are_taken_round_by_round() -> None:
    """The machine was slow in the second round, for both; medians of each would give 0.5."""
    results = Results(
        closed={
            "a": {64: [closed(1000), closed(100), closed(1000)]},
            "d": {64: [closed(500), closed(50), closed(900)]},
        }
    )
    found = verdict(results, "(d) / (a)")
    assert (found.measured, found.passed) == (0.5, True)


def test_refusals_of_a_peer_are_no_throughput() -> None:
    results = Results(closed={"d": {64: [closed(1000)]}, "b-digits": {64: [closed(50, bad=950)]}})
    assert verdict(results, "(b) digits").measured == 20.0


def test_a_peer_without_one_good_answer_is_beaten() -> None:
    results = Results(closed={"e": {64: [closed(10)]}, "b-flights": {64: [closed(0, bad=9)]}})
    assert verdict(results, "(b) flights").passed is True


def test_one_error_at_any_load_fails() -> None:
    clean = Results(
        closed={"d": {1: [closed()], 16: [closed(), closed()], 64: [closed()]}},
        fixed={"d": [opened(1.0)]},
    )
    assert verdict(clean, "(d) non-2xx").passed is True
    refused = Results(closed={"d": {**clean.closed["d"], 16: [closed(), closed(bad=1)]}})
    assert verdict(refused, "(d) non-2xx").passed is False
    broken = Results(closed=clean.closed, fixed={"d": [opened(1.0, errors=1)]})
    assert verdict(broken, "(d) non-2xx").passed is False


def test_a_socket_error_fails_as_well() -> None:
    results = Results(closed={"e": {64: [replace(closed(), socket_errors=1)]}})
    assert verdict(results, "(e) non-2xx").passed is False


@pytest.mark.parametrize(("shadow", "passed"), [(989, False), (990, True)])
def test_mirrored_counts_against_what_was_offered(shadow: int, passed: bool) -> None:
    """Rows that the log lost are lost for the share too, be they primary or shadow."""
    results = Results(mirrored=Mirrored(offered=1000, primary=shadow, shadow=shadow))
    assert verdict(results, "mirrored").passed is passed


def test_shadow_tail_is_compared_in_pairs() -> None:
    results = Results(
        fixed={"e": [opened(1.0), opened(10.0)], "f": [opened(1.4), opened(16.0)]},
    )
    assert verdict(results, "(f) / (e) p99").measured == pytest.approx(1.5)


def batches(**rates: float) -> dict[str, dict[int, list[ClosedLoad]]]:
    return {kind.replace("_", " "): {32: [closed(rate)]} for kind, rate in rates.items()}


def test_batches_are_compared_with_json_of_the_same_rows() -> None:
    results = Results(
        batches={
            "d": batches(digits_json=100, digits_npy=399),
            "e": batches(flights_json=100, flights_arrow=300),
        }
    )
    assert verdict(results, "digits npy").passed is False
    assert verdict(results, "flights arrow").passed is True


def test_the_limit_of_batches_stands_beside_and_changes_no_verdict() -> None:
    results = Results(
        batches={
            "a": batches(digits_json=100, digits_npy=350),
            "d": batches(digits_json=10, digits_npy=34),
        }
    )
    found = verdict(results, "digits npy")
    assert (found.measured, found.limit, found.passed) == (3.4, 3.5, False)
    assert verdict(results, "flights arrow").limit is None


def test_batches_of_other_sizes_are_not_judged() -> None:
    figures = {"digits json": {1024: [closed(100)]}, "digits npy": {1024: [closed(900)]}}
    results = Results(batches={"d": figures})
    assert verdict(results, "digits npy").passed is None
    assert batch_ratio(results, "d", PAIRS[0], 1024) == 9.0


def memory(router: float, anonymous: float = 80.0, total: float = 2000.0) -> Memory:
    return Memory(router, anonymous, total, {})


def test_memory_is_that_of_the_flights_server() -> None:
    results = Results(memory={"e": memory(251.0)})
    assert verdict(results, "(e) router").passed is False
    assert verdict(results, "all processes").passed is True


def test_errors_of_the_long_load_fail_as_well() -> None:
    growth = Growth(300_000, 1, memory(100.0), memory(100.0))
    assert (
        verdict(Results(closed={"e": {64: [closed()]}}, growth=growth), "(e) non-2xx").measured == 1
    )


def grown(requests: int, after: Memory) -> bool | None:
    results = Results(growth=Growth(requests, 0, memory(100.0), after))
    return verdict(results, "growth").passed


def test_growth_over_fewer_requests_is_not_judged() -> None:
    assert grown(10_000, memory(101.0)) is None


def test_growth_is_judged_by_resident_memory() -> None:
    assert grown(300_000, memory(104.0)) is True
    assert grown(300_000, memory(106.0)) is False


def test_growth_that_pages_of_files_hide_is_found() -> None:
    assert grown(300_000, memory(95.0, anonymous=86.0)) is False
