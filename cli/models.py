"""`switchyard models`: what is in the registry, and models of your own."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from cli.model_text import answers, figures, origin, print_fields, size
from cli.models_add import add
from cli.models_check import delete, plan_if_any, verify
from cli.models_mlflow import import_mlflow
from cli.models_move import history, promote, rollback
from cli.output import print_json, print_table

if TYPE_CHECKING:
    from models.store import Version

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See what is in the registry, and add your own.")

Aliases = dict[tuple[str, str], str]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Lists every version of every model, with the aliases that stand for it."""
    from models import store
    from models.lifecycle import catalog

    aliases = _aliases()
    listed = catalog.listed(store.versions(), lambda version: catalog.summary(version, aliases))
    if as_json:
        print_json([row for _, row in listed])
        return
    print_table(
        ("name", "version", "aliases", "framework", "task", "figures", "created (UTC)", "size"),
        [
            (
                version.name,
                version.version,
                ", ".join(row["aliases"]),
                version.manifest.framework,
                version.manifest.task,
                figures(version.manifest),
                f"{version.created:%Y-%m-%d %H:%M}",
                size(row["size_bytes"]),
            )
            for version, row in listed
        ],
    )


@app.command()
def show(
    model: Annotated[
        str, typer.Argument(metavar="NAME[:VERSION|:ALIAS]", help="Without a version: the newest.")
    ],
    as_json: AsJson = False,
) -> None:
    """Shows one version: what it takes and answers, its figures, where it serves and lies."""
    from models.lifecycle import catalog
    from switchyard.state import State

    version = _find(model)
    with closing(State.open()) as state:
        about = catalog.details(version, plan_if_any(), state.observe())
    if as_json:
        print_json(about)
        return
    manifest, serves = version.manifest, about["serves"]
    print_table(
        ("", f"{version.name}:{version.version}"),
        [
            ("aliases", ", ".join(about["aliases"]) or "none"),
            ("serves", ", ".join(serves["variants"]) or "no variant of the plan"),
            ("loaded by", ", ".join(serves["workers"]) or "no running server"),
            ("runs on", f"{manifest.framework}, from {manifest.format}"),
            ("answers", answers(manifest)),
            ("figures", figures(manifest) or "none"),
            ("transform", manifest.transform or "none"),
            ("made with", ", ".join(f"{n} {v}" for n, v in manifest.libraries.items())),
            ("came from", origin(manifest)),
            ("created", f"{version.created:%Y-%m-%d %H:%M:%S} UTC"),
            ("lies in", f"{version.path} ({size(about['size_bytes'])})"),
            ("digest", f"sha256 {about['digest']} (of its manifest.json)"),
        ],
    )
    print_fields(manifest)


app.command()(add)
app.command()(import_mlflow)
app.command()(promote)
app.command()(rollback)
app.command()(history)
app.command()(verify)
app.command()(delete)


def _find(model: str) -> Version:
    from models import registry, store
    from models.lifecycle import catalog
    from switchyard.errors import NotFound

    name, colon, _ = model.partition(":")
    if not colon:
        stored = store.versions(store.check_word("model name", name))
        if not stored:
            raise NotFound(
                f"There is no model {name!r} in the store; `switchyard models list` shows all."
            )
        return stored[-1]
    return catalog.version(registry.find(model, _aliases()))


def _aliases() -> Aliases:
    from models import lock
    from switchyard.state import State

    with closing(State.open()) as state:
        return lock.aliases(state)
