"""Sticky split of the traffic: which part of [0, 1) belongs to which variant.

A revision stores explicit intervals instead of shares alone, so that a change of shares moves no
key that need not move: 50/30/20 to 60/30/10 moves one tenth of the keys. Bounds are multiples of
1/10,000, the resolution of the hash, and all arithmetic is done on these cells as integers. Shares
that are finer (thirds) are rounded by largest remainder, so each is met to less than 1/10,000.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np

from services.traffic.hashing import RESOLUTION, variation_cells, variation_point
from switchyard.errors import InvalidInput

__all__ = ["Assigner", "Intervals", "initial", "rearrange", "shares_of"]

Intervals = dict[str, list[list[float]]]
"""For each variant the parts [low, high) of [0, 1) that are its own, ascending and disjoint."""

_AnyIntervals = Mapping[str, Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True, order=True)
class _Segment:
    """Cells `low` to `high` (exclusive), all of one owner."""

    low: int
    high: int
    owner: str

    @property
    def size(self) -> int:
        return self.high - self.low


def initial(shares: Mapping[str, float]) -> Intervals:
    """Returns one interval for each variant, in the order of the shares.

    Args:
        shares: Share of each variant; at least 0, summing to 1.

    Raises:
        InvalidInput: A share is negative or no number, or they do not sum to 1.
    """
    segments, low = [], 0
    for variant, size in _cells(shares).items():
        segments.append(_Segment(low, low + size, variant))
        low += size
    return _intervals(segments, shares)


def rearrange(old: _AnyIntervals, shares: Mapping[str, float]) -> Intervals:
    """Returns intervals for new shares that move the least possible measure.

    Only variants whose share falls give, only those whose share rises take, so what moves is the
    sum of the rises. A canary that takes its share from the stable variant alone touches no other
    variant's keys, provided that the other shares are those of `shares_of(old)`: a finer one may be
    rounded anew. Of the least moves, those are chosen that leave few intervals.

    Args:
        old: Intervals before; variants that are not in `shares` lose all of theirs.
        shares: Share of each variant from now on; at least 0, summing to 1.

    Raises:
        InvalidInput: A share is negative or no number, or they do not sum to 1.
        ValueError: `old` does not divide [0, 1).
    """
    segments = _segments(old)
    need = _cells(shares)
    for segment in segments:
        need[segment.owner] = need.get(segment.owner, 0) - segment.size
    while any(need.values()):
        move = min(_moves(segments, need), key=lambda move: move.cost)
        need[move.taken.owner] -= move.taken.size
        need[move.giver.owner] += move.taken.size
        segments = _merged([*_remove(segments, move), move.taken])
    return _intervals(segments, shares)


def shares_of(intervals: _AnyIntervals) -> dict[str, float]:
    """Returns the exact share of each variant, as multiples of 1/10,000.

    Raises:
        ValueError: The intervals do not divide [0, 1).
    """
    sizes = dict.fromkeys(intervals, 0)
    for segment in _segments(intervals):
        sizes[segment.owner] += segment.size
    return {variant: size / RESOLUTION for variant, size in sizes.items()}


class Assigner:
    """Assigns keys to variants.

    Args:
        intervals: Intervals of the revision in force.
        salt: Salt of the endpoint. It must outlive revisions, else every key moves.

    Raises:
        ValueError: The intervals do not divide [0, 1).
    """

    def __init__(self, intervals: _AnyIntervals, salt: str) -> None:
        segments = _segments(intervals)
        self._salt = salt
        self._inner_bounds = [segment.low / RESOLUTION for segment in segments[1:]]
        self._owners = [segment.owner for segment in segments]
        self._sizes = [segment.size for segment in segments]

    def assign(self, key: str) -> str:
        """Returns the variant of a sticky key."""
        return self.draw(variation_point(self._salt, key))

    def assign_many(self, keys: Sequence[str]) -> np.ndarray[Any, np.dtype[np.str_]]:
        """Returns the variant of each of many sticky keys, as `assign` does.

        Args:
            keys: n keys: a list, or an array of NumPy or Arrow.

        Returns:
            Names of variants, (n,).
        """
        cells = variation_cells(self._salt, keys)
        owners: np.ndarray[Any, np.dtype[np.str_]] = np.repeat(self._owners, self._sizes)[cells]
        return owners

    def draw(self, point: float) -> str:
        """Returns the variant that owns a point of [0, 1): for a request without key, a random one.

        Each bound is the float nearest to its multiple of 1/10,000, and so is each hashed point,
        so comparing them is exact.
        """
        return self._owners[bisect_right(self._inner_bounds, point)]


@dataclass(frozen=True, slots=True)
class _Move:
    """Hands a part of `giver`'s segment to another owner.

    Attributes:
        giver: The segment.
        taken: The part, at one end of it, with its new owner.
        more: How many segments the move adds; negative where neighbours merge.
    """

    giver: _Segment
    taken: _Segment
    more: int

    @property
    def cost(self) -> tuple[int, int, _Segment]:
        """Fewest segments first, then the largest part; the last entry makes the choice unique."""
        return self.more, -self.taken.size, self.taken


def _cells(shares: Mapping[str, float]) -> dict[str, int]:
    """Number of cells of each variant, by largest remainder; equal remainders go by name."""
    for variant, share in shares.items():
        if not 0 <= share <= 1:  # NaN is refused here, too
            raise InvalidInput(f"The share of {variant!r} is {share}; it must lie between 0 and 1.")
    total = fsum(shares.values())
    if abs(total - 1) > 1e-6:
        raise InvalidInput(f"The shares sum to {total:.10g}; they must sum to 1.")
    exact = {variant: share / total * RESOLUTION for variant, share in shares.items()}
    cells = {variant: int(size) for variant, size in exact.items()}
    by_rest = sorted(exact, key=lambda variant: (cells[variant] - exact[variant], variant))
    for variant in by_rest[: RESOLUTION - sum(cells.values())]:
        cells[variant] += 1
    return cells


def _segments(intervals: _AnyIntervals) -> list[_Segment]:
    """The intervals in ascending order, neighbours merged; checks that they divide [0, 1)."""
    segments = _merged(
        [
            _Segment(round(low * RESOLUTION), round(high * RESOLUTION), variant)
            for variant, parts in intervals.items()
            for low, high in parts
        ]
    )
    bounds = [0, *(segment.high for segment in segments)]
    if [segment.low for segment in segments] != bounds[:-1] or bounds[-1] != RESOLUTION:
        raise ValueError(f"the intervals {dict(intervals)} do not divide [0, 1)")
    return segments


def _merged(segments: list[_Segment]) -> list[_Segment]:
    merged: list[_Segment] = []
    for segment in sorted(segments):
        if segment.size == 0:
            continue
        if merged and merged[-1].owner == segment.owner and merged[-1].high == segment.low:
            segment = _Segment(merged.pop().low, segment.high, segment.owner)
        merged.append(segment)
    return merged


def _intervals(segments: list[_Segment], variants: Mapping[str, float]) -> Intervals:
    """The form that a revision stores, with an entry for every variant."""
    intervals: Intervals = {variant: [] for variant in variants}
    for segment in _merged(segments):
        bounds = [segment.low / RESOLUTION, segment.high / RESOLUTION]
        intervals[segment.owner].append(bounds)
    return intervals


def _moves(segments: list[_Segment], need: Mapping[str, int]) -> Iterator[_Move]:
    """All moves from either end of a segment that satisfy its giver, its taker or use it up."""
    takers = [variant for variant, cells in need.items() if cells > 0]
    for index, giver in enumerate(segments):
        if need[giver.owner] >= 0:
            continue
        left = segments[index - 1].owner if index else None
        right = segments[index + 1].owner if index + 1 < len(segments) else None
        for taker in takers:
            size = min(giver.size, -need[giver.owner], need[taker])
            splits = size < giver.size
            at_left = _Segment(giver.low, giver.low + size, taker)
            at_right = _Segment(giver.high - size, giver.high, taker)
            if splits:
                yield _Move(giver, at_left, 1 - (left == taker))
                yield _Move(giver, at_right, 1 - (right == taker))
            else:
                yield _Move(giver, at_left, -(left == taker) - (right == taker))


def _remove(segments: list[_Segment], move: _Move) -> Iterator[_Segment]:
    """The segments with the moved part cut out of its giver."""
    for segment in segments:
        if segment is not move.giver:
            yield segment
        elif move.taken.low == segment.low:
            yield _Segment(move.taken.high, segment.high, segment.owner)
        else:
            yield _Segment(segment.low, move.taken.low, segment.owner)
