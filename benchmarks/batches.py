"""Batches: the same rows as JSON and in a binary format, and how much faster the second is to be.

Beside the server that is asked stands the limit, (a), which decodes the same bodies and does
nothing else: all that a server does beyond that makes its ratio smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks import rows
from benchmarks.payloads import Payload

__all__ = ["CONNECTIONS", "LIMIT", "PAIRS", "TARGET_ROWS", "Kind", "Pair"]

CONNECTIONS: Final[Mapping[int, int]] = {32: 16, 1024: 4}
"""Connections by rows of a request: fewer for large ones, which a full queue would turn away."""

TARGET_ROWS: Final = 32
"""Rows of a request that the targets are about."""

LIMIT: Final = "a"
"""Key of the server that only decodes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Bodies of the same rows in one format.

    Attributes:
        name: Rows and format, as in `digits npy`.
        payload: Makes the bodies of so many rows each.
    """

    name: str
    payload: Callable[[int], Payload]

    @property
    def limit_path(self) -> str:
        """Path at which the limit decodes them."""
        return "/" + self.name.replace(" ", "/")


@dataclass(frozen=True, slots=True)
class Pair:
    """The same rows in two formats.

    Attributes:
        server: Key of the server that is asked about them.
        json: The first format.
        binary: The second.
        bound: Asked of the rows a second of the second, as a multiple of the first, at
            `TARGET_ROWS` rows a request.
    """

    server: str
    json: Kind
    binary: Kind
    bound: float


PAIRS: Final = (
    Pair("d", Kind("digits json", rows.digits), Kind("digits npy", rows.digits_npy), 4),
    Pair("e", Kind("flights json", rows.flights), Kind("flights arrow", rows.flights_arrow), 3),
)
