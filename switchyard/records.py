"""What the state database holds, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

__all__ = [
    "ROUTER",
    "SCOPES",
    "AliasChange",
    "ApiKey",
    "Canary",
    "Candidate",
    "DriftCount",
    "DriftReport",
    "Experiment",
    "LogChange",
    "Observed",
    "Release",
    "Revision",
    "Tally",
    "Worker",
    "iso",
    "utc_now",
]

ROUTER: Final = "router"
"""`Worker.service` of a router; that of a host is its framework."""

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
    """One move of an alias, or one that was refused.

    Attributes:
        model: Name of the model.
        alias: Name of the alias.
        from_version: Version before, None if the alias is new.
        to_version: Version after; of a refused move the one that it was not moved to.
        who: Who moved it.
        why: The reason given; of a refused move why it was refused.
        created: When, UTC in ISO 8601.
        action: `set`, `promote`, `rollback` or `refused`.
        overruled: What spoke against the move and was overruled by force; None without force.
    """

    model: str
    alias: str
    from_version: str | None
    to_version: str
    who: str
    why: str
    created: str
    action: str = "set"
    overruled: str | None = None


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
        restores: Number of the earlier revision whose traffic this one brings back, if it does.
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
    restores: int | None = None


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that an alias may be moved to, once every worker has it loaded and warm.

    Attributes:
        id: Names it.
        model: Name of the model.
        alias: Name of the alias.
        version: The version.
        who: Who proposes it.
        expires: When workers forget it unless it is renewed, UTC in ISO 8601.
    """

    id: str
    model: str
    alias: str
    version: str
    who: str
    expires: str


@dataclass(frozen=True, slots=True)
class Canary:
    """A new version of an endpoint's stable variant, on its way step by step.

    Attributes:
        id: Names it.
        endpoint: Name of the endpoint.
        model: Name of the stable variant's model.
        alias: Alias of it that the stable variant is bound to, and that moves in the end.
        version: The new version.
        replaces: The version that the alias stood for when it was started.
        settings: Steps, guards and limits, as `switchyard.plan_rollout.Canary` dumps them.
        who: Who started it.
        reason: The reason given.
        created: When, UTC in ISO 8601.
        status: `loading`, `running`, `promoting`, or how it ended: `promoted`, `failed`, `aborted`.
        running: The endpoint while it goes on, then None.
        step: Index of the step that is in force.
        since: When it came into force, or the canary to its end, UTC in ISO 8601.
        base: Number of the revision that was in force before.
        evidence: What its guards have found, as `services.traffic.ledger` writes it.
        verdict: In a sentence, why it is where it is.
        turn: Counts its changes: who changes it must have seen the last one.
    """

    id: str
    endpoint: str
    model: str
    alias: str
    version: str
    replaces: str
    settings: dict[str, Any]
    who: str
    reason: str
    created: str
    status: str = "loading"
    running: str | None = None
    step: int = 0
    since: str = ""
    base: int = 0
    evidence: dict[str, Any] = field(default_factory=dict)
    verdict: str = ""
    turn: int = 0

    @property
    def tag(self) -> str:
        """`model:version`, as answers and logs name it."""
        return f"{self.model}:{self.version}"

    @property
    def ref(self) -> str:
        """`model:alias`, as the plan names the stable variant's model."""
        return f"{self.model}:{self.alias}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is known of one experiment of an endpoint; the last one goes on.

    Attributes:
        endpoint: Name of the endpoint.
        number: Counts up by endpoint.
        digest: Of the definition: another one is another experiment.
        definition: Arms with their model versions, first revision and metrics of the plan.
        began: When what it compares came into force, UTC in ISO 8601.
        started: Rows of the log that arrived earlier are out, UTC in ISO 8601.
        cursor: Rows that arrived up to here have been taken, UTC in ISO 8601.
        position: The event clock, and the files of the units that are known.
        statistics: Sufficient statistics, as `services.traffic.experiment` writes them.
        feedback: What became of the feedback lately, counts by kind.
        updated: When it was last advanced, UTC in ISO 8601.
        ended: When another one took its place, UTC in ISO 8601; None while it goes on.
        turn: Counts its changes: who changes it must have seen the last one.
    """

    endpoint: str
    number: int
    digest: str
    definition: dict[str, Any]
    began: str
    started: str
    cursor: str
    position: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    feedback: dict[str, int] = field(default_factory=dict)
    updated: str = ""
    ended: str | None = None
    turn: int = 0


@dataclass(frozen=True, slots=True)
class DriftCount:
    """What one router worker has counted in one slice of time, so far (see `monitoring.live`).

    Attributes:
        worker: Id of the worker.
        endpoint: Name of the endpoint.
        slice: Start of the slice, Unix time in whole seconds.
        variant: Whose predictions were counted; empty where the fields of requests were.
        model: `name:version` whose bins they were counted in.
        rows: Rows counted.
        counts: Rows by bin, by the name of what was counted; of a busy endpoint a sample is
            counted, and these are all the rows that it stands for.
        updated: When it was last added to, by the worker's clock, UTC in ISO 8601.
    """

    worker: str
    endpoint: str
    slice: int
    variant: str
    model: str
    rows: int
    counts: dict[str, list[int]]
    updated: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What a drift report has said.

    Attributes:
        endpoint: Name of the endpoint.
        number: Counts up by endpoint.
        created: When, UTC in ISO 8601.
        status: `drift`, `steady` or `unknown`.
        until: End of its window, UTC in ISO 8601.
        variant: The only variant that it is about; None for all.
        verdict: All of it, as `monitoring.drift.verdict.Verdict` writes it in JSON.
        planned: Whether it is one that the plan asks for.
    """

    endpoint: str
    number: int
    created: str
    status: str
    until: str
    variant: str | None
    verdict: dict[str, Any]
    planned: bool


