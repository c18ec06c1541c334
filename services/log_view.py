"""What is logged now: the plan's settings, and over them what was changed since."""

from __future__ import annotations

from typing import Any

from switchyard.plan_monitoring import Logging
from switchyard.records import LogChange

__all__ = ["as_dict", "in_force"]


def in_force(planned: Logging, change: LogChange | None) -> Logging:
    """Returns what is logged.

    Args:
        planned: What the plan says.
        change: What an admin has changed since, if anything.
    """
    return planned if change is None else planned.model_copy(update=change.settings)


def as_dict(planned: Logging, change: LogChange | None) -> dict[str, Any]:
    """Returns what is logged now, what the plan says, and who changed what since, if anybody."""
    changed = None
    if change is not None:
        changed = {**change.settings, "who": change.who, "created": change.created}
    return {
        **in_force(planned, change).model_dump(),
        "plan": planned.model_dump(),
        "changed": changed,
    }
