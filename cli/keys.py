"""`switchyard keys`: API keys for plans that say `auth: required`, and for admin calls."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from cli.output import print_json, print_table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Scope(StrEnum):
    """What a key may allow, one member per scope of the state database."""

    PREDICT = "predict"
    FEEDBACK = "feedback"
    ADMIN = "admin"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.", show_default=False)],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            "--scope",
            "-s",
            help="What it allows; may be repeated. Default: predict and feedback.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Makes an API key and prints its secret, this once.

    The secret alone goes to standard output, so that a script can keep it.
    """
    from switchyard.state import State

    scopes = [str(one) for one in scope or (Scope.PREDICT, Scope.FEEDBACK)]
    with closing(State.open()) as state:
        secret = state.create_key(name, scopes)
    if as_json:
        print_json({"name": name, "scopes": scopes, "secret": secret})
        return
    typer.echo(f"The key {name!r} allows {', '.join(scopes)}. It is shown this once:", err=True)
    typer.echo(secret)


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """Lists all API keys, revoked ones too; their secrets are not stored."""
    from switchyard.state import State

    with closing(State.open()) as state:
        keys = state.keys()
    if as_json:
        print_json([asdict(key) for key in keys])
        return
    print_table(
        ("id", "name", "scopes", "created", "revoked"),
        [(key.id, key.name, ", ".join(key.scopes), key.created, key.revoked or "") for key in keys],
    )


@app.command()
def revoke(
    key: Annotated[
        str, typer.Argument(metavar="ID", help="As `keys list` shows it.", show_default=False)
    ],
) -> None:
    """Takes an API key out of use, for good and within a second."""
    from switchyard.state import State

    with closing(State.open()) as state:
        state.revoke_key(key)
    typer.echo(f"The key {key} is revoked.", err=True)
