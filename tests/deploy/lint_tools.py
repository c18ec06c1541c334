"""Linters for tests, each made once in a folder of its own in `.cache` below the project's root."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.server import ROOT
from mlflow_server import UNREACHABLE

__all__ = ["install", "python_tool"]

CACHE = ROOT / ".cache"


def install(name: str, *commands: list[str]) -> Path:
    """Returns the folder of a tool that is made by these commands if it is not there."""
    folder = CACHE / name
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "ready").exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for command in commands:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
            )
            if done.returncode != 0 and any(word in done.stderr for word in UNREACHABLE):
                pytest.skip(f"a package registry is out of reach: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stderr
        (folder / "ready").touch()
    return folder


def python_tool(name: str, version: str) -> Path:
    """Returns the programs of a package of PyPI."""
    make = [sys.executable, "-m", "venv", "."]
    pip = ["bin/python", "-m", "pip", "install", "--quiet", f"{name}=={version}"]
    return install(f"{name}-{version}", make, pip) / "bin"
