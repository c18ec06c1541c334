"""The predictable-mixture empirical Bernstein confidence sequence, for bounded metrics.

Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, arXiv
2010.09686, section 3.2, theorem 2. Unlike an asymptotic sequence it holds at every sample size, so
it needs no minimum of units; it is wider.
"""

from __future__ import annotations

from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["advance", "difference", "intervals"]

Floats = NDArray[np.float64]

_LARGEST_BET: Final = 0.5
"""c of the paper, which calls 1/2 and 3/4 reasonable."""


def advance(state: Floats, values: Floats, alpha: float) -> Floats:
    """Returns the state after each of some values.

        psi(lambda) = (-log(1 - lambda) - lambda) / 4,  v_i = 4 (x_i - mean_(i-1))^2
        lambda_i = min(sqrt(2 log(2 / alpha) / (variance_(i-1) i log(1 + i))), c)
        mean_i = (1/2 + sum x) / (i + 1)
        variance_i = (1/4 + sum (x_j - mean_j)^2) / (i + 1)

    Args:
        state: State before, shape (6,), zeros before the first value: count, sum, squared
            deviations, and the sums of lambda, lambda x and v psi(lambda).
        values: Values in [0, 1], shape (n,).
        alpha: Error rate of the sequence; the same at every call.

    Returns:
        Shape (6, n).
    """
    t = state[0] + np.arange(1, len(values) + 1)
    total = state[1] + np.cumsum(values)
    mean = (0.5 + total) / (t + 1)
    mean_before = np.concatenate([[(0.5 + state[1]) / (state[0] + 1)], mean[:-1]])
    squares = state[2] + np.cumsum(np.square(values - mean))
    variance_before = (0.25 + np.concatenate([state[2:3], squares[:-1]])) / t
    bet = np.sqrt(2 * log(2 / alpha) / (variance_before * t * np.log1p(t)))
    bet = np.minimum(bet, _LARGEST_BET)
    spent = np.square(values - mean_before) * (-np.log1p(-bet) - bet)
    return np.stack(
        [
            t,
            total,
            squares,
            state[3] + np.cumsum(bet),
            state[4] + np.cumsum(bet * values),
            state[5] + np.cumsum(spent),
        ]
    )


def intervals(states: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Returns the lower and the upper bound of the mean after each state.

        sum(lambda x) / sum(lambda) -+ (log(2 / alpha) + sum(v psi(lambda))) / sum(lambda)

    Args:
        states: Shape (6, ...).
        alpha: Error rate, that of `advance`.

    Returns:
        Two arrays of shape (...), within [0, 1]; all of it before the first value.
    """
    bets = np.where(states[0] > 0, states[3], 1.0)
    center = states[4] / bets
    margin = np.where(states[0] > 0, (log(2 / alpha) + states[5]) / bets, 1.0)
    return np.maximum(center - margin, 0.0), np.minimum(center + margin, 1.0)


def difference(
    control: tuple[Floats, Floats], treatment: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Returns bounds of treatment minus control.

    Each arm's sequence holds with an error of alpha / 2, so both hold with one of alpha.

    Args:
        control: Lower and upper bounds of the control's mean.
        treatment: Those of the treatment's.
    """
    return treatment[0] - control[1], treatment[1] - control[0]
