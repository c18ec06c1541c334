"""Where reports are kept: `$SWITCHYARD_HOME/reports/drift/ENDPOINT/TIME.{html,json}`.

A page of Evidently is 4 MB and more, so only the last `KEPT` reports of an endpoint stay.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from monitoring.drift.verdict import Verdict
from switchyard.errors import SwitchyardError

__all__ = ["KEPT", "Pages", "save"]

KEPT: Final = 12
"""Reports of an endpoint whose files are kept."""

_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z")


@dataclass(frozen=True, slots=True)
class Pages:
    """The HTML pages of a report.

    Attributes:
        main: Writes the main one, given the verdict with its place.
        performance: Evidently's performance report; None where it has none.
    """

    main: Callable[[Verdict], str]
    performance: str | None


def save(home: Path, verdict: Verdict, pages: Pages, html: Path | None) -> Verdict:
    """Writes the files of a report, forgets the oldest, and returns the verdict with its place.

    Args:
        home: `$SWITCHYARD_HOME`.
        verdict: What it says.
        pages: Its pages.
        html: Where else the main page is written; the one of the performance stands beside it.

    Raises:
        SwitchyardError: A file cannot be written.
    """
    folder = home / "reports" / "drift" / verdict.endpoint
    stamp = verdict.created[:26].replace(":", "-") + "Z"
    own = folder / f"{stamp}.html"
    placed = verdict.model_copy(update={"html": str(html or own)})
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / f"{stamp}.json", placed.model_dump_json(indent=2) + "\n")
        for place in (own, html):
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                text = pages.main(placed)
                if pages.performance is not None:
                    beside = place.with_name(f"{place.stem}-performance.html")
                    _write(beside, pages.performance)
                    text = _linked(text, beside.name)
                _write(place, text)
        _forget(folder)
    except OSError as error:
        raise SwitchyardError(
            f"The drift report cannot be written to {error.filename} ({error.strerror})."
        ) from error
    return placed


def _linked(text: str, file: str) -> str:
    """Returns the main page with a link to the other one behind its heading."""
    head, end, rest = text.partition("</h1>")
    link = f'<p><a href="{quote(file)}">Evidently\'s report of the performance</a></p>'
    return head + end + link + rest


def _write(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all.

    Raises:
        OSError: It cannot be written; its name is that of the file.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        draft.unlink(missing_ok=True)  # on a full disk there is a part of it


def _forget(folder: Path) -> None:
    """Removes the files of all but the last reports."""
    stamps = sorted({found[0] for file in folder.iterdir() if (found := _STAMP.match(file.name))})
    for stamp in stamps[:-KEPT]:
        for file in folder.glob(f"{stamp}*"):
            file.unlink(missing_ok=True)
