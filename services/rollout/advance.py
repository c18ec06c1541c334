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
from services.traffic.findings import Seen
from services.traffic.guards import judge
from services.traffic.ledger import Ledger
from switchyard.errors import Conflict, NotReady, SwitchyardError
from switchyard.plan import Endpoint, Plan
from switchyard.plan_rollout import CANARY
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, iso, utc_now
from switchyard.state import State

__all__ = ["Look", "advance"]

logger = logging.getLogger("switchyard.controller")

WHO: Final = "canary"
LOAD_LOOKS: Final = 120
"""How often, once a second, the hosts may be found to have not loaded the new version yet.

Looks are counted instead of seconds, so that the time without a server is not held against it.
"""

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
        NotFound: The plan has no such endpoint.
        NotReady: The state database does not answer; the canary stays as it is.
    """
    section = plan.endpoint(canary.endpoint)
    try:
        if section.variants[section.stable].model != canary.ref:
            _end(canary, section, state, "aborted", "The plan has another stable variant by now.")
        elif _moved(canary, state):
            says = f"{canary.ref} was moved to another version meanwhile."
            _end(canary, section, state, "aborted", says)
        elif not store.has(canary.model, canary.version):
            _end(canary, section, state, "failed", f"{canary.tag} was deleted meanwhile.")
        elif canary.status == "loading":
            _load(canary, section, state)
        elif canary.status == "promoting":
            _promote(canary, plan, state)
        else:
            _judge(canary, section, state, look)
    except Conflict as error:
        logger.info("%s It is looked at again.", error.message)


def _moved(canary: Canary, state: State) -> bool:
    """Whether somebody else moved the alias, so that the stable variant is another one by now."""
    now = lock.aliases(state).get((canary.model, canary.alias))
    return now != canary.replaces and (canary.status, now) != ("promoting", canary.version)


def _load(canary: Canary, section: Endpoint, state: State) -> None:
    """Gives the canary its first share once every worker of its host has it loaded and warm."""
    seen = state.observe()
    framework = store.manifest(canary.model, canary.version).framework
    hosts = [w for w in seen.workers if w.service == framework and canary.ref in w.refs]
    broken = next((host for host in hosts if canary.tag in host.failed), None)
    if broken is not None:
        says = f"{broken.title} cannot load {canary.tag}: {broken.failed[canary.tag]}"
        _end(canary, section, state, "failed", says)
        return
    looks = canary.evidence.get("looks", 0)
    if hosts and is_held(canary.ref, canary.tag, framework, seen.workers):
        # The traffic was not the canary's before, so somebody may have changed it.
        base = seen.revisions[canary.endpoint].number
        first = replace(canary, base=base, evidence={})
        _step(first, 0, section.stable, state, "Every host has it loaded and warm.")
    elif looks < LOAD_LOOKS:
        state.move_canary(replace(canary, evidence={"looks": looks + 1}))
    else:
        late = ", ".join(host.title for host in hosts if canary.tag not in host.holds)
        who = f"{late} did not load" if late else "No host has loaded"
        says = f"{who} {canary.tag} within {LOAD_LOOKS} seconds; the server's log says why."
        _end(canary, section, state, "failed", says)


def _judge(canary: Canary, section: Endpoint, state: State, look: Look) -> None:
    """Looks at the guards, and does what follows."""
    latest = state.latest_revision(canary.endpoint)
    if latest is None or CANARY not in latest.shares:
        _end(canary, section, state, "aborted", "The traffic was changed otherwise meanwhile.")
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
    _act(looked, ledger, decision, section, state)


def _act(
    canary: Canary, ledger: Ledger, decision: Decision, section: Endpoint, state: State
) -> None:
    match decision.action:
        case "fail":
            _end(canary, section, state, "failed", decision.says)
        case "step":
            evidence = {**canary.evidence, "ledger": ledger.next_step().as_json()}
            stepped = replace(canary, evidence=evidence)
            _step(stepped, canary.step + 1, section.stable, state, decision.says)
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

    Raises:
        Conflict: The alias was moved meanwhile: by another controller, or the next look tells.
    """
    section = plan.endpoint(canary.endpoint)
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
    except (Conflict, NotReady):
        raise
    except SwitchyardError as error:
        _end(canary, section, state, "failed", f"It may not be promoted: {error.message}")
    else:
        _end(canary, section, state, "promoted", f"{canary.tag} is {canary.alias!r} now.")


def _end(canary: Canary, section: Endpoint, state: State, status: str, says: str) -> None:
    """Records the end; the traffic from before is in force again."""
    now = iso(utc_now())
    ended = replace(canary, status=status, running=None, since=now, verdict=says)
    reason = f"canary {canary.tag} {status}: {says}"
    state.move_canary(ended, given_back(canary, section, state, WHO, reason))
    logger.info("endpoint %s: %s", canary.endpoint, reason)


def _seconds_since(moment: str) -> float:
    return (utc_now() - datetime.fromisoformat(moment)).total_seconds()
