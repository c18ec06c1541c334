from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monitoring.live.sheets import FIELDS
from monitoring.live.window import Total, Window
from switchyard.records import DriftCount

NOON = 1_767_268_800
ONE = DriftCount("w1", "flights", NOON, FIELDS, "m:1", 10, {"x": [4, 6, 0]}, "")


class Looker:
    """Looks through a window of an hour, of slices of a minute."""

    def __init__(self) -> None:
        self.ticks = 500.0
        self.window = Window(3600, 60, lambda: self.ticks)

    def __call__(self, *found: DriftCount, after: float = 15.0) -> dict[str, Total]:
        self.ticks += after
        return {total.name: total for total in self.window.look(found)}


@pytest.fixture
def look() -> Looker:
    return Looker()


def at(minute: int, rows: int = 10, **changes: object) -> DriftCount:
    counts = {"x": [rows - rows // 2, rows // 2, 0]}
    return replace(ONE, slice=NOON + 60 * minute, rows=rows, counts=counts, **changes)  # type: ignore[arg-type]


def test_a_window_without_counts_is_empty(look: Looker) -> None:
    assert look() == {}


def test_workers_and_slices_add_up(look: Looker) -> None:
    (total,) = look(at(0), at(0, worker="w2"), at(1, 7)).values()
    assert (total.variant, total.model, total.name, total.rows) == (FIELDS, "m:1", "x", 27)
    assert total.counts.tolist() == [14, 13, 0]
    assert total.counts.dtype == np.int64


def test_a_count_that_is_read_twice_counts_once(look: Looker) -> None:
    assert look(at(0))["x"].rows == 10
    assert look(at(0))["x"].rows == 10
    assert look(at(0, 12))["x"].rows == 12


def test_the_window_ends_with_the_newest_rows(look: Looker) -> None:
    found = [at(minute) for minute in range(90)]
    assert look(*found)["x"].rows == 600  # the last hour
    found.append(at(90))
    assert look(*found)["x"].rows == 600


def test_the_window_slides_on_while_nothing_comes(look: Looker) -> None:
    found = [at(minute) for minute in range(60)]
    assert look(*found)["x"].rows == 600
    assert look(*found, after=1800)["x"].rows == 300
    assert look(*found, after=1800) == {}


def test_a_replay_of_the_past_moves_the_window_there(look: Looker) -> None:
    live, past = at(0), [at(minute, 1000) for minute in range(-9_000, -8_900)]
    assert look(live)["x"].rows == 10
    assert look(live, *past)["x"].rows == 60_000
    assert look(live, *past, at(1))["x"].rows == 20  # live traffic again


def test_a_few_rows_of_another_time_do_not_move_the_window(look: Looker) -> None:
    past = [at(minute, 1000) for minute in range(-9_000, -8_940)]
    check = at(-1, 5)
    assert look(*past, check)["x"].rows == 60_000
    late = at(-20_000, 3)
    live = [at(minute, 1000) for minute in range(60)]
    assert look(*past, check, late, *live)["x"].rows == 60_000


def test_a_clock_that_jumped_neither_empties_nor_holds_the_window(look: Looker) -> None:
    found = [at(minute) for minute in range(60)]
    tomorrow = at(24 * 60, 20)
    assert look(*found)["x"].rows == 600
    assert look(*found, tomorrow)["x"].rows == 20
    found[-1] = at(59, 15)  # set right again
    assert look(*found, tomorrow)["x"].rows == 605


def test_only_the_model_that_answers_now_is_in_the_window(look: Looker) -> None:
    old = [at(minute) for minute in range(10)]
    assert look(*old)["x"].model == "m:1"
    new = at(10, 3, model="m:2")
    (total,) = look(*old, new).values()
    assert (total.model, total.rows) == ("m:2", 3)
    old[-1] = at(9, 11)  # rolled back
    (total,) = look(*old, new).values()
    assert (total.model, total.rows) == ("m:1", 101)


def test_fields_of_two_models_stand_side_by_side(look: Looker) -> None:
    other = replace(at(0), model="n:1", counts={"y": [10, 0]})
    found = look(at(0), other)
    assert {name: total.model for name, total in found.items()} == {"x": "m:1", "y": "n:1"}


def test_variants_are_kept_apart(look: Looker) -> None:
    look.ticks += 1
    found = [replace(at(0), variant=name, counts={"score": [3, 7]}) for name in ("a", "b")]
    totals = look.window.look([at(0), *found])
    assert sorted(total.variant for total in totals) == [FIELDS, "a", "b"]
