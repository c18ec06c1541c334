"""An experiment as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import typer

from cli.output import print_table

__all__ = ["print_experiment"]

Found = dict[str, Any]


def print_experiment(found: Found) -> None:
    """Prints what `services.experiment_view.shown` returns."""
    typer.echo(_title(found))
    typer.echo(f"\n{found['verdict'].capitalize()}. {found['summary']}")
    print_table(
        ("metric", "variant", "n", "mean", "interval", "lift", "lift %", "p", "verdict"),
        [row for metric in found["metrics"] for row in _rows(metric)],
    )
    for line in (*_bounded(found), *_classic(found)):
        typer.echo(line)
    typer.echo(_ratio(found))
    typer.echo(_waiting(found))
    if rest := [each for each in found["history"] if each["number"] != found["number"]]:
        typer.echo("\nOther experiments (`--number` shows one):")
        for each in rest:
            typer.echo(f"  {each['number']}, {_span(each)}: {each['summary']}")


def _title(found: Found) -> str:
    arms = ", ".join(f"{arm} ({found['versions'][arm]})" for arm in found["arms"])
    return (
        f"Experiment {found['number']} of {found['endpoint']}, {_span(found)}: {arms}; "
        f"control is {found['control']}"
    )


def _span(found: Found) -> str:
    end = "going on" if found["ended"] is None else "ended"
    return f"{found['days']:.2f} days, {end}"


def _rows(metric: Found) -> Iterator[Sequence[str]]:
    name = f"{metric['name']} ({metric['role']})"
    against = {each["arm"]: each for each in metric["comparisons"]}
    for arm in metric["arms"]:
        first = (name, arm["arm"], f"{arm['n']:,}", _number(arm["mean"]), _range(arm["interval"]))
        compared = against.get(arm["arm"])
        yield (*first, *(_lift(compared, metric["role"]) if compared else ("", "", "", "control")))
        name = ""


def _lift(compared: Found, role: str) -> tuple[str, str, str, str]:
    effect = compared["adjusted"] or compared["effect"]
    # The p of what gives the verdict: a guardrail is only asked whether it is worse.
    p = effect["harm_p" if role == "guardrail" else "p"]
    lift, relative = effect["lift"], effect["relative"]
    return (
        "-" if lift is None else f"{lift:+.4g} {_range(effect['interval'])}",
        "-" if relative is None else f"{relative:+.2%}",
        f"{p:.3g}",
        compared["verdict"],
    )


def _bounded(found: Found) -> Iterator[str]:
    """Yields the intervals that hold at every sample size, not only asymptotically."""
    for metric in found["metrics"]:
        for compared in metric["comparisons"]:
            if bounds := compared["bernstein"]:
                yield (
                    f"{compared['arm']} by {metric['name']}: lift {_range(bounds)} at every sample "
                    "size (empirical Bernstein)."
                )


def _classic(found: Found) -> Iterator[str]:
    """Yields what Welch's test says of the primary metric."""
    for compared in found["metrics"][0]["comparisons"]:
        if classic := compared["welch"]:
            yield (
                f"Welch's test of {compared['arm']} by {found['primary']}: p {classic['p']:.3g}, "
                f"lift {_range(classic['interval'])}; {classic['note']}."
            )


def _ratio(found: Found) -> str:
    ratio = found["ratio"]
    counts = ", ".join(
        f"{arm} {seen:,} of {planned:,.0f} planned"
        for arm, seen, planned in zip(
            found["arms"], ratio["observed"], ratio["expected"], strict=True
        )
    )
    return f"Assignment: {ratio['verdict']} (p {ratio['p']:.3g}): {counts}."


def _waiting(found: Found) -> str:
    counts = ", ".join(f"{number:,} {kind}" for kind, number in found["feedback"].items())
    window = found["settings"]["outcome_window"]
    return (
        f"Feedback of the last {window:,.0f} s: {counts or 'none'}. "
        f"{found['waiting']:,} units wait for the end of their window."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _range(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"[{bounds[0]:.4g}, {bounds[1]:.4g}]"
