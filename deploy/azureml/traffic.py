"""How the live requests move from one deployment to the next: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy.azureml.values import Traffic

__all__ = ["ALL", "Split", "shown", "steps"]

ALL = 100
"""Percent."""


@dataclass(frozen=True, slots=True)
class Split:
    """One state of an endpoint's traffic.

    Attributes:
        traffic: Percent by deployment.
        mirror: Percent of the requests that is copied, by deployment.
    """

    traffic: Mapping[str, int]
    mirror: Mapping[str, int]

    @classmethod
    def of(cls, traffic: Mapping[str, object] | None, mirror: Mapping[str, object] | None) -> Split:
        """Returns what Azure says, without the deployments that get nothing."""

        def some(shares: Mapping[str, object] | None) -> dict[str, int]:
            found = {name: int(str(share)) for name, share in (shares or {}).items()}
            return {name: share for name, share in sorted(found.items()) if share}

        return cls(some(traffic), some(mirror))


def steps(now: Split, name: str, wanted: Traffic) -> list[Split]:
    """Returns the states on the way to a deployment that has all; the last one is that.

    A deployment that already has a share, because it was interrupted on its way, goes on from
    there; without one before it there is nothing to move gently.

    Args:
        now: The present state.
        name: The new deployment.
        wanted: How it is to go.
    """
    whole = Split({name: ALL}, {})
    others = {other: share for other, share in now.traffic.items() if other != name}
    if now == whole:
        return []
    if not others:
        return [whole]
    found = []
    has = now.traffic.get(name, 0)
    if wanted.mirror and not has:
        found.append(Split(others, {name: wanted.mirror}))
    if has < wanted.share < ALL:
        found.append(Split(_scaled(others, ALL - wanted.share) | {name: wanted.share}, {}))
    return [*found, whole]


def shown(split: Split) -> str:
    """Returns a state in words."""
    parts = [f"{share} % to {name}" for name, share in split.traffic.items()]
    parts += [f"{share} % mirrored to {name}" for name, share in split.mirror.items()]
    return ", ".join(parts) or "none"


def _scaled(shares: Mapping[str, int], total: int) -> dict[str, int]:
    """Returns whole percentages in the same proportions that add up to a total."""
    sum_ = sum(shares.values())
    found = {name: share * total // sum_ for name, share in shares.items()}
    largest = max(shares, key=lambda name: shares[name])
    found[largest] += total - sum(found.values())
    return {name: share for name, share in found.items() if share}
