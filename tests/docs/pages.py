"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from e2e.server import ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"

PAGES = [
    *sorted(DOCS.glob("*.md"), key=lambda page: (page.name == "operations.md", page.name)),
    README,
]
"""All pages in the order to try them: `operations.md` looks at what the others have done."""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        place: `page:line` of its first line.
        language: What stands behind the fence.
        text: What stands between the fences.
        answer: Text of the JSON block that follows at once, which shows what this one prints.
    """

    place: str
    language: str
    text: str
    answer: str | None = None


def blocks(page: Path) -> list[Block]:
    """Returns the blocks of a page in order; a JSON block belongs to the one before it."""
    found: list[Block] = []
    text = page.read_text()
    for match in BLOCK.finditer(text):
        language, inside = match.groups()
        line = text.count("\n", 0, match.start()) + 2
        place = f"{page.relative_to(ROOT)}:{line}"
        if language == "json":
            before = found.pop()
            assert before.language == "bash", f"{place} answers no command"
            found.append(Block(before.place, before.language, before.text, inside))
        else:
            found.append(Block(place, language, inside))
    return found


def links(page: Path) -> list[str]:
    """Returns the files that a page links to."""
    return LINK.findall(page.read_text())
