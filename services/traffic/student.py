"""Student's t distribution with real degrees of freedom, for Welch's test.

Written out here because scipy, which has it, takes a second and 60 MB to import, and the process
that judges experiments needs nothing else of it.
"""

from __future__ import annotations

from math import exp, isinf, lgamma, log, log1p, pi
from statistics import NormalDist
from typing import Final

__all__ = ["critical", "two_sided"]

_TINY: Final = 1e-300
_STEPS: Final = 100_000


def two_sided(t: float, freedom: float) -> float:
    """Returns the probability that |T| is larger than |t|.

    It is the regularised incomplete beta function I_x(v / 2, 1 / 2) at x = v / (v + t^2), v being
    the degrees of freedom (DLMF 8.17, https://dlmf.nist.gov/8.17).

    Args:
        t: Statistic.
        freedom: Degrees of freedom, above 0.
    """
    return _beta_tail(freedom / 2, t * t / freedom)


def critical(alpha: float, freedom: float) -> float:
    """Returns the t that |T| exceeds with probability `alpha`.

    Newton's steps from the normal quantile: the tail is convex and the normal quantile lies left of
    the answer, so they approach it from the left and never overshoot.

    Args:
        alpha: Probability, in (0, 1).
        freedom: Degrees of freedom, above 0.
    """
    t = NormalDist().inv_cdf(1 - alpha / 2)
    for _ in range(_STEPS):
        step = (two_sided(t, freedom) - alpha) / (2 * _density(t, freedom))
        t += step
        if step <= 1e-12 * t:  # below 0 only by rounding
            break
    return t


def _density(t: float, freedom: float) -> float:
    scale = _half_step(freedom / 2) - log(freedom * pi) / 2
    return exp(scale - (freedom + 1) / 2 * log1p(t * t / freedom))


def _half_step(a: float) -> float:
    """log(Gamma(a + 1/2) / Gamma(a)); by DLMF 5.11.13 where the logarithms would cancel."""
    if a < 1000:
        return lgamma(a + 0.5) - lgamma(a)
    return log(a) / 2 - 1 / (8 * a) + 1 / (192 * a**3)


def _beta_tail(a: float, ratio: float) -> float:
    """I_x(a, 1/2) at x = 1 / (1 + ratio)."""
    if ratio == 0:
        return 1.0
    if isinf(ratio):
        return 0.0
    x, rest = 1 / (1 + ratio), ratio / (1 + ratio)
    scale = exp(_half_step(a) - log(pi) / 2 - a * log1p(ratio) + log(rest) / 2)
    if x < (a + 1) / (a + 2.5):  # here the fraction converges fast, else that of 1 - x does
        return scale * _fraction(a, 0.5, x) / a
    return 1 - scale * _fraction(0.5, a, rest) / 0.5


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction DLMF 8.17.22, by Lentz's method; about sqrt(a) steps."""
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _apart(1 + even * d), _apart(1 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _apart(1 + odd * d), _apart(1 + odd / c)
        value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value


def _apart(value: float) -> float:
    """The value, kept apart from 0."""
    return value if abs(value) > _TINY else _TINY
