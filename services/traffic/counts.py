"""Anytime-valid tests on counts: does the canary fail more often than the variant beside it?

Of the failures that two variants have together, the canary's share should be its share of the
attempts. That is the two-cell case of the sequential multinomial test of Lindon and Malek
("Anytime-Valid Inference For Multinomial Count Data", arXiv 2011.03567): a likelihood ratio against
the null is a martingale, so is a mixture of such ratios, and by Ville's inequality it ever reaches
1 / alpha with probability at most alpha, however often one looks.

Two things differ from the paper. The null's share changes from look to look, since a canary's share
of the traffic does; so the mixture is not over the share but over the odds ratio r, with share
`r a / (r a + b)` for a and b attempts since the look before, and it stays a martingale. And only
r > 1 has weight, because a canary that fails less often is welcome: for a true ratio below 1 the
process is a supermartingale.

Given the attempts and the number of failures among them, the canary's failures are hypergeometric,
not binomial. The ratio is a convex function of them, and a hypergeometric variable is smaller than
the binomial one in convex order (Hoeffding 1963, theorem 4), so its mean is at most 1 and the test
errs on the safe side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log, log1p
from typing import Final

__all__ = ["RATIOS", "Counts", "Evidence", "against_rate", "compare"]

RATIOS: Final = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Odds ratios of the mixture."""

WEIGHTS: Final = (0.1, 0.15, 0.25, 0.2, 0.1, 0.1, 0.1)
"""Their weights; they sum to 1. Twice as many failures is what a canary should be caught at."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Attempts of one variant, and how many of them count against it."""

    attempts: int = 0
    bad: int = 0

    def since(self, before: Counts) -> Counts:
        """Returns what was added since an earlier count."""
        return Counts(self.attempts - before.attempts, self.bad - before.bad)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence that a canary is worse, so far.

    Attributes:
        logs: Logarithm of the likelihood ratio for each of `RATIOS`.
        highest: Largest logarithm of the mixture that there ever was.
    """

    logs: tuple[float, ...] = (0.0,) * len(RATIOS)
    highest: float = 0.0

    @property
    def log(self) -> float:
        """Logarithm of the mixture now."""
        top = max(self.logs)
        total = sum(w * exp(one - top) for w, one in zip(WEIGHTS, self.logs, strict=True))
        return top + log(total)

    @property
    def p(self) -> float:
        """The always-valid p-value: the chance, at most, that so much evidence comes by chance."""
        return min(1.0, exp(-self.highest))

    def plus(self, gains: Sequence[float]) -> Evidence:
        """Returns the evidence after another look.

        Args:
            gains: What each logarithm grows by.
        """
        grown = replace(self, logs=tuple(a + b for a, b in zip(self.logs, gains, strict=True)))
        return replace(grown, highest=max(self.highest, grown.log))


def compare(evidence: Evidence, canary: Counts, stable: Counts) -> Evidence:
    """Adds what was counted since the last look at both variants.

    Args:
        evidence: So far.
        canary: Of the canary, since the last look.
        stable: Of the variant that it is compared with, over the same time.
    """
    a, b = canary.attempts, stable.attempts
    if a <= 0 or b <= 0 or canary.bad + stable.bad == 0:
        return evidence  # the canary's share is certain, so nothing can be learned
    null = a / (a + b)
    gains = []
    for ratio in RATIOS:
        share = ratio * a / (ratio * a + b)
        gain = canary.bad * log(share / null) + stable.bad * log((1 - share) / (1 - null))
        gains.append(gain)
    return evidence.plus(gains)


def against_rate(evidence: Evidence, canary: Counts, rate: float) -> Evidence:
    """Adds what was counted at a canary that has nobody beside it, against a known rate.

    The likelihood ratios are those of Bernoulli trials with odds `r` times those of the rate; any
    true rate up to the given one makes them a supermartingale.

    Args:
        evidence: So far.
        canary: Of the canary, since the last look.
        rate: Share of attempts that may count against it, in [0, 1].
    """
    if canary.attempts <= 0 or not 0 < rate < 1:
        return evidence
    good = canary.attempts - canary.bad
    gains = []
    for ratio in RATIOS:
        # odds r * rate / (1 - rate) belong to the rate r * rate / (1 - rate + r * rate)
        scale = -log1p((ratio - 1) * rate)
        gains.append(canary.bad * (log(ratio) + scale) + good * scale)
    return evidence.plus(gains)
