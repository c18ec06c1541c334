"""`switchyard deploy`: one Bento, unchanged, to many places."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import print_json, print_table

if TYPE_CHECKING:
    from deploy.releases import Deployer
    from deploy.values import Values
    from switchyard.records import Release

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Deploy a Bento to Docker, Kubernetes or a cloud, watch it there, and take it back.",
)

BAD_NEWS = 3
"""Exit code where what is deployed is not as it should be."""

BentoTag = Annotated[
    str | None,
    typer.Option("--bento", help="Tag of the Bento. Default: the newest.", show_default=False),
]
Image = Annotated[
    str | None,
    typer.Option(help="Image of the Bento, as the platform pulls it.", show_default=False),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="A value, key=value; keys below others as a.b=value."),
]
Files = Annotated[list[Path] | None, typer.Option("-f", "--values", help="YAML file of values.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _commands(name: str, help_: str) -> typer.Typer:
    """Returns the commands of one target."""
    group = typer.Typer(no_args_is_help=True, help=f"Deploy to {help_}.")

    @group.command()
    def render(
        bento: BentoTag = None, image: Image = None, changes: Changes = None, files: Files = None
    ) -> None:
        """Prints what would be sent, and sends nothing; needs no account and no network."""
        from deploy.bento import find
        from deploy.documents import text
        from deploy.targets import target

        kind = target(name)
        values = _values(name, image, changes, files)
        typer.echo(text(kind.render(find(bento), values)), nl=False)

    @group.command()
    def apply(
        bento: BentoTag = None,
        image: Image = None,
        changes: Changes = None,
        files: Files = None,
        as_json: AsJson = False,
    ) -> None:
        """Deploys, waits until it answers, and takes it back by itself if it does not."""
        from deploy.bento import find

        found = find(bento)
        with _deployer(name, _values(name, image, changes, files)) as deployer:
            _print_release(deployer.apply(found), as_json)

    @group.command()
    def status(
        image: Image = None, changes: Changes = None, files: Files = None, as_json: AsJson = False
    ) -> None:
        """Shows what is there, and where it differs from what was sent.

        Ends with 3 if it is not ready, or not as it was sent.
        """
        with _deployer(name, _known_values(name, image, changes, files)) as deployer:
            standing = deployer.status()
        seen, release = standing.seen, standing.release
        if as_json:
            print_json({"release": _shown(release), "seen": seen})
        else:
            _print_release(release, as_json=False)
            typer.echo(f"{seen.state}{f' at {seen.address}' if seen.address else ''}")
            print_table(("part", "state"), seen.parts)
            for sentence in (*filter(None, (seen.why,)), *seen.differences):
                typer.echo(sentence)
        if seen.state != "ready" or seen.differences:
            raise typer.Exit(BAD_NEWS)

    @group.command()
    def rollback(
        image: Image = None, changes: Changes = None, files: Files = None, as_json: AsJson = False
    ) -> None:
        """Returns to the last good release, and waits until it answers."""
        with _deployer(name, _known_values(name, image, changes, files)) as deployer:
            _print_release(deployer.rollback(), as_json)

    @group.command()
    def delete(
        image: Image = None, changes: Changes = None, files: Files = None, as_json: AsJson = False
    ) -> None:
        """Takes away what was deployed; volumes, databases and logs stay."""
        with _deployer(name, _known_values(name, image, changes, files)) as deployer:
            _print_release(deployer.delete(), as_json)

    return group


def _add_all(add: Callable[..., None]) -> None:
    from deploy.targets import NAMES

    for name, help_ in NAMES.items():
        add(_commands(name, help_), name=name)


_add_all(app.add_typer)


def _values(
    name: str, image: str | None, changes: list[str] | None, files: list[Path] | None
) -> Values:
    from deploy.targets import target
    from deploy.values import read_values

    return read_values(target(name).values, files or (), changes or (), image)


def _known_values(
    name: str, image: str | None, changes: list[str] | None, files: list[Path] | None
) -> Values:
    """Returns the values given, or those of the only place that was deployed to from here."""
    if image or changes or files:
        return _values(name, image, changes, files)
    from pydantic import ValidationError

    from deploy.targets import target
    from switchyard.errors import InvalidInput, NotFound
    from switchyard.state import State

    with closing(State.open()) as state:
        last: dict[str, dict[str, Any]] = {}
        for release in state.releases(name):
            last.setdefault(release.place, release.values)
    if not last:
        raise NotFound(f"Nothing was deployed to {name} from here.")
    if len(last) > 1:
        raise InvalidInput(
            f"There are several places of {name}: {', '.join(last)}. Name the values of one by -f."
        )
    try:
        return target(name).values.model_validate(next(iter(last.values())))
    except ValidationError as error:
        raise InvalidInput(
            f"The values of the last release to {name} are those of another version of Switchyard; "
            "name values by -f."
        ) from error


@contextmanager
def _deployer(name: str, values: Values) -> Iterator[Deployer]:
    from cli.change import who
    from cli.output import working
    from deploy.releases import Deployer
    from deploy.targets import target
    from switchyard.state import State

    with closing(State.open()) as state, working(name) as say:
        yield Deployer(target(name), values, state, environ=os.environ, who=who(), say=say)


def _shown(release: Release) -> dict[str, Any]:
    from dataclasses import asdict

    held = asdict(release)
    return {key: held[key] for key in held if key not in ("documents", "values", "probe")}


def _print_release(release: Release, as_json: bool) -> None:
    if as_json:
        print_json(_shown(release))
        return
    typer.echo(
        f"{release.target} {release.place}: release {release.number} of {release.bento} is "
        f"{release.status}{f' ({release.why})' if release.why else ''}"
    )
