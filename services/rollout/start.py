"""Starting a canary, and ending one early: what a person asks for, by command or admin API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from models import lock, registry, store
from models.lifecycle.promote import fitting, running
from models.lifecycle.swap import Progress
from services import revisions
from services.rollout.shares import given_back
from services.topology import bind
from services.traffic.hashing import RESOLUTION
from services.traffic.split import shares_of
from switchyard.errors import Conflict, InvalidInput, NotFound, PlanError, PromotionRefused
from switchyard.plan import Endpoint, Plan
from switchyard.plan_problems import problem
from switchyard.plan_rollout import CANARY
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, Revision, iso, utc_now
from switchyard.state import State

__all__ = ["abort", "start"]


def start(
    endpoint: str,
    model: str,
    *,
    plan: Plan,
    state: State,
    who: str,
    why: str,
    asked: Mapping[str, Any] | None = None,
    progress: Progress = lambda words: None,
) -> Canary:
    """Records a canary; the controller loads it, warms it, and gives it its first share.

    The version must fit beside the endpoint's variants and load in a clean process.

    Args:
        endpoint: Name of the endpoint.
        model: The new version, `name:version` or `name:alias`, of the stable variant's model.
        plan: The plan.
        state: The state database.
        who: Who starts it.
        why: The reason.
        asked: Settings that differ from the plan's: `steps`, `bake`, `guards` and so on.
        progress: Hears of each step.

    Raises:
        NotFound: No such endpoint or version.
        InvalidInput: A setting is wrong, or the version is of another model.
        Conflict: A canary goes on, the version is the one that answers already, or the stable
            variant has too small a share to give something away.
        PromotionRefused: The version does not fit, also beside the one that it replaces, or does
            not load.
    """
    section = plan.endpoint(endpoint)
    settings = _settings(section, asked or {})
    name, alias = _alias(endpoint, section)
    known = lock.aliases(state)
    tag = registry.find(model, known)
    present = lock.lookup(name, alias, known)
    _check_version(endpoint, tag, registry.Tag(name, present))
    fitting(plan, tag, alias, known)
    _check_beside(endpoint, section, tag, known)
    base = revisions.current(endpoint, section, state)
    _check_share(base, section.stable, settings.steps[0])
    progress(f"checking {tag} in a clean process")
    running(tag)
    lock.adopt(state)
    now = iso(utc_now())
    canary = Canary(
        id=secrets.token_hex(8),
        endpoint=endpoint,
        model=name,
        alias=alias,
        version=tag.version,
        replaces=present,
        settings=settings.model_dump(mode="json"),
        who=who,
        reason=why,
        created=now,
        running=endpoint,
        since=now,
        base=base.number,
        verdict="The hosts load it.",
    )
    state.add_canary(canary)
    return canary


def abort(endpoint: str, *, plan: Plan, state: State, who: str, why: str) -> Canary:
    """Ends the canary of an endpoint; what it had goes back to the stable variant at once.

    Raises:
        NotFound: No such endpoint, or no canary goes on there.
        Conflict: It has passed its last step and is being promoted.
    """
    section = plan.endpoint(endpoint)
    says = f"Aborted by {who}{f': {why}' if why else '.'}"
    while True:
        canary = state.canary(endpoint)
        if canary is None:
            raise NotFound(f"No canary goes on at endpoint {endpoint!r}.")
        if canary.status == "promoting":
            raise Conflict(
                f"The canary of endpoint {endpoint!r} has passed its last step and is being "
                f"promoted; once it is, take it back by: switchyard rollback {endpoint}"
            )
        now = iso(utc_now())
        ended = replace(canary, status="aborted", running=None, since=now, verdict=says)
        try:
            return state.move_canary(ended, given_back(canary, section, state, who, says))
        except Conflict:
            continue  # the controller, which looks at it once a second, was quicker


def _settings(section: Endpoint, asked: Mapping[str, Any]) -> Settings:
    """Returns the plan's settings with those asked for in their place."""
    try:
        settings = Settings.model_validate({**section.canary.model_dump(mode="json"), **asked})
    except ValidationError as error:
        raise InvalidInput(f"{problem(error)}.") from error
    for name in settings.guards.metrics:
        if section.metrics is None or name not in section.metrics.all:
            raise InvalidInput(
                f"guards.metrics: {name!r} is no metric of this endpoint; declare it in the plan, "
                "under 'metrics'."
            )
    _check_evidence(settings, section)
    return settings


def _check_evidence(settings: Settings, section: Endpoint) -> None:
    """Refuses what can only end for want of data, however good the version is."""
    guards = settings.guards
    if settings.steps[0] == 100 and (guards.errors or guards.slow):
        raise InvalidInput(
            "steps begins at 100%, which leaves the stable variant nothing to be compared by; "
            "begin below 100, or switch the guards 'errors' and 'slow' off."
        )
    patience = settings.bake + settings.limits.no_data
    if guards.metrics and section.metrics and section.metrics.outcome_window >= patience:
        raise InvalidInput(
            f"guards.metrics: outcomes count {section.metrics.outcome_window:g} seconds after a "
            "request (metrics.outcome_window), and a canary without any is taken back after "
            f"{patience:g}; set a longer 'bake', or a shorter 'outcome_window' in the plan."
        )


def _check_version(endpoint: str, tag: registry.Tag, present: registry.Tag) -> None:
    """Refuses what is no newer version of the stable variant's model."""
    if tag.name != present.name:
        raise InvalidInput(
            f"The stable variant of endpoint {endpoint!r} is the model {present.name!r}, so its "
            f"canary must be a version of that, not of {tag.name!r}. Another model is a variant of "
            "its own: add it to the plan and give it a share."
        )
    if tag == present:
        raise Conflict(f"{tag} is what the stable variant of {endpoint!r} stands for already.")


def _check_beside(
    endpoint: str, section: Endpoint, tag: registry.Tag, known: Mapping[tuple[str, str], str]
) -> None:
    """Refuses a version that cannot answer beside the one that it is to replace."""
    bound = {name: registry.find(one.model, known) for name, one in section.variants.items()}
    try:
        bind(endpoint, section, {**bound, CANARY: tag})
    except PlanError as error:
        raise PromotionRefused(
            f"As a canary, {tag} answers beside the version that it is to replace. {error.message} "
            "To let it take over at once, without a canary: switchyard models promote"
        ) from error


def _check_share(base: Revision, stable: str, percent: float) -> None:
    """Refuses a first step that gives the canary nothing."""
    share = shares_of(base.intervals)[stable]
    if share * percent / 100 < 1 / RESOLUTION:
        raise Conflict(
            f"The stable variant {stable!r} has {share:.2%} of the traffic, of which {percent:g}% "
            "are too few to be given to a canary; begin with a larger step, or change the split."
        )


def _alias(endpoint: str, section: Endpoint) -> tuple[str, str]:
    """Returns the stable variant's model and its alias, which is what moves in the end."""
    ref = section.variants[section.stable].model
    name, word = store.split(ref)
    if store.has(name, word):
        raise Conflict(
            f"The stable variant of endpoint {endpoint!r} is bound to the version {ref}, which "
            f"never moves; bind it to an alias in the plan, like '{name}:production'."
        )
    return name, word
