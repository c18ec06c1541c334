"""The servers that are measured, (a) to (f): how each is started and what it is asked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import Command

__all__ = [
    "FLIGHTS",
    "MODELS",
    "ROOT",
    "TARGETS",
    "Setup",
    "Target",
    "Versions",
    "switchyard_command",
]

ROOT: Final = Path(__file__).resolve().parent.parent

Versions = Mapping[str, str]
"""Version of each model by its name."""

MODELS: Final = ("digits-sklearn", "flights-sklearn", "flights-torch", "flights-tensorflow")
"""The models that the targets serve; `switchyard train` makes them."""


@dataclass(frozen=True, slots=True)
class Target:
    """One server under test.

    Attributes:
        key: Its short name, as in issue and README.
        title: What it is.
        rows: Which rows it is asked about, `digits` or `flights`.
        command: Makes its command from a folder of its own, the store and the models' versions.
    """

    key: str
    title: str
    rows: str
    command: Callable[[Path, Path, Versions], Command]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a Switchyard under test serves: one endpoint.

    Attributes:
        endpoint: Its name.
        variants: Model of each variant.
        split: Share of each variant; none for one that only shadows.
        shadow: Share of the requests that each variant sees as a shadow.
        more: Further keys of the endpoint.
    """

    endpoint: str
    variants: Mapping[str, str]
    split: Mapping[str, float]
    shadow: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def plan(self, versions: Versions) -> dict[str, Any]:
        """Returns the plan, with all variants at fixed versions."""
        variants = {
            name: {"model": f"{model}:{versions[model]}"} for name, model in self.variants.items()
        }
        traffic = {"split": dict(self.split), "shadow": dict(self.shadow)}
        stable = next(iter(variants))
        endpoint = {"default": True, "stable": stable, "variants": variants, "traffic": traffic}
        return {"endpoints": {self.endpoint: {**endpoint, **self.more}}}


DIGITS: Final = Setup("digits", {"sklearn": "digits-sklearn"}, {"sklearn": 1.0})
FLIGHTS: Final = Setup(
    "flights",
    {"sklearn": "flights-sklearn", "torch": "flights-torch", "tensorflow": "flights-tensorflow"},
    {"sklearn": 0.5, "torch": 0.3, "tensorflow": 0.2},
)
SHADOWED: Final = Setup(
    "flights",
    # A variant never shadows itself, so only one that takes no traffic can see every request.
    {**FLIGHTS.variants, "candidate": "flights-torch"},
    FLIGHTS.split,
    {"candidate": 1.0},
)


def _uvicorn(app: str, *options: str) -> Callable[[Path, Path, Versions], Command]:
    def command(folder: Path, store: Path, versions: Versions) -> Command:
        argv = [
            sys.executable,
            "-m",
            "uvicorn",
            app,
            "--port",
            "{port}",
            "--no-access-log",
            *options,
        ]
        return Command(argv, ROOT, _environment(folder, store))

    return command


def _bentoml(service: str) -> Callable[[Path, Path, Versions], Command]:
    def command(folder: Path, store: Path, versions: Versions) -> Command:
        return Command(_serve(service), ROOT, _environment(folder, store), ready="/readyz")

    return command


def switchyard_command(
    setup: Setup, service: str = "services:Router"
) -> Callable[[Path, Path, Versions], Command]:
    def command(folder: Path, store: Path, versions: Versions) -> Command:
        path = folder / "plan.yaml"
        # JSON is YAML.
        path.write_text(json.dumps(setup.plan(versions), indent=2) + "\n")
        env = {
            **_environment(folder, store),
            "SWITCHYARD_PLAN": str(path),
            "SWITCHYARD_HOME": str(folder / "home"),
        }
        return Command(_serve(service), ROOT, env, ready="/readyz")

    return command


def _serve(service: str) -> list[str]:
    bentoml = Path(sys.executable).with_name("bentoml")
    return [str(bentoml), "serve", service, "--host", "127.0.0.1", "--port", "{port}"]


def _environment(folder: Path, store: Path) -> dict[str, str]:
    """Returns the environment of a server with a BENTOML_HOME of its own over the shared store.

    BentoML wipes the metrics in BENTOML_HOME when it starts, so two servers cannot share one. What
    the caller has set for Switchyard (a plan, a database) must not reach a server under test.
    """
    home = folder / "bentoml"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "models").exists():
        (home / "models").symlink_to(store, target_is_directory=True)
    inherited = {name: value for name, value in os.environ.items() if name[:11] != "SWITCHYARD_"}
    return {**inherited, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}


TARGETS: Final = (
    Target(
        "a",
        "bare uvicorn, the same JSON",
        "digits",
        _uvicorn("benchmarks.peers.bare_uvicorn:app", "--loop", "uvloop", "--http", "httptools"),
    ),
    Target(
        "b-digits",
        "plain BentoML, digits",
        "digits",
        _bentoml("benchmarks.peers.plain_bentoml_digits:Router"),
    ),
    Target(
        "b-flights",
        "plain BentoML, flights",
        "flights",
        _bentoml("benchmarks.peers.plain_bentoml_flights:Router"),
    ),
    Target("c", "FastAPI, digits", "digits", _uvicorn("benchmarks.peers.fastapi_sklearn:app")),
    Target("d", "Switchyard, digits", "digits", switchyard_command(DIGITS)),
    Target("e", "Switchyard, flights", "flights", switchyard_command(FLIGHTS)),
    Target("f", "Switchyard, flights, shadow", "flights", switchyard_command(SHADOWED)),
)
