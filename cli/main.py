"""The `switchyard` command: its groups, and what becomes of errors.

Exit codes: 0 done, 1 it failed (one sentence on standard error), 2 wrong usage, 3 the answer is bad
news. Command modules import what is heavy inside their functions, so that help comes at once.
"""

from __future__ import annotations

import sys

import typer

from cli.canary import app as canary
from cli.deploy import app as deploy
from cli.drift import app as drift
from cli.experiment import app as experiment
from cli.keys import app as keys
from cli.logs import app as logging
from cli.models import app as models
from cli.replay import replay
from cli.rollback import rollback
from cli.traffic import app as traffic
from cli.train import train
from switchyard.errors import GateNotPassed, SwitchyardError

__all__ = ["app", "main"]

app = typer.Typer(
    name="switchyard",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Models of several frameworks behind one fast router: train, register, serve, compare.",
)
app.command()(train)
app.add_typer(models, name="models")
app.add_typer(traffic, name="traffic")
app.add_typer(canary, name="canary")
app.add_typer(experiment, name="experiment")
app.add_typer(drift, name="drift")
app.add_typer(deploy, name="deploy")
app.add_typer(keys, name="keys")
app.add_typer(logging, name="logging")
app.command()(rollback)
app.command()(replay)


def main() -> None:
    """Runs the command line; an error of ours is one sentence and exit code 1.

    A gate that was not passed is bad news: exit code 3.
    """
    try:
        app()
    except SwitchyardError as error:
        typer.echo(error.message, err=True)
        sys.exit(3 if isinstance(error, GateNotPassed) else 1)
