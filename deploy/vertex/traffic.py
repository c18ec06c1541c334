"""Who gets which share of an endpoint's traffic: whole percents that sum to 100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, log
from typing import Final

__all__ = ["asks", "shifted", "without"]

ALL: Final = 100
MISSED: Final = 0.001
"""Chance that is taken of asking too few times."""
MOST_ASKS: Final = 100


def shifted(
    split: Mapping[str, int], wanted: str, share: int, others: Sequence[str]
) -> dict[str, int]:
    """Returns a split in which one deployed model has a share, and the others keep their ratios.

    Args:
        split: Percents now, by id.
        wanted: Id of the one.
        share: Its percents.
        others: Ids of the others; the first one takes the rest where none of them has traffic.
    """
    if share == ALL or not others:
        return {wanted: ALL}
    weights = {each: split.get(each, 0) for each in others}
    if not any(weights.values()):
        weights = {others[0]: 1}
    return {wanted: share} | _spread(ALL - share, weights)


def without(split: Mapping[str, int], gone: Sequence[str]) -> dict[str, int]:
    """Returns a split after some have gone: the others keep their ratios; empty without others."""
    left = {each: share for each, share in split.items() if share and each not in gone}
    return _spread(ALL, left) if left else {}


def asks(share: int) -> int:
    """Returns how often to ask so that one with this share has very likely been met."""
    return 1 if share == ALL else min(MOST_ASKS, ceil(log(MISSED) / log(1 - share / ALL)))


def _spread(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Returns whole numbers that sum to a total, nearest to the weights' ratios; none is 0."""
    whole = sum(weights.values())
    exact = {each: total * weight / whole for each, weight in weights.items()}
    out = {each: int(value) for each, value in exact.items()}
    by_rest = sorted(exact, key=lambda each: out[each] - exact[each])
    for each in by_rest[: total - sum(out.values())]:
        out[each] += 1
    return {each: share for each, share in out.items() if share}
