"""How large a score is by chance alone: its null distribution, by the number of rows judged.

For each method and each size of window there are the quantiles of `models.drift.tails.LEVELS`; a
window of another size lies between two of them, on logarithmic scales. A larger window than the
largest is judged by that one, which is the stricter the larger the window is: scores fall with the
number of rows. A smaller one than the smallest is not judged.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from models.drift.tails import LEVELS, Scale, quantile, reached, stretch, unstretch

__all__ = ["REPORT", "Label", "Null", "Tail", "scale", "unit"]

Array = np.ndarray[Any, Any]

Label = Literal["contiguous", "iid"]

REPORT: Final = "report"
"""First word of the names of the scores of whole reports, which are logarithms already."""

_SCALES: Final[dict[str, Scale]] = {"ks": "logit", "js": "logit", "missing": "logit"}
"""Scores of at most 1."""


class Tail(NamedTuple):
    """Upper quantiles of one score for windows of one size.

    Attributes:
        effective: How many independent windows they come from.
        quantiles: Scores that are reached with the probabilities of `models.drift.tails.LEVELS`.
    """

    effective: float
    quantiles: tuple[float, ...]

    @classmethod
    def parse(cls, value: Any) -> Any:
        """Reads a tail from the line of text that a manifest holds.

        Raises:
            ValueError: The line holds something else.
        """
        if not isinstance(value, str):
            return value
        first, *others = map(float, value.split() or [""])
        if len(others) != len(LEVELS):
            raise ValueError(f"a tail has {len(LEVELS)} quantiles, not {len(others)}")
        return cls(first, tuple(others))

    def text(self) -> str:
        """Returns the tail as one line, so that a manifest stays short and readable."""
        return " ".join(f"{number:.3g}" for number in (self.effective, *self.quantiles))


Line = Annotated[Tail, BeforeValidator(Tail.parse), PlainSerializer(Tail.text, when_used="json")]


class Null(BaseModel):
    """Null distributions of the scores of one column.

    Attributes:
        label: `contiguous`: of windows of the reference in time order; `iid`: of rows drawn at
            random, because the reference has no time column.
        rows: Rows of the reference.
        tails: By method (`ks`, `psi`, `wasserstein`, `js`, `chi2`, and `missing`, the absolute
            difference of the shares of missing values) and rows of the window. Those of `chi2` are
            over the harmonic size of the samples, see `unit`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Label
    rows: int
    tails: dict[str, dict[int, Line]]

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods it knows."""
        return tuple(method for method, tails in self.tails.items() if tails)

    @property
    def smallest(self) -> int | None:
        """Rows below which nothing is judged; None where nothing is."""
        return min((size for tails in self.tails.values() for size in tails), default=None)

    def threshold(self, method: str, rows: int, level: float) -> float:
        """Returns the score that a window without drift reaches with at most this probability.

        Infinite where the window has fewer rows than the smallest that the null knows, or the
        method is unknown: nothing is judged then. Levels below the smallest of `LEVELS` are too.

        Args:
            method: One of `methods`.
            rows: Rows of the window.
            level: Rate of false alarms, 0 to 1.
        """
        quantiles = self._quantiles(method, rows)
        if quantiles is None or level < LEVELS[-1]:
            return float("inf")
        place = np.array(quantile(quantiles, level))
        return float(unstretch(place, scale(method)) * unit(method, self.rows, rows))

    def p_value(self, method: str, rows: int, score: float) -> float:
        """Returns the probability of a score at least as large without drift.

        1 where nothing is judged and below the median, and never less than the last of `LEVELS`.

        Args:
            method: One of `methods`.
            rows: Rows of the window.
            score: Its score.
        """
        quantiles = self._quantiles(method, rows)
        if quantiles is None or not np.isfinite(score):
            return 1.0
        per = np.array(score / unit(method, self.rows, rows))
        return float(reached(quantiles, stretch(per, scale(method), _FINEST)))

    def supported(self, method: str, rows: int) -> float:
        """Returns the smallest level that windows themselves show; below it the tail is fitted.

        1 where nothing is judged.
        """
        tails = self.tails.get(method, {})
        sizes = [size for size in tails if size <= rows]
        return 1 / (tails[max(sizes)].effective + 1) if sizes else 1.0

    def _quantiles(self, method: str, rows: int) -> Array | None:
        """Quantiles for windows of so many rows, on the stretched scale, (levels,)."""
        tails = self.tails.get(method)
        if not tails or rows < min(tails):
            return None
        sizes = sorted(tails)
        table = np.array([tails[size].quantiles for size in sizes])
        stretched = stretch(table, scale(method), _FINEST)
        place = np.interp(np.log(rows), np.log(sizes), np.arange(len(sizes)))
        low = int(place)
        high = min(low + 1, len(sizes) - 1)
        between: Array = stretched[low] + (place - low) * (stretched[high] - stretched[low])
        return between

    @classmethod
    def empty(cls, label: Label, rows: int) -> Self:
        """Returns the null of a reference that is too small to have windows."""
        return cls(label=label, rows=rows, tails={})


def scale(method: str) -> Scale:
    """Returns the scale on which a method's scores are about normal, or have exponential tails."""
    if method.startswith(REPORT):
        return "linear"
    return _SCALES.get(method, "log")


def unit(method: str, reference: Any, rows: int) -> Any:
    """Returns what a score is divided by before it is kept, so that it falls with the rows.

    The chi-square statistic grows with the rows for the same difference of shares; over the
    harmonic size m n / (m + n) of the two samples it does not.

    Args:
        method: What the score is.
        reference: Rows of the reference, a number or an array (m,).
        rows: Rows of the window.

    Returns:
        A number, or one for each of the references.
    """
    return reference * rows / (reference + rows) if method == "chi2" else 1.0


_FINEST: Final = 1e-12
