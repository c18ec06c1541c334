"""Statistics that may be looked at any number of times, and the one that may not.

**Asymptotic confidence sequences**: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, *Time-uniform
central limit theory and asymptotic confidence sequences*, arXiv 2103.06476 (equation numbers are
those of its version 7, as in GrowthBook's code). A confidence interval holds at one sample size
chosen in advance; a confidence sequence holds at all of them at once, with probability 1 - alpha.
"Asymptotic" is meant as in the central limit theorem: the variance is estimated, so no first look
may be taken at a handful of units (`services.traffic.experiment` waits for a minimum).

All functions take an estimate by its *time* and its *standard error*: for one mean the time is the
number of units, for a difference see `services.traffic.strata`. They are vectorised: numbers or
arrays of any shape that broadcast.

**Evidence** is the logarithm of a test martingale, or of what stands for it asymptotically: under
the null hypothesis it ever reaches log(1 / alpha) with probability at most alpha (Ville's
inequality). exp(-evidence) at its running maximum is a p-value that is valid at every look.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.traffic.student import critical, two_sided

__all__ = [
    "TARGET",
    "Welch",
    "one_sided_evidence",
    "one_sided_margin",
    "p_value",
    "relative_lift",
    "tuning",
    "two_sided_evidence",
    "two_sided_margin",
    "welch",
]

TARGET: Final = 5000.0
"""Sample size (both arms together) at which intervals are the narrowest: N* of the paper."""

Values = float | NDArray[Any]


def tuning(alpha: float, target: float = TARGET) -> float:
    """Returns rho^2, the variance of the mixture, tuned to a sample size.

        rho^2 = (-2 log(alpha) + log(-2 log(alpha) + 1)) / target

    Equation 161. It moves the size at which the sequence is narrowest and nothing else: every
    choice made before the first look is valid. For a one-sided sequence, pass twice its alpha.

    Args:
        alpha: Error rate, above 0. From 0.99 on it is taken as that, as the formula ends at 1.
        target: Units at which the interval shall be the narrowest.
    """
    width = -2 * log(min(alpha, 0.99))
    return (width + log(width + 1)) / target


def two_sided_margin(alpha: float, time: Values, rho2: float) -> NDArray[np.float64]:
    """Returns half the width of the two-sided sequence, in standard errors.

        sqrt(2 (t rho^2 + 1) / (t rho^2) log(sqrt(t rho^2 + 1) / alpha))

    Equation 9 (Robbins' normal mixture), divided by the standard error sigma / sqrt(t).

    Args:
        alpha: Error rate.
        time: Units t, above 0.
        rho2: rho^2 of `tuning`.
    """
    grown = np.asarray(time) * rho2
    return np.asarray(np.sqrt(2 * (grown + 1) / grown * (np.log1p(grown) / 2 - log(alpha))))


def two_sided_evidence(z: Values, time: Values, rho2: float) -> NDArray[np.float64]:
    """Returns the evidence against "the true value is the one that z is measured from".

        t rho^2 z^2 / (2 (t rho^2 + 1)) - log(t rho^2 + 1) / 2

    Equation 155 in logarithms; it exceeds log(1 / alpha) exactly when the sequence of
    `two_sided_margin` leaves that value out.

    Args:
        z: Distance of the estimate from that value, in standard errors.
        time: Units t.
        rho2: rho^2 of `tuning`.
    """
    grown = np.asarray(time) * rho2
    return np.asarray(_shrunk(z, grown) - np.log1p(grown) / 2)


def one_sided_margin(alpha: float, time: Values, rho2: float) -> NDArray[np.float64]:
    """Returns how far the bound of the one-sided sequence lies off, in standard errors.

        sqrt(2 (t rho^2 + 1) / (t rho^2) log(1 + sqrt(t rho^2 + 1) / (2 alpha)))

    The paper's one-sided sequence (its appendix on one-sided asymptotic confidence sequences). It
    is the closed form, slightly on the safe side, of the mixture over positive values only:
    Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240, one-sided normal mixture.

    Args:
        alpha: Error rate.
        time: Units t, above 0.
        rho2: rho^2 of `tuning`, at twice alpha.
    """
    grown = np.asarray(time) * rho2
    return np.asarray(np.sqrt(2 * (grown + 1) / grown * np.log1p(np.sqrt(grown + 1) / (2 * alpha))))


def one_sided_evidence(z: Values, time: Values, rho2: float) -> NDArray[np.float64]:
    """Returns the evidence against "the true value is at most the one that z is measured from".

    `one_sided_margin` solved for log(1 / alpha):

        log(2 (exp(t rho^2 z^2 / (2 (t rho^2 + 1))) - 1)) - log(t rho^2 + 1) / 2,  for z > 0

    Args:
        z: Distance of the estimate above that value, in standard errors.
        time: Units t.
        rho2: rho^2 of `tuning`, at twice the alpha that it is compared with.

    Returns:
        Evidence; minus infinity where z is not positive.
    """
    grown = np.asarray(time) * rho2
    shrunk = _shrunk(np.maximum(z, 0.0), grown)
    with np.errstate(divide="ignore"):
        tail = np.log(-np.expm1(-shrunk))
    return np.asarray(log(2) + shrunk + tail - np.log1p(grown) / 2)


def p_value(evidence: float) -> float:
    """Returns the p-value of the largest evidence seen: exp(-evidence), at most 1."""
    return float(np.exp(-max(evidence, 0.0)))


def relative_lift(
    baseline: float, lift: float, control_variance: float, treatment_variance: float
) -> tuple[float, float] | None:
    """Returns the lift as a share of the control's mean m, and the variance of that.

    The delta method: Var(m' / m) = Var(m') / m^2 + m'^2 Var(m) / m^4, with m' = m + lift.

    Args:
        baseline: Mean of the control.
        lift: Difference to it.
        control_variance: Squared standard error of the control's mean.
        treatment_variance: That of the treatment's mean.

    Returns:
        Lift and variance; None where the control's mean is 0, or so near to it that the numbers
        have no meaning.
    """
    with np.errstate(all="ignore"):
        m = np.float64(baseline)
        share = lift / m
        variance = treatment_variance / m**2 + (1 + share) ** 2 * control_variance / m**2
    if not (np.isfinite(share) and np.isfinite(variance)):
        return None
    return float(share), float(variance)


@dataclass(frozen=True)
class Welch:
    """Welch's t-test of a difference.

    Attributes:
        p: Two-sided p-value.
        interval: Confidence interval of the difference, in the metric's unit.
        note: What must be known before one reads it.
    """

    p: float
    interval: tuple[float, float]
    note: str = "valid for one look, planned in advance"


def welch(lift: float, variance: float, freedom: float, alpha: float) -> Welch:
    """Returns Welch's test, which holds for one look at a time that was planned in advance.

    B. L. Welch, *The generalization of "Student's" problem when several different population
    variances are involved*, Biometrika 34 (1947).

    Args:
        lift: Difference of means.
        variance: Its squared standard error, above 0.
        freedom: Degrees of freedom by Welch and Satterthwaite, above 0.
        alpha: Error rate of the interval.
    """
    error = sqrt(variance)
    margin = critical(alpha, freedom) * error
    return Welch(two_sided(lift / error, freedom), (lift - margin, lift + margin))


def _shrunk(z: Values, grown: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(grown * np.square(z) / (2 * (grown + 1)))
