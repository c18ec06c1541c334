"""From a sticky key to a point in [0, 1): the same for ever, on every machine.

The hash is version 2 of GrowthBook's (`hash` in `packages/sdk-js/src/util.ts` of
github.com/growthbook/growthbook): FNV-1a with 32 bits of seed and value, its decimal digits hashed
once more, modulo 10,000. So a front end that assigns with a GrowthBook SDK and the same seed comes
to the same point. FNV-1a: draft-eastlake-fnv, section 2.

Points lie on a grid of 1/10,000: no share can be met more finely.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = ["RESOLUTION", "exposure_point", "point", "variation_point"]

RESOLUTION: Final = 10_000
"""Number of different points."""

_OFFSET_BASIS: Final = 0x811C9DC5


def point(seed: str, value: str) -> float:
    """Returns the point of a value under a seed, a multiple of 1/10,000 in [0, 1).

    Characters beyond ASCII count by their code points, as in GrowthBook's Python SDK. The
    JavaScript SDK counts UTF-16 units, which differs only beyond U+FFFF (emoji, for instance).
    """
    return _fnv1a32(str(_fnv1a32(value, _state(seed)))) % RESOLUTION / RESOLUTION


def variation_point(salt: str, key: str) -> float:
    """Returns the point that decides which variant a key gets.

    Args:
        salt: The endpoint's salt.
        key: The sticky key.
    """
    return point(f"{salt}:variation", key)


def exposure_point(salt: str, key: str) -> float:
    """Returns the point that decides whether a key takes part in the split at all.

    It does where the point is below the coverage. The seed is another one than that of
    `variation_point`, so a change of coverage favours no variant.

    Args:
        salt: The endpoint's salt.
        key: The sticky key.
    """
    return point(f"{salt}:exposure", key)


def _fnv1a32(text: str, state: int = _OFFSET_BASIS) -> int:
    for unit in text.encode() if text.isascii() else map(ord, text):
        state = (state ^ unit) * 0x01000193 & 0xFFFFFFFF
    return state


@lru_cache(maxsize=256)
def _state(seed: str) -> int:
    """State of the hash after a seed; seeds are few, so their part is not computed anew."""
    return _fnv1a32(seed)
