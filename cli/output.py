"""How commands print: JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import typer

__all__ = ["print_json", "print_table", "working"]

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


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Shows on standard error that something is being done: a spinner on a terminal, else lines.

    Args:
        what: What is being done, in a few words.

    Yields:
        A function that takes what is being done now.
    """
    from rich.console import Console

    console = Console(stderr=True)
    last = what

    def say(words: str) -> None:
        nonlocal last
        if words != last:
            typer.echo(f"{what}: {words}", err=True)
        last = words

    if not console.is_terminal:
        yield say
        return
    with console.status(f"{what} ...") as status:
        yield lambda words: status.update(f"{what}: {words} ...")
