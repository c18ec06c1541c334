"""A Bento as tests of `render` need it: fixed, made by hand, without a store; and golden files."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from deploy.bento import Bento, Service
from switchyard.plan import Plan

__all__ = ["PLAN", "golden", "made", "plan"]

PLAN = """\
endpoints:
  flights:
    default: true
    stable: sklearn
    variants:
      sklearn: { model: "flights-sklearn:production" }
      torch: { model: "flights-torch:production" }
      tensorflow: { model: "flights-tensorflow:production" }
    traffic:
      split: { sklearn: 0.5, torch: 0.3, tensorflow: 0.2 }
    forced_variant: anyone
    limits: { max_queue_ms: 200, timeout_ms: 2000 }
  digits:
    stable: sklearn
    variants:
      sklearn: { model: "digits-sklearn:production" }
      torch: { model: "digits-torch:production" }
      tensorflow: { model: "digits-tensorflow:production" }
hosts:
  sklearn: { workers: 1, threads: 1, resources: { cpu: 1 } }
  torch: { workers: 1, threads: 1, resources: { cpu: 1 } }
  tensorflow: { workers: 1, threads: 1, resources: { cpu: 1 } }
"""

VERSIONS = {
    "digits-sklearn": "ds1",
    "digits-tensorflow": "df1",
    "digits-torch": "dt1",
    "flights-sklearn": "fs1",
    "flights-tensorflow": "ff1",
    "flights-torch": "ft1",
}

SERVICES = (
    Service("Router", None, 1, None, 0, None),
    Service("Controller", None, 1, None, 0, None),
    Service("SklearnHost", "sklearn", 1, 1.0, 0, None),
    Service("TensorFlowHost", "tensorflow", 1, 1.0, 0, None),
    Service("TorchHost", "torch", 1, 1.0, 0, None),
)

ROWS: dict[str, dict[str, Any]] = {
    "flights": {
        "scheduled_departure": "2013-01-01T05:15:00.000",
        "carrier": "UA",
        "origin": "EWR",
        "dest": "IAH",
        "distance": 1400,
        "temp": 39.02,
        "dewp": 28.04,
        "humid": 64.43,
        "wind_dir": 260.0,
        "wind_speed": 12.66,
        "precip": 0.0,
        "pressure": 1011.9,
        "visib": 10.0,
    },
    "digits": {f"pixel_{row}_{column}": 0.0 for row in range(8) for column in range(8)},
}


@dataclass(frozen=True, slots=True)
class FixedBento(Bento):
    """A Bento whose sample needs no store."""

    def sample(self, endpoint: str, rows: int = 1) -> list[dict[str, Any]]:
        """Returns the same row as often as asked, once the endpoint is known."""
        self.plan.endpoint(endpoint)
        return [dict(ROWS.get(endpoint, {"x": 1.0}))] * rows


def plan(text: str = PLAN) -> Plan:
    """Returns the plan that a text holds."""
    return Plan.model_validate(YAML(typ="safe", pure=True).load(text))


def made(**changes: Any) -> FixedBento:
    """Returns a Bento `router:abc123` with a router, a controller and three hosts.

    Args:
        **changes: Attributes of the Bento that are to be otherwise.
    """
    bento = FixedBento(
        tag="router:abc123",
        path=Path("/bentos/router/abc123"),
        services=SERVICES,
        models=tuple(f"{name}:{version}" for name, version in VERSIONS.items()),
        plan=plan(),
        aliases={name: {"production": version} for name, version in VERSIONS.items()},
    )
    return replace(bento, **changes)


def golden(path: Path, text: str) -> None:
    """Compares a text with a golden file, or writes it where SWITCHYARD_WRITE_GOLDEN is set."""
    if os.environ.get("SWITCHYARD_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, (
        f"{path.name} differs; SWITCHYARD_WRITE_GOLDEN=1 writes it anew, for `git diff` to show"
    )
