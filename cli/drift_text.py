"""Drift verdicts as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from cli.output import print_table
from monitoring.drift.page import moved, number, share

if TYPE_CHECKING:
    from monitoring.drift.field_verdict import FieldVerdict
    from monitoring.drift.verdict import Performance, Verdict

__all__ = ["line", "print_history", "print_verdict"]

WORDS: Final = {"drift": "drift", "steady": "no drift", "unknown": "not judged"}


def line(verdict: Verdict) -> str:
    """Returns a verdict on one line."""
    made = verdict.created[:19].replace("T", " ")
    return f"{made} UTC {verdict.endpoint}: {WORDS[verdict.status]}. {verdict.summary}"


def print_verdict(verdict: Verdict) -> None:
    """Prints a verdict."""
    since, until = (moment[:19].replace("T", " ") for moment in (verdict.since, verdict.until))
    only = "" if verdict.variant is None else f", answered by {verdict.variant}"
    typer.echo(
        f"{verdict.endpoint}: {WORDS[verdict.status]}. {verdict.rows:,} rows from {since} to "
        f"{until} UTC ({verdict.time}){only}"
    )
    typer.echo(verdict.summary)
    if (reference := verdict.reference) is not None:
        typer.echo(
            f"Compared with {reference.model} of {reference.variant}: {reference.rows:,} rows, "
            f"{reference.null} null."
        )
    for note in verdict.notes:
        typer.echo(note)
    if verdict.data.fields:
        control = f" {verdict.data.control}." if verdict.data.control else ""
        typer.echo(f"\nData: {verdict.data.why}{control}")
        _print_fields(verdict.data.fields)
    for part in verdict.predictions:
        typer.echo(f"\nPredictions of {part.variant} ({part.model}): {part.why}")
        _print_fields([each for each in part.fields if each.method is not None])
    if verdict.target is not None:
        typer.echo(f"\nTrue answers (decide nothing): {verdict.target.why}")
        _print_fields(verdict.target.fields)
    if verdict.performance:
        typer.echo("\nPerformance, of rows whose truth is known:")
        _print_performance(verdict.performance)
    typer.echo(f"\nReport: {verdict.html}\n")


def print_history(shown: dict[str, Any]) -> None:
    """Prints the other reports of an endpoint, from `monitoring.drift.history.shown`."""
    others = [each for each in shown["history"] if each["number"] != shown["number"]]
    if others:
        typer.echo("Other reports (`--number` shows one):")
    for each in others:
        made = each["created"][:19].replace("T", " ")
        typer.echo(f"  {each['number']}, {made} UTC: {WORDS[each['status']]}")


def _print_fields(fields: Sequence[FieldVerdict]) -> None:
    if fields:
        print_table(
            (
                "column",
                "verdict",
                "by",
                "score",
                "threshold",
                "p",
                "missing",
                "mean or share",
                "why",
            ),
            [_field(each) for each in fields],
        )


def _field(field: FieldVerdict) -> Sequence[str]:
    missing, mean = field.missing, field.mean
    shift = "" if field.mean_shift is None else f" ({field.mean_shift:+.2f} sd)"
    label = moved(field.labels[0]) if field.labels else ""
    return (
        field.field,
        WORDS[field.status],
        field.method or "",
        number(field.score),
        number(field.threshold) + (" (plan)" if field.threshold_from == "plan" else ""),
        number(field.p_value) if field.threshold_from == "null" else "",
        "" if missing is None else f"{missing.share:.1%} (was {missing.reference:.1%})",
        label if mean is None else f"{mean:.4g}{shift}",
        field.why,
    )


def _print_performance(parts: Sequence[Performance]) -> None:
    print_table(
        (
            *("variant", "verdict", "rows", "skill", "lost at", "accuracy", "constant answer"),
            *("AUC", "log loss", "calibration", "mean error", "why"),
        ),
        [
            (
                part.variant,
                WORDS[part.status],
                f"{part.rows:,}",
                number(part.skill),
                number(part.threshold),
                share(part.accuracy),
                share(part.constant_accuracy),
                number(part.auc),
                number(part.log_loss),
                number(part.calibration_error),
                number(part.absolute_error),
                part.why,
            )
            for part in parts
        ],
    )
