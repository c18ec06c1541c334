"""Docker with its Compose plugin, or Podman with podman-compose: whichever is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from deploy.errors import DeployFailed

__all__ = ["Container", "Engine"]

PROBE_SECONDS: Final = 30
LOOK_SECONDS: Final = 60

PROJECT: Final = "com.docker.compose.project"
SERVICE: Final = "com.docker.compose.service"
"""Labels that both put on their containers."""

ALTERNATIVES: Final = (
    ("docker", ("docker", "compose")),
    ("podman", ("podman-compose",)),
    ("docker", ("docker-compose",)),
)
"""Program that runs containers, and words that begin a Compose command; the first that works."""

_ERROR: Final = re.compile(r"error( response from daemon)?:", re.I)
_TELLING: Final = re.compile(r"denied|cannot|unable|failed|not found|is not set", re.I)


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a project, as the engine tells it.

    Attributes:
        id: Its id.
        service: Service that it runs.
        status: Such as `running`, `exited`, `restarting`.
        health: `healthy`, `starting`, `unhealthy`, or empty without a health check.
        image: Image that it was made from.
        labels: Its labels.
        memory: Bytes that it may use.
        cpus: Cores that it may use.
        exit_code: Of its last end.
    """

    id: str
    service: str
    status: str
    health: str
    image: str
    labels: dict[str, str]
    memory: int
    cpus: float
    exit_code: int

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Container:
        """Returns what `inspect` tells of a container."""
        state, config, host = told["State"], told["Config"], told["HostConfig"]
        labels = config.get("Labels") or {}
        health = state.get("Health") or state.get("Healthcheck") or {}
        return cls(
            id=told["Id"],
            service=labels.get(SERVICE, ""),
            status=state["Status"],
            health=health.get("Status") or "" if config.get("Healthcheck") else "",
            image=told.get("ImageName") or config.get("Image") or "",
            labels=labels,
            memory=host.get("Memory") or 0,
            cpus=_cpus(host),
            exit_code=state.get("ExitCode") or 0,
        )


def _cpus(host: Mapping[str, Any]) -> float:
    if host.get("NanoCpus"):
        return float(host["NanoCpus"]) / 1e9
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 0
    return quota / period if quota > 0 and period else 0.0


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs containers on this machine.

    Attributes:
        program: `docker` or `podman`.
        compose: Words that begin a Compose command.
    """

    program: str
    compose: tuple[str, ...]

    @classmethod
    def installed(cls) -> Engine:
        """Returns the first that works here.

        Raises:
            DeployFailed: None does.
        """
        for program, compose in ALTERNATIVES:
            if all(map(shutil.which, (program, compose[0]))) and _works((*compose, "version")):
                return cls(program, compose)
        raise DeployFailed(
            "Neither `docker compose` nor `podman-compose` can be run here; install Docker with "
            "its Compose plugin, or Podman and podman-compose (from PyPI)."
        )

    def run_compose(
        self, words: Sequence[str], variables: Mapping[str, str], seconds: float
    ) -> None:
        """Runs a Compose command.

        Args:
            words: What follows `docker compose`.
            variables: That the Compose file names.
            seconds: How long it may take.

        Raises:
            DeployFailed: It failed; the sentence holds what the engine says, without secrets.
        """
        self._run((*self.compose, *words), variables, seconds)

    def containers(self, project: str) -> list[Container]:
        """Returns the containers of a project, whatever their state.

        Raises:
            DeployFailed: The engine does not tell.
        """
        ask = ("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={PROJECT}={project}")
        ids = self._run((self.program, *ask), {}, LOOK_SECONDS).split()
        if not ids:
            return []
        told = self._run((self.program, "inspect", "--type", "container", *ids), {}, LOOK_SECONDS)
        found = sorted(map(Container.of, json.loads(told)), key=lambda each: each.service)
        return [self._checked(each) for each in found]

    def last_words(self, container: Container) -> str:
        """Returns the end of a container's log, empty where there is none or it does not come."""
        words = (self.program, "logs", "--tail", "5", container.id)
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=LOOK_SECONDS
            )
        except subprocess.TimeoutExpired:  # it only adds to what is to be said already
            return ""
        return " / ".join(filter(None, map(str.strip, (done.stdout + done.stderr).splitlines())))

    def _checked(self, container: Container) -> Container:
        """Returns a container with its health as it is now.

        Podman leaves health checks to systemd's timers, which not every machine has.
        """
        if self.program != "podman" or not container.health or container.status != "running":
            return container
        is_well = _works(("podman", "healthcheck", "run", container.id))
        return replace(container, health="healthy" if is_well else "starting")

    def _run(self, words: tuple[str, ...], variables: Mapping[str, str], seconds: float) -> str:
        begin = self.compose if words[: len(self.compose)] == self.compose else words[:2]
        said = " ".join(begin)
        try:
            done = subprocess.run(
                words,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise DeployFailed(f"`{said}` did not end within {seconds:g} s.") from None
        if done.returncode != 0:
            message = _message(done.stderr + done.stdout, variables.values())
            raise DeployFailed(f"`{said}` failed: {message}")
        return done.stdout


def _works(words: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(words, capture_output=True, timeout=PROBE_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _message(output: str, secrets: Iterable[str]) -> str:
    """Returns the line of an output that tells what went wrong first, without secrets."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    telling = errors or [line for line in lines if _TELLING.search(line)] or lines[-1:]
    found = telling[0] if telling else "it said nothing"
    for secret in secrets:
        found = found.replace(secret, "***") if secret else found
    return found[:500]
