"""What commands that change something share: whether they may, and who runs them."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from switchyard.plan import Plan

__all__ = ["changeable_plan", "who"]


def changeable_plan() -> Plan:
    """Returns the plan.

    Raises:
        PlanError: It cannot be read.
        Conflict: It is static, so nothing is changed while it is served.
    """
    from switchyard import plan

    loaded = plan.load()
    loaded.check_changeable()
    return loaded


def who() -> str:
    """Returns who runs the command, for histories."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
