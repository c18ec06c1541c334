"""How commands print: JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import typer

__all__ = ["print_json", "print_table"]

PLAIN_WIDTH: Final = 160
"""Columns of a table that goes to a file or a pipe, where no terminal says how wide it is."""


def print_json(value: Any) -> None:
    """Prints a value as indented JSON on standard output."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table on standard output; cells are shown as they are, without markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    console.print(table)
