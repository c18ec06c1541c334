"""What the state database holds of an endpoint's drift reports, for the admin API and commands."""

from __future__ import annotations

from typing import Any, Final

from monitoring.drift.field_verdict import Status
from monitoring.drift.verdict import KINDS, Verdict
from switchyard.errors import NotFound
from switchyard.plan import Plan
from switchyard.records import DriftReport
from switchyard.state import State

__all__ = ["HISTORY", "parts", "shown"]

HISTORY: Final = 20
"""Reports that the history names unless more are asked for."""


def shown(
    endpoint: str, plan: Plan, state: State, number: int | None = None, limit: int = HISTORY
) -> dict[str, Any]:
    """Returns a report of an endpoint, and in a few words the last ones.

    Args:
        endpoint: Name of the endpoint.
        plan: The plan.
        state: The state database.
        number: Which report; left out, the last one.
        limit: How many reports the history names.

    Returns:
        `endpoint`, `number`, `verdict`, `why` and `history`, newest first. Without any report yet,
        `number` and `verdict` are None, and `why` says how to come to one.

    Raises:
        NotFound: There is no such endpoint or report.
        NotReady: The state database does not answer.
    """
    settings = plan.endpoint(endpoint)
    found = state.drift_report(endpoint, number)
    if found is None and number is not None:
        raise NotFound(
            f"Endpoint {endpoint!r} has no drift report {number}; the last {HISTORY} or more are "
            "kept, and `switchyard drift show` names them."
        )
    history = [_brief(each) for each in state.drift_reports(endpoint, limit)]
    if found is None:
        why = (
            f"Endpoint {endpoint!r} has no drift report yet. A running server makes one every "
            f"{settings.drift.every:,.0f} s, and `switchyard drift run --endpoint {endpoint}` "
            "makes one now."
        )
        return {"endpoint": endpoint, "number": None, "verdict": None, "why": why, "history": []}
    return {
        "endpoint": endpoint,
        "number": found.number,
        "verdict": found.verdict,
        "why": found.verdict["summary"],
        "history": history,
    }


def parts(report: DriftReport) -> dict[str, Status]:
    """Returns the verdict of each kind of part of a report, of `KINDS`."""
    verdict = Verdict.model_validate(report.verdict)
    return {kind: verdict.kind(kind) for kind in KINDS}


def _brief(report: DriftReport) -> dict[str, Any]:
    said = report.verdict
    return {
        "number": report.number,
        "created": report.created,
        "since": said["since"],
        "until": report.until,
        "variant": report.variant,
        "status": report.status,
        "summary": said["summary"],
    }
