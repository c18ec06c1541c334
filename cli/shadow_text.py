"""How `switchyard traffic` says how shadows compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import typer

from cli.output import print_table

if TYPE_CHECKING:
    from monitoring.shadow.agreement import Agreement
    from monitoring.shadow.comparison import Figures
    from monitoring.shadow.disagreements import Disagreement
    from monitoring.shadow.shadows import Report, Shadow

__all__ = ["LAST_HOUR", "last_hour", "print_report", "share"]

LAST_HOUR: Final = "agrees (last hour)"
MOST_FIELDS: Final = 13
COMPARED: Final = ("agreement", "errors", "difference", "KS distance")


def last_hour(endpoint: str) -> dict[str, Agreement]:
    """Returns how often the shadows of an endpoint agreed in the last hour, by variant.

    A variant stands for the version that was mirrored to last.
    """
    from datetime import timedelta

    from monitoring.shadow.agreement import agreements
    from switchyard import settings
    from switchyard.records import utc_now

    found = agreements(settings.home() / "log", endpoint, utc_now() - timedelta(hours=1))
    return {each.variant: each for each in found}


def share(value: float | None) -> str:
    """Returns a share as people read it, so that only all of the rows are 100%."""
    if value is None:
        return ""
    return f"{value:.2%}" if round(value, 4) < 1 or value == 1 else f"{value:.6%}"


def print_report(report: Report) -> None:
    """Prints how the shadows of an endpoint compare, and what to do where nothing was mirrored."""
    since, until = (moment[:19].replace("T", " ") for moment in (report.since, report.until))
    span = f"from {since} to {until} UTC ({report.time})"
    if not report.shadows:
        typer.echo(
            f"Nothing of {report.endpoint!r} was mirrored {span}. "
            f"`switchyard traffic shadow {report.endpoint} VARIANT=100%` mirrors its requests."
        )
        return
    typer.echo(f"{report.endpoint}, {span}; {report.rows_read} rows of the log were read.")
    if not report.complete:
        typer.echo("These are the newest ones; take a shorter window to have all of them.")
    for shadow in report.shadows:
        _print_shadow(shadow)


def _print_shadow(shadow: Shadow) -> None:
    figures = shadow.figures
    answered = ", ".join(f"{name} {rows}" for name, rows in sorted(shadow.primaries.items()))
    typer.echo(f"\n{shadow.variant} ({shadow.model}), beside {answered or 'no answer'}")
    latency = figures.latency
    print_table(
        ("rows", "unpaired", *COMPARED, "latency p50", "latency p99"),
        [
            (
                str(figures.rows),
                str(figures.unpaired),
                *_compared(figures),
                f"{latency.shadow_p50:.3g} ms ({latency.delta_p50:+.3g})" if latency else "",
                f"{latency.shadow_p99:.3g} ms ({latency.delta_p99:+.3g})" if latency else "",
            )
        ],
    )
    if (apart := figures.differences) is not None:
        typer.echo(
            f"{shadow.score.capitalize()}: differences without sign have mean "
            f"{apart.mean_absolute:.3g}, median {apart.p50:.3g}, 99th percentile {apart.p99:.3g}, "
            f"largest {apart.largest:.3g}."
        )
    print_table(
        ("from (UTC)", "rows", *COMPARED),
        [
            (
                window.since[:19].replace("T", " "),
                str(window.figures.rows),
                *_compared(window.figures),
            )
            for window in shadow.windows
            if window.figures.rows
        ],
    )
    if shadow.worst:
        _print_worst(shadow.worst)


def _print_worst(worst: Iterable[Disagreement]) -> None:
    print_table(
        ("request", "row", "answered", "shadow", "difference", "asked"),
        [
            (
                one.request_id,
                str(one.row),
                _answer(one.primary, one.prediction, one.score),
                _answer("", one.shadow_prediction, one.shadow_score),
                "" if one.difference is None else f"{one.difference:+.3g}",
                _fields(one.fields),
            )
            for one in worst
        ],
    )


def _answer(variant: str, prediction: str | None, score: float | None) -> str:
    scored = "" if score is None else f"({score:.3g})"
    return " ".join(part for part in (variant, prediction or "nothing", scored) if part)


def _fields(fields: dict[str, Any]) -> str:
    shown = [
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in fields.items()
    ]
    more = ["..."] if len(shown) > MOST_FIELDS else []
    return ", ".join(shown[:MOST_FIELDS] + more)


def _compared(figures: Figures) -> tuple[str, ...]:
    apart, distance = figures.differences, figures.ks_distance
    return (
        share(figures.agreement),
        share(figures.error_share),
        "" if apart is None else f"{apart.mean:+.3g}",
        "" if distance is None else f"{distance:.3g}",
    )
