"""From a sticky key to a point in [0, 1): the same for ever, on every machine.

The hash is version 2 of GrowthBook's (`hash` in `packages/sdk-js/src/util.ts` of
github.com/growthbook/growthbook): FNV-1a with 32 bits of seed and value, its decimal digits hashed
once more, modulo 10,000. So a front end that assigns with a GrowthBook SDK and the same seed comes
to the same point. FNV-1a: draft-eastlake-fnv, section 2.

Points lie on a grid of 1/10,000: no share can be met more finely.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

__all__ = ["RESOLUTION", "cells", "exposure_point", "point", "variation_cells", "variation_point"]

RESOLUTION: Final = 10_000
"""Number of different points."""

_OFFSET_BASIS: Final = 0x811C9DC5
_PRIME: Final = 0x01000193

_CHUNK: Final = 16_384
"""Keys that are hashed together: what belongs to them stays in the processor's cache."""

_FEW: Final = 32
"""So few keys that are longer than all others are hashed to their end one by one."""

_Words = np.ndarray[Any, np.dtype[np.uint32]]


def point(seed: str, value: str) -> float:
    """Returns the point of a value under a seed, a multiple of 1/10,000 in [0, 1).

    Characters beyond ASCII count by their code points, as in GrowthBook's Python SDK. The
    JavaScript SDK counts UTF-16 units, which differs only beyond U+FFFF (emoji, for instance).
    """
    return _fnv1a32(str(_fnv1a32(value, _state(seed)))) % RESOLUTION / RESOLUTION


def cells(seed: str, values: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns the points of many values under one seed, in units of 1/10,000.

    Args:
        seed: The seed.
        values: n texts: a list, or an array of NumPy or Arrow.

    Returns:
        int64 (n,): `point(seed, value) * 10_000` of each.
    """
    found = np.empty(len(values), dtype=np.int64)
    for start in range(0, len(values), _CHUNK):
        part: Any = values[start : start + _CHUNK]
        texts: list[str] = part.tolist() if hasattr(part, "tolist") else list(part)
        hashes = _decimal_hashes(_hashes(texts, _state(seed)))
        found[start : start + len(texts)] = hashes % RESOLUTION
    return found


def variation_point(salt: str, key: str) -> float:
    """Returns the point that decides which variant a key gets.

    Args:
        salt: The endpoint's salt.
        key: The sticky key.
    """
    return point(f"{salt}:variation", key)


def variation_cells(salt: str, keys: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns `variation_point` of many keys, in units of 1/10,000.

    Args:
        salt: The endpoint's salt.
        keys: n sticky keys: a list, or an array of NumPy or Arrow.

    Returns:
        int64 (n,).
    """
    return cells(f"{salt}:variation", keys)


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
        state = (state ^ unit) * _PRIME & 0xFFFFFFFF
    return state


def _hashes(texts: list[str], state: int) -> _Words:
    """Returns `_fnv1a32(text, state)` of each text, uint32 (n,).

    The code points of all lie behind one another. With the longest texts first, those that go on
    at a position are the first ones.
    """
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    units = np.frombuffer(joined, dtype="<u4")
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    order = np.argsort(-lengths, kind="stable")
    starts = (np.cumsum(lengths) - lengths)[order]
    longer = len(texts) - np.cumsum(np.bincount(lengths))  # texts that have a unit at each position
    hashes = np.full(len(texts), state, dtype=np.uint32)
    position = 0
    while position < len(longer) and (going := longer[position]) > _FEW:
        hashes[:going] ^= units[starts[:going] + position]
        hashes[:going] *= np.uint32(_PRIME)
        position += 1
    if position < len(longer):
        for place in range(longer[position]):
            rest = texts[order[place]][position:]
            hashes[place] = _fnv1a32(rest, int(hashes[place]))
    unsorted = np.empty_like(hashes)
    unsorted[order] = hashes
    return unsorted


def _decimal_hashes(numbers: _Words) -> _Words:
    """Returns `_fnv1a32(str(number))` of each number, uint32 (n,)."""
    hashes = np.full(len(numbers), _OFFSET_BASIS, dtype=np.uint32)
    for power in range(9, -1, -1):  # a number of 32 bits has ten digits at most
        ten = np.uint32(10**power)
        shifted = numbers // ten
        mixed = (hashes ^ (shifted % np.uint32(10) + np.uint32(ord("0")))) * np.uint32(_PRIME)
        hashes = np.where((shifted > 0) | (power == 0), mixed, hashes)
    return hashes


@lru_cache(maxsize=256)
def _state(seed: str) -> int:
    """State of the hash after a seed; seeds are few, so their part is not computed anew."""
    return _fnv1a32(seed)
