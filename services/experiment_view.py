"""What an endpoint's experiments say, for the admin API, the commands and the gauge."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from services.trials import Setup, statistics_of
from switchyard.errors import NotFound
from switchyard.plan import Plan
from switchyard.records import Experiment
from switchyard.state import State

__all__ = ["p_values", "shown"]


def shown(endpoint: str, plan: Plan, state: State, number: int | None = None) -> dict[str, Any]:
    """Returns an experiment with all that it says, and the history of the endpoint's experiments.

    Args:
        endpoint: Name of the endpoint.
        plan: The plan.
        state: The state database.
        number: Which experiment; left out, the last one.

    Raises:
        NotFound: There is no such endpoint or experiment; the sentence says how to come to one.
        NotReady: The state database does not answer.
    """
    settings = plan.endpoint(endpoint)
    found = state.experiments(endpoint)
    if not found and settings.metrics is None:
        raise NotFound(
            f"Endpoint {endpoint!r} has no metrics to compare its variants by; name one in the "
            f"plan, as in endpoints.{endpoint}: 'metrics: {{primary: accuracy}}'."
        )
    if not found:
        raise NotFound(
            f"Endpoint {endpoint!r} has no experiment yet; one begins when it is served and two "
            "variants have a share of its traffic."
        )
    by_number = {each.number: each for each in found}
    wanted = by_number.get(found[-1].number if number is None else number)
    if wanted is None:
        raise NotFound(
            f"Endpoint {endpoint!r} has no experiment {number}; it has {found[0].number} to "
            f"{found[-1].number}."
        )
    return {**_whole(wanted), "history": [_summary(each) for each in found]}


def p_values(plan: Plan, state: State) -> dict[tuple[str, str, str], float]:
    """Returns the always-valid p-value of each endpoint, metric and variant.

    It is the one that gives the verdict: of the adjusted difference where a metric has a covariate,
    and of harm alone where it is a guardrail. Those of experiments that have ended are left out.
    """
    values: dict[tuple[str, str, str], float] = {}
    for endpoint in plan.endpoints:
        last = state.experiment(endpoint)
        if last is None or last.ended is not None:
            continue
        for metric in statistics_of(last).report().metrics:
            for against in metric.comparisons:
                effect = against.adjusted or against.effect
                p = effect.harm_p if metric.role == "guardrail" else effect.p
                values[endpoint, metric.name, against.arm] = p
    return values


def _whole(experiment: Experiment) -> dict[str, Any]:
    return {
        **_about(experiment),
        "settings": Setup.of(experiment).metrics.model_dump(),
        "waiting": experiment.position.get("waiting", 0),
        "feedback": experiment.feedback,
        **asdict(statistics_of(experiment).report()),
    }


def _summary(experiment: Experiment) -> dict[str, Any]:
    said = statistics_of(experiment).report()
    return {**_about(experiment), "verdict": said.verdict, "summary": said.summary}


def _about(experiment: Experiment) -> dict[str, Any]:
    started, until = map(datetime.fromisoformat, (experiment.started, experiment.cursor))
    return {
        "endpoint": experiment.endpoint,
        "number": experiment.number,
        "versions": experiment.definition["versions"],
        "started": experiment.started,
        "until": experiment.cursor,
        "days": (until - started) / timedelta(days=1),
        "ended": experiment.ended,
    }
