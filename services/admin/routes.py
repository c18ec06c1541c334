"""All routes of the admin API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from services.admin.api import Route
from services.admin.canary import CanaryRoutes
from services.admin.drift import DriftRoutes
from services.admin.endpoints import EndpointRoutes
from services.admin.experiment import ExperimentRoutes
from services.admin.logging import LoggingRoutes
from services.admin.models import ModelRoutes
from services.admin.shadow import ShadowRoutes
from services.topology import EndpointSpec
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["all_routes"]


def all_routes(
    plan: Plan, state: State, folder: Path, serving: Callable[[], Mapping[str, EndpointSpec]]
) -> tuple[Route, ...]:
    """Returns every route.

    Args:
        plan: The plan.
        state: The state database.
        folder: Folder of the logs.
        serving: Returns the endpoints as this router serves them now, by name.
    """
    return (
        *ModelRoutes(plan, state).routes,
        *EndpointRoutes(plan, state, serving).routes,
        *CanaryRoutes(plan, state).routes,
        *ExperimentRoutes(plan, state).routes,
        *ShadowRoutes(plan, folder).routes,
        *DriftRoutes(plan, state).routes,
        *LoggingRoutes(plan, state).routes,
    )
