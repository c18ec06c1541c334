"""`switchyard traffic shadows`: how shadows compare with what callers were answered."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import print_json
from cli.shadow_text import print_report

__all__ = ["shadows"]


def shadows(
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.", show_default=False)],
    window: Annotated[
        str, typer.Option(help="How far to look back: seconds, or 10m, 24h, 7d.")
    ] = "1h",
    until: Annotated[
        str | None,
        typer.Option(help="End of the window, such as 2013-07-04T18:30:00Z. Default: now."),
    ] = None,
    worst: Annotated[
        int, typer.Option(min=0, max=100, help="Disagreements to show of each version.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compares shadows with what callers were answered, from the prediction log."""
    from monitoring.shadow.shadows import report, window_of
    from switchyard import plan, settings

    plan.load().endpoint(endpoint)
    found = report(settings.home() / "log", endpoint, *window_of(window, until), worst=worst)
    if as_json:
        print_json(found.as_dict())
    else:
        print_report(found)
