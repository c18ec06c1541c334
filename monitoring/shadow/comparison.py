"""The arithmetic of comparing a shadow with what callers were answered; pure, on arrays.

What a pair, agreement and a score are: see `monitoring.shadow.pairs`. A primary row is logged, and
mirrored, only once it has been answered: so the error share of the primaries is 0, and that of the
shadow is what it would have cost the callers. Latencies are by row, from arrival to answer for a
primary; a shadow begins when it is queued, after the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from monitoring.scores import kolmogorov_smirnov
from monitoring.shadow.pairs import Pairs
from switchyard.records import iso

__all__ = ["WINDOWS", "Differences", "Figures", "Latency", "Window", "compare", "trend"]

Array = np.ndarray[Any, Any]

WINDOWS: Final = 12
"""Equal parts of a window that are compared each for itself, to show a trend."""


@dataclass(frozen=True, slots=True)
class Differences:
    """How far scores lie apart, shadow minus primary.

    Attributes:
        mean: Mean, with its sign.
        mean_absolute: Mean without signs.
        p50: Median without signs.
        p99: 99th percentile without signs.
        largest: Largest without signs.
    """

    mean: float
    mean_absolute: float
    p50: float
    p99: float
    largest: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of latencies in ms, and by how much the shadow's are longer."""

    primary_p50: float
    primary_p99: float
    shadow_p50: float
    shadow_p99: float
    delta_p50: float
    delta_p99: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What pairs come to.

    Attributes:
        rows: Mirrored rows.
        unpaired: Those whose primary row was not found; what follows is about the others.
        errors: Rows on which the shadow failed.
        agreed: Rows on which it agreed.
        agreement: Share of the rows on which it agreed; one that failed has not.
        error_share: Share of the rows on which the shadow failed.
        error_delta: That, minus the share of those on which the primary failed.
        differences: Of the scores, where both have one.
        ks_distance: Two-sample Kolmogorov-Smirnov distance of the same scores. It has no p-value:
            both samples are of the same rows, so not independent.
        latency: Of the rows on which neither failed.
    """

    rows: int
    unpaired: int
    errors: int
    agreed: int
    agreement: float | None
    error_share: float | None
    error_delta: float | None
    differences: Differences | None
    ks_distance: float | None
    latency: Latency | None


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the time that is looked at.

    Attributes:
        since: Its beginning, UTC in ISO 8601.
        figures: Of its pairs.
    """

    since: str
    figures: Figures


def compare(pairs: Pairs) -> Figures:
    """Compares the two sides of pairs."""
    found = pairs.found
    paired = int(np.count_nonzero(found))
    errors = int(np.count_nonzero(pairs.failed & found))
    primary_errors = int(np.count_nonzero(pairs.primary_failed & found))
    agreed = int(np.count_nonzero(pairs.agreed & found))
    scored = found & np.isfinite(pairs.primary) & np.isfinite(pairs.shadow)
    primary, shadow = pairs.primary[scored], pairs.shadow[scored]
    answered = found & ~pairs.failed & ~pairs.primary_failed
    return Figures(
        rows=len(found),
        unpaired=len(found) - paired,
        errors=errors,
        agreed=agreed,
        agreement=agreed / paired if paired else None,
        error_share=errors / paired if paired else None,
        error_delta=(errors - primary_errors) / paired if paired else None,
        differences=_differences(shadow - primary) if len(primary) else None,
        ks_distance=kolmogorov_smirnov(primary, shadow) if len(primary) else None,
        latency=_latency(pairs.primary_ms[answered], pairs.shadow_ms[answered])
        if answered.any()
        else None,
    )


def trend(
    pairs: Pairs, since: datetime, until: datetime, windows: int = WINDOWS
) -> tuple[Window, ...]:
    """Compares pairs by equal parts of the time from `since` to `until`, in which all of them lie.

    Args:
        pairs: The pairs.
        since: Beginning of the first part.
        until: End of the last one.
        windows: Number of parts.
    """
    start = _microseconds(since)
    length = _microseconds(until) - start
    place = (pairs.time - start) * windows // length
    return tuple(
        Window(
            iso(since + timedelta(microseconds=length * index // windows)),
            compare(_chosen(pairs, place == index)),
        )
        for index in range(windows)
    )


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _chosen(pairs: Pairs, which: Array) -> Pairs:
    return Pairs(*(getattr(pairs, field.name)[which] for field in fields(pairs)))


def _differences(differences: Array) -> Differences:
    absolute = np.abs(differences)
    p50, p99 = np.quantile(absolute, (0.5, 0.99))
    return Differences(
        mean=float(differences.mean()),
        mean_absolute=float(absolute.mean()),
        p50=float(p50),
        p99=float(p99),
        largest=float(absolute.max()),
    )


def _latency(primary: Array, shadow: Array) -> Latency:
    primary_p50, primary_p99 = map(float, np.quantile(primary, (0.5, 0.99)))
    shadow_p50, shadow_p99 = map(float, np.quantile(shadow, (0.5, 0.99)))
    return Latency(
        primary_p50,
        primary_p99,
        shadow_p50,
        shadow_p99,
        shadow_p50 - primary_p50,
        shadow_p99 - primary_p99,
    )