@dataclass(frozen=True, slots=True)
class LogChange:
    """Settings of the log that are in force over the plan's.

    Attributes:
        settings: Those that were changed, by their names in `switchyard.plan_monitoring.Logging`.
        who: Who changed them last.
        created: When, UTC in ISO 8601.
    """

    settings: dict[str, Any]
    who: str
    created: str


@dataclass(frozen=True, slots=True)
class Release:
    """One attempt to deploy a Bento to a place.

    Attributes:
        target: Kind of the place, such as `kubernetes`.
        place: Which one of that kind, as the target names it.
        number: Counts the releases of the place from 1.
        created: When it was begun, UTC in ISO 8601.
        who: Who deployed it.
        bento: Tag of the Bento.
        values: Settings that it was rendered with.
        documents: What was sent, by name, in the order in which it is sent.
        probe: What it is asked to show that it works.
        status: `applying`, `good`, `failed`, or `deleted`.
        why: What went wrong, or what it was made for; empty where there is nothing to say.
        facts: What the platform gave and the target needs again, such as an address.
    """

    target: str
    place: str
    number: int
    created: str
    who: str
    bento: str
    values: dict[str, Any]
    documents: list[dict[str, Any]]
    probe: dict[str, Any]
    status: str
    why: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Worker:
    """What one process of a serve says of itself.

    Attributes:
        id: Unique among all processes that ever were.
        service: `router`, or the framework of a host.
        place: Machine and process, for people.
        refs: The plan's model references that it serves, as `name:alias` or `name:version`.
        holds: Tags that a host has loaded and warm, or that a router sends requests to.
        failed: Tags that it could not load, with the reason.
        revisions: Of a router, by endpoint, the oldest revision that it still answers by.
        seen: When it last said so, by its own clock, UTC in ISO 8601.
    """

    id: str
    service: str
    place: str
    refs: tuple[str, ...]
    holds: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    seen: str = ""

    @property
    def title(self) -> str:
        """Its service and its place, for people."""
        return f"{self.service} {self.place}"


@dataclass(frozen=True, slots=True)
class Tally:
    """How often one router worker tried a variant under one revision, and how that ended, so far.

    Attributes:
        worker: Id of the worker.
        endpoint: Name of the endpoint.
        revision: Number of the revision.
        variant: Name of the variant.
        attempts: Requests that the split gave it, without those that failed by the caller's fault.
        failures: Those that it did not answer, before any fallback.
        refused: Those of the failures that its open circuit breaker refused.
        latency: Answers by bucket of `monitoring.attempts.BOUNDS`, from arrival to answer.
        updated: When it was written, UTC in ISO 8601; the database says so.
    """

    worker: str
    endpoint: str
    revision: int
    variant: str
    attempts: int
    failures: int
    refused: int
    latency: tuple[int, ...]
    updated: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """All that the processes of a serve follow, read at one moment.

    Attributes:
        aliases: Version of each (model, alias).
        candidates: Versions on their way to an alias.
        workers: Processes that have said something lately.
        revisions: The latest revision of each endpoint.
        canaries: The canaries that go on, by endpoint.
    """

    aliases: dict[tuple[str, str], str]
    candidates: tuple[Candidate, ...]
    workers: tuple[Worker, ...]
    revisions: dict[str, Revision]
    canaries: dict[str, Canary] = field(default_factory=dict)
