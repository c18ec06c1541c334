"""How `switchyard models` says what a model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli.output import print_table

if TYPE_CHECKING:
    from models.bring.add import Added
    from models.manifest import Manifest
    from models.registry import Tag
    from models.schema import Field

__all__ = ["answers", "figures", "origin", "print_added", "print_fields", "promotion", "size"]


def print_added(added: Added) -> None:
    """Prints what `switchyard models add` has done, and the request to try."""
    manifest = added.manifest
    if added.current is None:
        typer.echo(f"Stored {added.tag}; the alias {added.alias!r} stands for it now.")
    else:
        typer.echo(f"Stored {added.tag}; the alias {added.alias!r} is still {added.current}.")
    way = {"matrix": "a matrix", "frame": "a DataFrame", "named": "arrays by name"}[manifest.input]
    for note in added.notes:
        typer.echo(note)
    if manifest.trusted:
        typer.echo(f"Types in it that hosts trust by name: {', '.join(manifest.trusted)}.")
    typer.echo(f"It runs on {manifest.framework} and takes {manifest.transform or way}:")
    print_fields(manifest)
    typer.echo(f"It answers {answers(manifest)}. {figures(manifest)}".rstrip())
    if added.unused:
        typer.echo(f"Columns of the sample that it does not take: {', '.join(added.unused)}.")
    share = f"a share of {added.share:.0%} of its traffic"
    typer.echo(f"{added.plan}: endpoint {added.endpoint!r}, variant {added.variant!r}, {share}.")
    if added.defaulted:
        typer.echo(f"Requests that name no endpoint still go to {added.defaulted!r} (default).")
    if added.current is None:
        typer.echo(f"Start the server, again if it runs already, and ask:\n\n{added.curl}")
        return
    typer.echo(
        f"It answers once it is promoted, which a running server follows at once:\n\n"
        f"{promotion(added.tag, added.alias)}\n\nThen ask:\n\n{added.curl}"
    )


def promotion(tag: Tag, alias: str) -> str:
    """Returns the command that moves an alias to a version."""
    other = "" if alias == "production" else f" --alias {alias}"
    return f"switchyard models promote {tag.name} {tag.version}{other}"


def print_fields(manifest: Manifest) -> None:
    """Prints the fields that a model takes."""
    print_table(
        ("field", "type", "missing", "values"),
        [
            (field.name, _type(field), "allowed" if field.nullable else "refused", _values(field))
            for field in manifest.fields
        ],
    )


def _type(field: Field) -> str:
    if field.type == "tensor":
        return f"{field.dtype} {'x'.join(map(str, field.shape or ()))}"
    return field.dtype if field.type == "float" else field.type


def _values(field: Field) -> str:
    if field.range is not None:
        return "{:g} to {:g}".format(*field.range)
    if field.categories is None:
        return ""
    shown = ", ".join(field.categories[:6]) + (", ..." if len(field.categories) > 6 else "")
    unseen = "refused" if field.unknown == "refuse" else "become other"
    return f"{len(field.categories)}: {shown}; unseen ones {unseen}"


def answers(manifest: Manifest) -> str:
    """Returns in words what a model answers."""
    if manifest.classes is None:
        return "a number (regression)"
    found = {"probabilities": "", "probability": " from the second one's"}
    made = found.get(manifest.output, f" from {manifest.output}")
    return f"probabilities of {', '.join(map(str, manifest.classes))}{made} ({manifest.task})"


def figures(manifest: Manifest) -> str:
    """Returns a model's figures on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items())


def origin(manifest: Manifest) -> str:
    """Returns where a version was registered before, and what is said of it there."""
    if manifest.source is None:
        return "here"
    run = f", run {manifest.run_id}" if manifest.run_id else ""
    tags = "".join(f", {name}={value}" for name, value in manifest.tags.items())
    return f"MLflow, {manifest.source}{run}{tags}"


def size(count: int) -> str:
    """Returns a number of bytes as people read it."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
