"""Means of arms, kept by stratum, and the difference between two arms over all strata.

A stratum is a revision: within it the shares are constant, so within it units of two arms can be
compared. Across strata they cannot: where the share of the better arm rises while the world gets
worse, the pooled means say that it is the worse one (Simpson's paradox). So differences are taken
stratum by stratum and averaged:

    lift = sum_s w_s (mean_1s - mean_0s) / sum_s w_s,    w_s = n_1s n_0s / (n_1s + n_0s)

These are the weights of Mantel and Haenszel, and the lift is the coefficient of the arm in a least
squares regression on arm and stratum: the narrowest where the variance is the same everywhere.

Why this may be looked at any number of times: sum_s w_s (mean_1s - mean_0s) is, up to the estimated
means, the sum over all units of (A - share_s) (Y - mean_s), A being 1 for the treatment. What a
unit adds has mean 0 under the null hypothesis whatever came before, since its arm is drawn by the
share of its stratum, which is fixed before the unit is exposed; so the sum is a martingale, and
one with changing means and variances has an asymptotic confidence sequence (the Lindeberg-Feller
type of arXiv 2103.06476) for the running average of the strata's effects. The weights depend on
how many units there are and never on their outcomes. The *time* of the sequence is 4 sum_s w_s: the
number of units that would tell as much if they were split half and half, so that a ramp from 1% to
50% does not count the units of its first step for more than they say.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Contrast", "Estimate", "appearing", "contrast", "estimate", "merged", "running"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

N, Y, X, YY, XX, XY = range(6)
"""Rows of the moments of a cell: count, mean of the outcome, mean of the covariate, sums of squared
deviations of both, and of their product."""

_ROUNDING: Final = 1e-12
"""Deviations smaller than this share of the mean are taken for rounding errors."""


def appearing(strata: NDArray[np.int64]) -> list[int]:
    """Returns the strata that occur, in the order of their first unit, so that no batch matters."""
    found, first = np.unique(strata, return_index=True)
    return [int(stratum) for stratum in found[np.argsort(first)]]


def running(cell: Floats, y: Floats, x: Floats, mine: Bools) -> Floats:
    """Returns the moments of a cell after each of some units, whether or not they are its own.

    Chan, Golub and LeVeque, *Updating formulae and a pairwise algorithm for computing sample
    variances* (1979): deviations are taken from the mean so far, so nothing cancels.

    Args:
        cell: Moments before, shape (6,).
        y: Outcomes, finite, shape (n,).
        x: Covariates, finite, shape (n,).
        mine: Which units are the cell's own, shape (n,).

    Returns:
        Shape (6, n).
    """
    if not mine.any():
        return np.repeat(cell[:, None], len(y), axis=1)
    if cell[N] > 0:
        y0, x0 = cell[Y], cell[X]
    else:
        first = int(np.argmax(mine))
        y0, x0 = y[first], x[first]
    dy, dx = np.where(mine, y - y0, 0.0), np.where(mine, x - x0, 0.0)
    n = cell[N] + np.cumsum(mine)
    some = np.maximum(n, 1.0)
    sum_y, sum_x = np.cumsum(dy), np.cumsum(dx)
    return np.stack(
        [
            n,
            y0 + sum_y / some,
            x0 + sum_x / some,
            np.maximum(cell[YY] + np.cumsum(dy * dy) - sum_y * sum_y / some, 0.0),
            np.maximum(cell[XX] + np.cumsum(dx * dx) - sum_x * sum_x / some, 0.0),
            cell[XY] + np.cumsum(dx * dy) - sum_x * sum_y / some,
        ]
    )


def merged(cells: Floats) -> tuple[int, float, float]:
    """Returns count, mean and variance of the outcome over all strata of an arm.

    Args:
        cells: Moments, shape (6, strata).

    Returns:
        The variance is 0 where there are fewer than two units.
    """
    n = cells[N].sum()
    if n == 0:
        return 0, 0.0, 0.0
    mean = (cells[N] / n * cells[Y]).sum()
    squares = (cells[YY] + cells[N] * np.square(cells[Y] - mean)).sum()
    return int(n), float(mean), float(squares / max(n - 1, 1))


class Contrast(NamedTuple):
    """Treatment against control in sums that add up over strata; w is the stratum's weight.

    Strata with fewer than two units of either arm have no variance yet and count for nothing.
    Variances have a leading axis: of the outcome, of the covariate, and their covariance.

    Attributes:
        n0: Units of the control, shape (...).
        n1: Units of the treatment.
        weight: w.
        base: w times the control's mean outcome.
        y: w times the difference of mean outcomes.
        x: The same of mean covariates.
        own0: Squared w times the variance of the control's means, shape (3, ...).
        own1: The same of the treatment's.
        common0: As `own0`, from the variance within both arms together.
        common1: As `own1`, from that variance.
        within: Squared deviations and products within the arms, shape (3, ...).
        freedom: Squares of own0 and own1 of the outcome over their degrees of freedom.
        null: As own0 + own1 of the outcome, from the variance around the mean of both arms.
        rounding: As own0 + own1 of the outcome, if there were only rounding errors.
    """

    n0: Floats
    n1: Floats
    weight: Floats
    base: Floats
    y: Floats
    x: Floats
    own0: Floats
    own1: Floats
    common0: Floats
    common1: Floats
    within: Floats
    freedom: Floats
    null: Floats
    rounding: Floats

    def plus(self, other: Contrast) -> Contrast:
        """Returns the sums of both."""
        return Contrast(*(a + b for a, b in zip(self, other, strict=True)))

    def summed(self) -> Contrast:
        """Returns the sums over the last axis."""
        return Contrast(*(part.sum(axis=-1) for part in self))

    def at_every_look(self) -> Contrast:
        """Returns the same with a last axis of length 1, so that arrays of looks can be added."""
        return Contrast(*(part[..., None] for part in self))

    def only(self, chosen: Bools) -> Contrast:
        """Returns what is chosen along the last axis."""
        return Contrast(*(part[..., chosen] for part in self))


def contrast(control: Floats, treatment: Floats) -> Contrast:
    """Returns the contrast of two arms in each stratum, or after each unit.

    Args:
        control: Moments, shape (6, ...).
        treatment: Moments, of the same shape.
    """
    usable = (control[N] >= 2) & (treatment[N] >= 2)
    n0, n1 = np.where(usable, control[N], 2.0), np.where(usable, treatment[N], 2.0)
    weight = np.where(usable, n0 * n1 / (n0 + n1), 0.0)
    lift = treatment[Y] - control[Y]
    own0 = weight * weight * control[YY:] / (n0 * (n0 - 1))
    own1 = weight * weight * treatment[YY:] / (n1 * (n1 - 1))
    within = control[YY:] + treatment[YY:]
    common = weight * weight * within / (n0 + n1 - 2)
    size = np.maximum(np.abs(control[Y]), np.abs(treatment[Y]))
    return Contrast(
        n0=np.where(usable, n0, 0.0),
        n1=np.where(usable, n1, 0.0),
        weight=weight,
        base=weight * control[Y],
        y=weight * lift,
        x=weight * (treatment[X] - control[X]),
        own0=own0,
        own1=own1,
        common0=common / n0,
        common1=common / n1,
        within=np.where(usable, within, 0.0),
        freedom=own0[0] ** 2 / (n0 - 1) + own1[0] ** 2 / (n1 - 1),
        null=weight * (within[0] + weight * lift * lift) / (n0 + n1 - 1),
        rounding=weight * np.square(_ROUNDING * size),
    )


class Estimate(NamedTuple):
    """The lift over all strata.

    Attributes:
        lift: Weighted average of the differences; 0 where there is no stratum to compare in.
        variance: Its squared standard error; 0 there, else above 0 unless all values are 0.
        time: Its time: effective number of units, see the module.
        baseline: The control's mean, weighted in the same way, without adjustment.
        control_variance: Squared standard error of the control's (adjusted) mean.
        treatment_variance: That of the treatment's.
        flat: Whether all units of an arm and stratum were equal.
    """

    lift: Floats
    variance: Floats
    time: Floats
    baseline: Floats
    control_variance: Floats
    treatment_variance: Floats
    flat: Bools

    @property
    def z(self) -> Floats:
        """The lift in standard errors; 0 where there is none, at most 1e100 so that it squares."""
        known = self.variance > 0
        z = np.where(known, self.lift / np.sqrt(np.where(known, self.variance, 1.0)), 0.0)
        return np.clip(z, -1e100, 1e100)


def estimate(sums: Contrast, adjusted: bool = False) -> Estimate:
    """Returns the lift from the sums over all strata.

    Its variance is the larger of two: Welch's, from the variance of each arm, and Student's, from
    that of both together. Student's is wrong where the small arm varies more, Welch's where it has
    not shown yet that it varies: 500 units without one of the errors that befall one in 200 have a
    variance of 0, and would be "better" than any control in half of all experiments. With arms of
    equal size the two are the same.

    Adjusted, it is CUPED (Deng, Xu, Kohavi and Walker, *Improving the sensitivity of online
    controlled experiments by utilizing pre-experiment data*, WSDM 2013, equations 4 and 5): the
    outcome is replaced by y - theta x, theta = cov(y, x) / var(x), here within arms and strata.

    Where no unit differs from the others of its arm and stratum, the variance within arms is 0 and
    says nothing about chance; the variance around the common mean stands in for it then.

    Args:
        sums: Sums over the strata, of any shape.
        adjusted: Whether the covariate is used.
    """
    weight = np.where(sums.weight > 0, sums.weight, 1.0)
    _, xx, xy = sums.within
    theta = np.where(xx > 0, xy / np.where(xx > 0, xx, 1.0), 0.0) * adjusted
    own = _residual(sums.own0, theta), _residual(sums.own1, theta)
    common = _residual(sums.common0, theta), _residual(sums.common1, theta)
    pooled = common[0] + common[1] > own[0] + own[1]
    control, treatment = np.where(pooled, common, own)
    flat = control + treatment <= sums.rounding
    variance = np.where(flat, sums.null + sums.rounding, control + treatment)
    square = weight * weight
    return Estimate(
        lift=(sums.y - theta * sums.x) / weight,
        variance=variance / square,
        time=4 * sums.weight,
        baseline=sums.base / weight,
        control_variance=control / square,
        treatment_variance=treatment / square,
        flat=flat,
    )


def _residual(variances: Floats, theta: Floats) -> Floats:
    """The variance of y - theta x."""
    yy, xx, xy = variances
    return np.asarray(np.maximum(yy + theta * (theta * xx - 2 * xy), 0.0))
