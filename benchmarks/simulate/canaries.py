"""Simulated canaries: how often a healthy one is taken back, and how soon a bad one is.

Each is judged by the very code that judges real ones, once a second, on requests drawn at random:
the split gives each to one of the two variants, each fails and is slow with its own probability,
mirrored rows agree, scores come from one distribution. Nothing is shared between the runs.

The yardstick for a bad one is Wald's sequential test of the two true rates against each other, and
it knows both beforehand: by his bound it needs log(1 / alpha) / I failures on average, I being the
Kullback-Leibler divergence of the canary's share of the failures from its share of the requests
(Wald, "Sequential Tests of Statistical Hypotheses", 1945).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, log, sqrt
from statistics import median
from typing import Any, Final

import numpy as np
from rich.table import Table

from services.traffic.canary import decide
from services.traffic.findings import Scores, Seen
from services.traffic.guards import judge
from services.traffic.ledger import Ledger, Tried
from switchyard.plan_rollout import Canary

__all__ = [
    "Scenario",
    "Summary",
    "all_kinds",
    "canary_table",
    "failed_targets",
    "oracle",
    "simulate",
]

Array = np.ndarray[Any, Any]

QUICK, LATE = 0, 1
"""Buckets of the simulated latencies: 98.5% of the answers are in the first one."""

SLOW_SHARE = 0.015


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of canary.

    Attributes:
        rate: Requests per second of canary and stable variant together.
        stable_errors: Share of the stable variant's requests that fail.
        canary_errors: Share of the canary's.
        steps: Percentages of the canary's share.
        bake: Seconds of a step.
        agreement: Share of the mirrored rows on which the two agree.
    """

    rate: float = 200.0
    stable_errors: float = 0.01
    canary_errors: float = 0.01
    steps: tuple[float, ...] = (5.0,)
    bake: float = 120.0
    agreement: float = 0.98

    def plan(self, alpha: float) -> Canary:
        """Returns the plan's section that judges it: every guard that can err is on."""
        return Canary.model_validate(
            {
                "steps": list(self.steps),
                "bake": min(self.bake, 1e9),  # the plan knows no endless step
                "alpha": alpha,
                "guards": {"agreement": 0.95, "drift": 0.2},
                "limits": {"inconclusive": 10**6, "no_data": 10**6},
            }
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of many canaries of one kind.

    Attributes:
        runs: How many.
        taken_back: Share that was taken back.
        requests: Median of the canary requests until then; NaN if none was.
        seconds: Median of the seconds until then.
    """

    runs: int
    taken_back: float
    requests: float
    seconds: float


def oracle(scenario: Scenario, alpha: float) -> float:
    """Returns the canary requests that Wald's bound asks for on average at the first step."""
    share = scenario.steps[0] / 100
    failures = share * scenario.canary_errors + (1 - share) * scenario.stable_errors
    found = share * scenario.canary_errors / failures
    information = found * log(found / share) + (1 - found) * log((1 - found) / (1 - share))
    return log(1 / alpha) / information / (failures / share)


def simulate(scenario: Scenario, runs: int, most_seconds: int, alpha: float, seed: int) -> Summary:
    """Runs many canaries of one kind.

    Args:
        scenario: The kind.
        runs: How many.
        most_seconds: After these one counts as healthy.
        alpha: Error rate of the plan.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    settings = scenario.plan(alpha)
    ended = [_one(scenario, settings, most_seconds, rng) for _ in range(runs)]
    back = [end for end in ended if end is not None]
    return Summary(
        runs=runs,
        taken_back=len(back) / runs,
        requests=median(requests for requests, _ in back) if back else float("nan"),
        seconds=median(seconds for _, seconds in back) if back else float("nan"),
    )


def _one(
    scenario: Scenario, settings: Canary, most_seconds: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Returns the canary requests and seconds until one is taken back, None if it never is."""
    drawn = _Requests(scenario, most_seconds, rng)
    ledger, step, since = Ledger(), 0, 0
    for second in range(1, most_seconds + 1):
        seen = drawn.at(second, step)
        elapsed = second - since
        ledger, findings = judge(ledger, settings, seen, baked=elapsed >= settings.bake)
        decision = decide(ledger, settings, findings, step, elapsed)
        match decision.action:
            case "fail":
                return ledger.attempts, second
            case "step":
                ledger, step, since = ledger.next_step(), step + 1, second
            case "promote":
                return None
    return None


class _Requests:
    """What the routers have counted after each second, drawn as it is asked for."""

    def __init__(self, scenario: Scenario, seconds: int, rng: np.random.Generator) -> None:
        self._scenario = scenario
        self._rng = rng
        self._arrivals = rng.poisson(scenario.rate, seconds + 1)
        self._tried: dict[int, tuple[Tried, Tried]] = {}
        self._agreed = (0, 0)

    def at(self, second: int, step: int) -> Seen:
        """Returns what there is after a second at a step."""
        scenario, rng = self._scenario, self._rng
        percent = scenario.steps[step]
        canary = int(rng.binomial(self._arrivals[second], percent / 100))
        stable = int(self._arrivals[second]) - canary
        before = self._tried.get(step, (Tried(latency=(0, 0)), Tried(latency=(0, 0))))
        rates = (scenario.canary_errors, scenario.stable_errors)
        pair = [
            self._more(old, asked, rate)
            for old, asked, rate in zip(before, (canary, stable), rates, strict=True)
        ]
        self._tried[step] = (pair[0], pair[1])
        mirrored = int(rng.binomial(stable, 0.1))
        same = int(rng.binomial(mirrored, scenario.agreement))
        self._agreed = (self._agreed[0] + same, self._agreed[1] + mirrored)
        alone = frozenset(i for i, share in enumerate(scenario.steps) if share == 100)
        return Seen(dict(self._tried), alone, agreed=self._agreed, scores=self._scores())

    def _more(self, old: Tried, asked: int, rate: float) -> Tried:
        failed = int(self._rng.binomial(asked, rate))
        late = int(self._rng.binomial(asked - failed, SLOW_SHARE))
        quick = asked - failed - late
        latency = (old.latency[QUICK] + quick, old.latency[LATE] + late)
        return Tried(old.attempts + asked, old.failures + failed, latency)

    def _scores(self) -> Scores:
        """The distance of two samples of one distribution, by Kolmogorov's limit law."""
        rows = [sum(sum(pair[side].latency) for pair in self._tried.values()) for side in (0, 1)]
        if min(rows) == 0:
            return Scores(0.0, *rows)
        scale = (1 / rows[0] + 1 / rows[1]) ** 0.5
        return Scores(min(1.0, scale * _kolmogorov(self._rng)), rows[0], rows[1])


def _kolmogorov(rng: np.random.Generator) -> float:
    """Draws from Kolmogorov's distribution: the largest value of a Brownian bridge."""
    steps = rng.standard_normal(200) / 200**0.5
    path = np.cumsum(steps)
    bridge = path - path[-1] * np.arange(1, 201) / 200
    return float(np.abs(bridge).max())


ALPHA: Final = 0.01
"""Error rate of the plan, shared by four guards."""

HEALTHY: Final = Scenario(steps=(1.0, 5.0, 25.0, 50.0, 100.0), bake=60.0)
DOUBLED: Final = Scenario(canary_errors=0.02, bake=inf)
TENFOLD: Final = Scenario(canary_errors=0.10, bake=inf)
HALF: Final = Scenario(canary_errors=0.50, bake=inf)

KINDS: Final = {
    "healthy, 1% of both fail, all five steps": HEALTHY,
    "failures double to 2%, at the 5% step": DOUBLED,
    "failures rise to 10%, at the 5% step": TENFOLD,
    "half of its requests fail, at the 5% step": HALF,
}
MOST_SECONDS: Final = 3600


def all_kinds(runs: int, seed: int) -> Iterator[tuple[str, Summary]]:
    """Runs canaries of each of `KINDS`.

    Args:
        runs: Of each.
        seed: Of the random numbers.
    """
    for number, (name, scenario) in enumerate(KINDS.items()):
        yield name, simulate(scenario, runs, MOST_SECONDS, ALPHA, seed + number)


def failed_targets(found: Mapping[str, Summary]) -> list[str]:
    """Returns the targets that were missed: at most 1% of the healthy ones taken back (and what
    one estimate in 1,000 exceeds that by), twice the oracle for doubled failures, 150 requests for
    ten times as many.

    Args:
        found: By kind.
    """
    healthy, doubled, tenfold, _ = found.values()
    noise = 3.09 * sqrt(ALPHA * (1 - ALPHA) / healthy.runs)
    missed = []
    if healthy.taken_back > ALPHA + noise:
        missed.append(f"{healthy.taken_back:.1%} of the healthy canaries were taken back")
    if doubled.taken_back < 1 or doubled.requests > 2 * oracle(DOUBLED, ALPHA):
        missed.append(f"doubled failures took {doubled.requests:,.0f} canary requests")
    if tenfold.taken_back < 1 or tenfold.requests >= 150:
        missed.append(f"ten times as many failures took {tenfold.requests:,.0f} canary requests")
    return missed


def canary_table(found: Mapping[str, Summary]) -> Table:
    """Returns what became of the canaries."""
    table = Table(title=f"Canaries at 200 requests/s, all guards on, alpha {ALPHA:g}")
    for name in ("kind", "taken back", "canary requests (median)", "oracle", "seconds (median)"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for name, summary in found.items():
        bad = KINDS[name].canary_errors > KINDS[name].stable_errors
        table.add_row(
            name,
            f"{summary.taken_back:.2%}",
            f"{summary.requests:,.0f}" if summary.taken_back else "-",
            f"{oracle(KINDS[name], ALPHA):,.0f}" if bad else "-",
            f"{summary.seconds:,.0f}" if summary.taken_back else "-",
        )
    return table
