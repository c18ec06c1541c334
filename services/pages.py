"""The pages that BentoML serves beside our routes: documentation, schema, metrics.

Each path that reaches BentoML's application becomes a label of its metrics, for good, whatever the
answer. So only paths at which it has something are left to it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import _bentoml_impl.server
import bentoml._internal.server

__all__ = ["is_page"]

_PAGES: Final = frozenset({"/", "/docs.json", "/schema.json", "/metrics"})
_FOLDERS: Final = {
    "/static_content/": Path(bentoml._internal.server.__file__).with_name("static_content"),
    "/assets/": Path(_bentoml_impl.server.__file__).with_name("assets"),
}
"""Paths below which files of the pages are served, and their folders."""


def is_page(path: str) -> bool:
    """Tells whether BentoML has a page, or a page's file, at a path."""
    return path in _PAGES or any(
        path.startswith(below) and path.removeprefix(below) in _files(folder)
        for below, folder in _FOLDERS.items()
    )


@cache
def _files(folder: Path) -> frozenset[str]:
    return frozenset(
        file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
    )
