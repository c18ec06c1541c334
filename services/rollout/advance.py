"""One look at a canary: what the controller does with it every second.

All that it knows stands in the state database, and each change of a canary is recorded together
with the traffic that it brings. So a controller may be killed at any point, and the next one goes
on where it was; and of two, the one that comes second finds the canary changed and does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from models import lock, store
from models.lifecycle.promote import promote
from services.holding import is_held
from services.rollout.shares import at_step, given_back
from services.traffic.canary import Decision, decide
from services.traffic.guards import Seen, judge
from services.traffic.ledger import Ledger
from switchyard.errors import Conflict, NotReady, SwitchyardError
from switchyard.plan import Plan
from switchyard.plan_rollout import CANARY
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, iso, utc_now
from switchyard.state import State

__all__ = ["Look", "advance"]

logger = logging.getLogger("switchyard.controller")

WHO: Final = "canary"
LOAD_SECONDS: Final = 120.0
"""How long the hosts may take to load and warm up the new version."""

Look = Callable[[Canary, Settings], Seen]
"""Gathers what the guards look at."""


def advance(canary: Canary, plan: Plan, state: State, look: Look) -> None:
    """Looks at one canary, and moves it on where its guards say so.

    Args:
        canary: As it stands in the state database.
        plan: The plan.
        state: The state database.
        look: Gathers what the guards look at.

    Raises:
        NotReady: The state database does not answer; the canary stays as it is.
    """
    section = plan.endpoints.get(canary.endpoint)
    try:
        if section is None or section.variants[section.stable].model != canary.ref:
            _end(canary, state, "aborted", "The plan has another stable variant by now.")
        elif _moved(canary, state):
            says = f"{canary.ref} was moved to another version meanwhile."
            _end(canary, state, "aborted", says)
        elif canary.status == "loading":
            _load(canary, section.stable, state)
        elif canary.status == "promoting":
            _promote(canary, plan, state)
        else:
            _judge(canary, section.stable, state, look)
    except Conflict as error:
        logger.info("%s It is looked at again.", error.message)


def _moved(canary: Canary, state: State) -> bool:
    """Whether somebody else moved the alias, so that the stable variant is another one by now."""
    known = lock.aliases(state)
    return known.get((canary.model, canary.alias)) not in (canary.replaces, canary.version)


def _load(canary: Canary, stable: str, state: State) -> None:
    """Gives the canary its first share once every worker of its host has it loaded and warm."""
    seen = state.observe()
    framework = store.manifest(canary.model, canary.version).framework
    hosts = [w for w in seen.workers if w.service == framework and canary.ref in w.refs]
    broken = next((host for host in hosts if canary.tag in host.failed), None)
    if broken is not None:
        says = f"{broken.title} cannot load {canary.tag}: {broken.failed[canary.tag]}"
        _end(canary, state, "failed", says)
    elif hosts and is_held(canary.ref, canary.tag, framework, seen.workers):
        _step(canary, 0, stable, state, "Every host has it loaded and warm.")
    elif _seconds_since(canary.since) > LOAD_SECONDS:
        where = ", ".join(host.title for host in hosts if canary.tag not in host.holds)
        says = f"{where or 'No host'} has loaded {canary.tag} within {LOAD_SECONDS:g} seconds."
        _end(canary, state, "failed", says)


def _judge(canary: Canary, stable: str, state: State, look: Look) -> None:
    """Looks at the guards, and does what follows."""
    latest = state.latest_revision(canary.endpoint)
    if latest is None or CANARY not in latest.shares:
        _end(canary, state, "aborted", "The traffic was changed otherwise meanwhile.")
        return
    settings = Settings.model_validate(canary.settings)
    elapsed = _seconds_since(canary.since)
    ledger, findings = judge(
        Ledger.from_json(canary.evidence.get("ledger", {})),
        settings,
        look(canary, settings),
        baked=elapsed >= settings.bake,
    )
    decision = decide(ledger, settings, findings, canary.step, elapsed)
    found = [{"guard": f.guard, "outcome": f.outcome, "says": f.says} for f in findings]
    looked = replace(
        canary,
        evidence={"ledger": ledger.as_json(), "findings": found},
        verdict=decision.says,
    )
    _act(looked, ledger, decision, stable, state)


def _act(canary: Canary, ledger: Ledger, decision: Decision, stable: str, state: State) -> None:
    match decision.action:
        case "fail":
            _end(canary, state, "failed", decision.says)
        case "step":
            evidence = {**canary.evidence, "ledger": ledger.next_step().as_json()}
            stepped = replace(canary, evidence=evidence)
            _step(stepped, canary.step + 1, stable, state, decision.says)
        case "promote":
            state.move_canary(replace(canary, status="promoting", since=iso(utc_now())))
        case "stay":
            state.move_canary(canary)


def _step(canary: Canary, step: int, stable: str, state: State, says: str) -> None:
    moved = replace(canary, status="running", step=step, since=iso(utc_now()), verdict=says)
    state.move_canary(moved, at_step(canary, step, stable, state))
    logger.info("canary %s of %s: step %d", canary.tag, canary.endpoint, step + 1)


def _promote(canary: Canary, plan: Plan, state: State) -> None:
    """Moves the stable variant's alias, then takes the temporary variant away.

    Both may be repeated: an alias that has moved already stays where it is.
    """
    why = f"canary passed{f': {canary.reason}' if canary.reason else ''}"
    try:
        promote(
            canary.model,
            canary.version,
            plan=plan,
            state=state,
            who=canary.who,
            why=why,
            alias=canary.alias,
        )
    except NotReady:
        raise
    except SwitchyardError as error:
        _end(canary, state, "failed", f"It may not be promoted: {error.message}")
    else:
        _end(canary, state, "promoted", f"{canary.tag} is {canary.alias!r} now.")


def _end(canary: Canary, state: State, status: str, says: str) -> None:
    """Records the end; the traffic from before is in force again."""
    ended = replace(canary, status=status, running=None, verdict=says)
    reason = f"canary {canary.tag} {status}: {says}"
    state.move_canary(ended, given_back(canary, state, WHO, reason))
    logger.info("endpoint %s: %s", canary.endpoint, reason)


def _seconds_since(moment: str) -> float:
    return (utc_now() - datetime.fromisoformat(moment)).total_seconds()
