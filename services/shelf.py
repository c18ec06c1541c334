"""The model versions that a host worker has loaded, and how they come and go while it serves."""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import sys

from models import runtime, store
from models.columns import Columns
from models.manifest import Manifest
from switchyard.errors import SwitchyardError

__all__ = ["Shelf"]

logger = logging.getLogger("switchyard.host")

WARM_UP_ROWS = 64
BUSY_SWITCH_SECONDS = 0.0005
"""While a version loads, the event loop waits no longer than this for the interpreter."""


class Shelf:
    """Loads, warms up and drops versions.

    Args:
        framework: The framework that runs them.
        threads: Threads that one prediction may use.

    Attributes:
        loaded: Versions loaded and warm, by tag.
        failed: Why others could not be loaded, by tag.
    """

    def __init__(self, framework: str, threads: int) -> None:
        self.loaded: dict[str, runtime.Model] = {}
        self.failed: dict[str, str] = {}
        self.framework = framework
        self._threads = threads
        self.device = runtime.start(framework, threads)

    def is_ours(self, tag: str) -> bool:
        """Tells whether a version runs on this framework; one that cannot be read counts as ours.

        Its reason is then found by `load`.
        """
        try:
            return store.manifest(*store.split(tag)).framework == self.framework
        except SwitchyardError:
            return True

    def load(self, tag: str) -> None:
        """Loads a version and warms it up with rows of its reference data.

        A version that cannot be loaded must not take the others down: it is noted as failed.
        """
        before = sys.getswitchinterval()
        sys.setswitchinterval(BUSY_SWITCH_SECONDS)
        try:
            name, version = store.split(tag)
            manifest = store.manifest(name, version)
            if not self.loaded:
                _keep_imports(manifest)
            model = runtime.load(store.path(name, version), manifest, threads=self._threads)
            sample = store.reference(name, version, WARM_UP_ROWS)
            model.warm_up(Columns.from_frame(manifest.fields, sample))
        except SwitchyardError as error:
            self.failed[tag] = error.message
            logger.error("%s is not served: %s", tag, error.message)
        except Exception as error:
            self.failed[tag] = f"{type(error).__name__}: {error}"
            logger.exception("%s is not served", tag)
        else:
            self.failed.pop(tag, None)
            self.loaded[tag] = model
            logger.info("%s is loaded and warm on %s", tag, model.device)
        finally:
            sys.setswitchinterval(before)

    def drop(self, tags: set[str]) -> None:
        """Forgets versions and gives their memory back to the system."""
        for tag in tags:
            del self.loaded[tag]
            logger.info("%s is dropped", tag)
        gc.collect()
        _trim()


def _keep_imports(manifest: Manifest) -> None:
    """Takes all that is imported out of later collections.

    Nothing runs while Python walks through its objects: 50 ms with scikit-learn and pandas, 150 ms
    with TensorFlow, and 1 ms with the models alone. Those must not be kept, they may be dropped.
    """
    for module in ("pandas", "pyarrow.dataset", "pyarrow.parquet"):  # they read reference rows
        importlib.import_module(module)
    runtime.prepare(manifest)  # imports the transform
    gc.collect()
    gc.freeze()


def _trim() -> None:
    """glibc keeps what is freed for itself; other C libraries have no `malloc_trim`."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
