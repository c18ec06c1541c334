"""Transforms that harm the process they run in, for the tests of `models.lifecycle.verify`."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from models.columns import Columns

Array = np.ndarray[Any, Any]


def segfault(columns: Columns) -> Array:
    ctypes.string_at(0)
    return columns.blocks["f4"]


def leave(columns: Columns) -> Array:
    print("leaving", file=sys.stderr, flush=True)
    os._exit(0)


def hang(columns: Columns) -> Array:
    while True:
        pass


def eat(columns: Columns) -> Array:
    """Takes all memory that it gets, and stops at 4 GiB lest a broken limit hurt others."""
    return np.concatenate([np.ones(2**23) for _ in range(64)])


def chatter(columns: Columns) -> Array:
    """Writes what looks like a report where the report goes."""
    os.write(1, b'{"problem": null}\n')
    print('{"rows": 1000000}')
    return columns.blocks["f4"]


def breed(columns: Columns) -> Array:
    """Leaves a process behind, and its number in a file."""
    process = subprocess.Popen(["sleep", "600"])
    Path(os.environ["BENTOML_HOME"], "child").write_text(str(process.pid))
    os._exit(7)


def drift(columns: Columns) -> Array:
    """Prepares rows differently from how they were prepared when the version was stored."""
    return columns.blocks["f4"] + np.float32(0.5)
