"""What the state database holds, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

__all__ = ["SCOPES", "AliasChange", "ApiKey", "Revision", "iso", "utc_now"]

SCOPES: Final = ("predict", "feedback", "admin")
"""What an API key may allow."""


def utc_now() -> datetime:
    """Returns the time, with its zone."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Returns a time as the database holds it: UTC, always with microseconds, sortable as text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One move of an alias.

    Attributes:
        model: Name of the model.
        alias: Name of the alias.
        from_version: Version before, None if the alias is new.
        to_version: Version after.
        who: Who moved it.
        why: The reason given.
        created: When, UTC in ISO 8601.
    """

    model: str
    alias: str
    from_version: str | None
    to_version: str
    who: str
    why: str
    created: str


@dataclass(frozen=True, slots=True)
class Revision:
    """One recorded state of an endpoint's traffic.

    Attributes:
        endpoint: Name of the endpoint.
        number: Counts up by endpoint.
        created: When, UTC in ISO 8601.
        who: Who made it.
        reason: The reason given.
        shares: Share of each variant, sums to 1.
        intervals: For each variant the parts [low, high) of [0, 1) that are its own.
        shadow: Share of the requests that is mirrored, by variant.
        coverage: Share of the keys that take part in the split at all.
    """

    endpoint: str
    number: int
    created: str
    who: str
    reason: str
    shares: dict[str, float]
    intervals: dict[str, list[list[float]]]
    shadow: dict[str, float]
    coverage: float = 1.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of an API key; its secret is not.

    Attributes:
        id: Names it in `switchyard keys revoke`.
        name: What it is for.
        scopes: What it allows, of `SCOPES`.
        created: When, UTC in ISO 8601.
        revoked: When it was revoked, or None.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created: str
    revoked: str | None
