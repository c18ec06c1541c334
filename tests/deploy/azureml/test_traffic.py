"""How the traffic moves from one deployment to the next."""

from __future__ import annotations

import pytest

from deploy.azureml.traffic import Split, shown, steps
from deploy.azureml.values import Traffic


def split(mirror: dict[str, int] | None = None, **traffic: int) -> Split:
    return Split(traffic, mirror or {})


GENTLE = Traffic(mirror=20, share=10)


@pytest.mark.parametrize(
    ("now", "wanted", "way"),
    [
        (split(), GENTLE, [split(new=100)]),
        (split(new=100), GENTLE, []),
        (split(old=100), Traffic(), [split(new=100)]),
        (
            split(old=100),
            GENTLE,
            [split({"new": 20}, old=100), split(old=90, new=10), split(new=100)],
        ),
        # One that was interrupted goes on from where it was.
        (split(old=90, new=10), GENTLE, [split(new=100)]),
        (split({"new": 20}, old=100), Traffic(share=10), [split(old=90, new=10), split(new=100)]),
        # A mirror that somebody left is taken away.
        (split({"old": 20}, new=100), GENTLE, [split(new=100)]),
        # Shares of two others keep their proportions, and add up.
        (split(a=67, b=33), Traffic(share=15), [split(a=57, b=28, new=15), split(new=100)]),
    ],
)
def test_steps(now: Split, wanted: Traffic, way: list[Split]) -> None:
    assert steps(now, "new", wanted) == way


@pytest.mark.parametrize("share", [1, 33, 50, 99])
def test_every_step_adds_up(share: int) -> None:
    for each in steps(split(a=34, b=33, c=33), "new", Traffic(share=share)):
        assert sum(each.traffic.values()) == 100


def test_what_gets_nothing_is_left_out() -> None:
    assert Split.of({"old": 0, "new": "100"}, None) == split(new=100)


def test_shown() -> None:
    assert shown(split()) == "none"
    assert shown(split({"b": 5}, a=100)) == "100 % to a, 5 % mirrored to b"
