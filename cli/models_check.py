"""`switchyard models verify` and `delete`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import print_json, print_table, working

if TYPE_CHECKING:
    from models.lifecycle.verify import Report
    from models.registry import Tag
    from switchyard.plan import Plan

__all__ = ["delete", "plan_if_any", "verify"]


def verify(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[:VERSION|:ALIAS]]...",
            help="Default: every version of every model.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Checks versions: hashes their files, loads them, compares answers with the stored ones.

    Each is loaded in a process of its own; no server is needed, and none is disturbed. Exit code 1:
    something is wrong with one of them.
    """
    from models.lifecycle import verify as checking

    reports = []
    with working("verify") as progress:
        for tag in _tags(models):
            progress(str(tag))
            reports.append(checking.verify(tag.name, tag.version))
    if as_json:
        print_json([{"ok": report.ok, **asdict(report)} for report in reports])
    else:
        _print_reports(reports)
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


def delete(
    model: Annotated[str, typer.Argument(metavar="NAME:VERSION", show_default=False)],
) -> None:
    """Deletes a version that no alias, no plan and no running server needs."""
    from models import store
    from models.lifecycle import catalog
    from models.registry import Tag
    from switchyard.state import State

    tag = Tag(*store.split(model))
    with closing(State.open()) as state:
        catalog.delete(tag, plan_if_any(), state)
    typer.echo(f"{tag} is deleted.")


def plan_if_any() -> Plan | None:
    """Returns the plan, None where there is no file of it.

    Raises:
        PlanError: There is one, and it is wrong.
    """
    from switchyard import plan, settings

    return plan.load() if settings.plan_path().exists() else None


def _tags(models: list[str] | None) -> list[Tag]:
    from models import lock, registry, store
    from models.registry import Tag
    from switchyard.errors import NotFound
    from switchyard.state import State

    if not models:
        return [Tag(version.name, version.version) for version in store.versions()]
    with closing(State.open()) as state:
        known = lock.aliases(state)
    tags = []
    for model in models:
        if ":" in model:
            tags.append(registry.find(model, known))
            continue
        stored = store.versions(store.check_word("model name", model))
        if not stored:
            raise NotFound(
                f"There is no model {model!r} in the store; `switchyard models list` shows all."
            )
        tags += [Tag(version.name, version.version) for version in stored]
    return tags


def _print_reports(reports: list[Report]) -> None:
    print_table(
        ("version", "verified", "rows", "largest difference", "64 rows take", "one row takes"),
        [
            (
                report.tag,
                "yes" if report.ok else "NO",
                str(report.rows),
                f"{report.largest_difference:.2g}",
                _milliseconds(report.latency_seconds),
                _milliseconds(report.row_latency_seconds),
            )
            for report in reports
        ],
    )
    for report in reports:
        if report.problem:
            typer.echo(report.problem)


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3g} ms"
