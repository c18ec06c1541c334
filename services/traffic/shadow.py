"""Which variants see a copy of a request that another variant has answered."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from switchyard.errors import InvalidInput

__all__ = ["Mirror"]

_Table = tuple[list[float], list[tuple[str, ...]]]


class Mirror:
    """Chooses the shadow variants of a request.

    A mirror without shadows is falsy, so that a caller need not even draw.

    Args:
        shares: For each shadow variant the probability, in [0, 1], that it sees a request which
            another variant answered.

    Raises:
        InvalidInput: A share lies outside [0, 1].
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        for variant, share in shares.items():
            if not 0 <= share <= 1:  # NaN is refused here, too
                raise InvalidInput(
                    f"The shadow share of {variant!r} is {share}; it must lie between 0 and 1."
                )
        active = {variant: share for variant, share in shares.items() if share > 0}
        self._everyone = _table(active)
        self._without = {
            primary: _table({v: share for v, share in active.items() if v != primary})
            for primary in active
        }
        self._active = bool(active)

    def __bool__(self) -> bool:
        return self._active

    def targets(self, primary: str, draw: float) -> tuple[str, ...]:
        """Returns the variants that a request is mirrored to, in the order of the shares.

        All shadows are judged by the one draw. Each keeps its probability, and a shadow with the
        smaller share sees only requests that one with the larger share sees as well, so that two
        shadows can be compared on the same requests.

        Args:
            primary: The variant that answered; never a target.
            draw: A number drawn evenly from [0, 1), not the one that assigned the request.
        """
        shares, targets = self._without.get(primary, self._everyone)
        return targets[bisect_right(shares, draw)]


def _table(shares: Mapping[str, float]) -> _Table:
    """Sorted distinct shares, and the targets for a draw that lies past the first i of them."""
    steps = sorted(set(shares.values()))
    targets = [tuple(v for v, share in shares.items() if share >= step) for step in steps]
    return steps, [*targets, ()]
