"""A canary as people and programs see it."""

from __future__ import annotations

from typing import Any

from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary

__all__ = ["view"]


def view(canary: Canary) -> dict[str, Any]:
    """Returns what is to be said of a canary, in JSON's types.

    Returns:
        `endpoint`, `model` (`name:version`), `replaces`, `status`, `step` (from 1), `steps` and
        `share` in percent of the stable variant's, `since`, `verdict`, `findings` (`guard`,
        `outcome`, `says`), `settings`, `who`, `reason`, `created`.
    """
    settings = Settings.model_validate(canary.settings)
    has_share = canary.status in ("running", "promoting")
    return {
        "id": canary.id,
        "endpoint": canary.endpoint,
        "model": canary.tag,
        "replaces": f"{canary.model}:{canary.replaces}",
        "status": canary.status,
        "step": canary.step + 1,
        "steps": settings.steps,
        "share": settings.steps[canary.step] if has_share else 0.0,
        "since": canary.since,
        "verdict": canary.verdict,
        "findings": canary.evidence.get("findings", []),
        "settings": canary.settings,
        "who": canary.who,
        "reason": canary.reason,
        "created": canary.created,
    }
