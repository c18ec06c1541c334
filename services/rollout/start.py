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
from switchyard.errors import Conflict, InvalidInput, NotFound
from switchyard.plan import Endpoint, Plan
from switchyard.plan_problems import problem
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, iso, utc_now
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
        Conflict: A canary goes on, or the version is the one that answers already.
        PromotionRefused: The version does not fit or does not load.
    """
    section = plan.endpoint(endpoint)
    settings = _settings(section, asked or {})
    name, alias = _alias(endpoint, section)
    known = lock.aliases(state)
    tag = registry.find(model, known)
    if tag.name != name:
        raise InvalidInput(
            f"The stable variant of endpoint {endpoint!r} is the model {name!r}, so its canary "
            f"must be a version of that, not of {tag.name!r}. Another model is a variant of its "
            "own: add it to the plan and give it a share."
        )
    present = lock.lookup(name, alias, known)
    if present == tag.version:
        raise Conflict(f"{tag} is what {name}:{alias} stands for already.")
    fitting(plan, tag, alias, known)
    progress(f"checking {tag} in a clean process")
    running(tag)
    lock.adopt(state)
    base = revisions.current(endpoint, section, state)
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
        Conflict: Somebody else changed it meanwhile.
    """
    plan.endpoint(endpoint)
    canary = state.canary(endpoint)
    if canary is None:
        raise NotFound(f"No canary goes on at endpoint {endpoint!r}.")
    if canary.status == "promoting":
        raise Conflict(
            f"The canary of endpoint {endpoint!r} has passed its last step and is being promoted; "
            f"once it is, take it back by: switchyard rollback {endpoint}"
        )
    says = f"Aborted by {who}{f': {why}' if why else '.'}"
    ended = replace(canary, status="aborted", running=None, verdict=says)
    return state.move_canary(ended, given_back(canary, state, who, says))


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
    return settings


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
