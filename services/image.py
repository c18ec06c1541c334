"""What `bentoml build` puts beside the code: the requirements, the plan in force and the lock."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import attrs
from bentoml.images import Image

from models import lock
from switchyard import settings
from switchyard.errors import InvalidInput
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["SwitchyardImage", "chosen_extras", "for_gpu", "requirements"]

PLAN_FILE = "switchyard.yaml"
EXTRAS: Final = "drift postgresql tracing"
"""What a Bento brings for the places it may come to: reports, a shared database, spans."""

GPU_BUILDS: Final = {
    "tensorflow": ("tensorflow-cpu", "tensorflow[and-cuda]"),
    "onnx": ("onnxruntime", "onnxruntime-gpu"),
}
"""A framework's package, and what takes its place, at the same version, where the framework's host
is to have a GPU; torch has one name for both."""


@attrs.define
class SwitchyardImage(Image):
    """BentoML's image description, which at build also freezes the plan and its aliases.

    BentoML freezes the image once the code has been copied, so what is written here is part of the
    Bento whatever plan and state database this build used.
    """

    plan: Plan | None = None

    def freeze(self, bento_fs: Path, *args: Any, **kwargs: Any) -> Any:
        """Writes `switchyard.yaml` and `switchyard.lock` into the Bento's code."""
        assert self.plan is not None
        code = bento_fs / "src"
        shutil.copyfile(settings.plan_path(), code / PLAN_FILE)
        (code / lock.LOCK_FILE).write_bytes(lock.freeze(self.plan, State.open()))
        return super().freeze(bento_fs, *args, **kwargs)


def chosen_extras() -> list[str]:
    """Returns the extras that a Bento is to have beside those that its plan needs.

    `SWITCHYARD_EXTRAS` names them: all but `drift` where an image is to be slim.

    Raises:
        InvalidInput: There is no extra of such a name.
    """
    named = (os.environ.get("SWITCHYARD_EXTRAS") or EXTRAS).replace(",", " ").split()
    known = _project()["optional-dependencies"]
    for name in named:
        if name not in known:
            raise InvalidInput(
                f"SWITCHYARD_EXTRAS names {name!r}, which pyproject.toml has no extra of; it has "
                f"{', '.join(known)}."
            )
    return named


def for_gpu(requirements: Iterable[str], frameworks: Iterable[str]) -> list[str]:
    """Returns requirements with GPU builds, as far as they are packages of their own.

    Args:
        requirements: Pinned requirements.
        frameworks: Those whose hosts are to have a GPU.
    """
    builds = dict(GPU_BUILDS[each] for each in frameworks if each in GPU_BUILDS)
    found = []
    for line in requirements:
        name, pin, version = line.partition("==")
        found.append(f"{builds.get(name, name)}{pin}{version}")
    return found


def requirements(extras: Iterable[str]) -> list[str]:
    """Returns the project's own requirements, pinned, for the frameworks that the plan needs.

    Args:
        extras: Names of extras of `pyproject.toml`.
    """
    project = _project()
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    pins = _pins((settings.ROOT / "constraints.txt").read_text())
    return [_pinned(line, pins) for line in wanted]


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((settings.ROOT / "pyproject.toml").read_text())["project"]
    return found


def _pins(constraints: str) -> dict[str, str]:
    pairs = (line.split("==", 1) for line in constraints.splitlines() if "==" in line)
    return {_canonical(name): version for name, version in pairs}


def _pinned(requirement: str, pins: dict[str, str]) -> str:
    """Returns a requirement at the version of the constraints, with its extras."""
    match = re.match(r"([A-Za-z0-9._-]+)(\[[^]]*\])?", requirement)
    if match is None or _canonical(match[1]) not in pins:
        return requirement
    return f"{match[1]}{match[2] or ''}=={pins[_canonical(match[1])]}"


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.lower())
