"""New entries in YAML text that leave every other byte, comments and alignment, as it is."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

__all__ = ["insert"]

_COMMENT_BELOW: Final = re.compile(r"(?:[ \t\r]*\n)*([ \t]+)#[^\n]*\n")


def insert(text: str, place: tuple[str, ...], block: str, flow: str, *, first: bool = False) -> str:
    """Puts one entry at the end, or the beginning, of a mapping.

    Args:
        text: One YAML document that ends with a line break.
        place: Keys from the root to the mapping, which has entries already.
        block: The entry as lines without indentation.
        flow: The entry in braces style, where the mapping is written in braces.
        first: Whether it comes before the other entries.

    Returns:
        The text with the entry; whether it means what it should is for the caller to check, since
        anchors and rare notations can defeat this.
    """
    mapping = _mapping(text, place)
    if mapping.flow_style:
        if first:
            at = mapping.start_mark.index + 1
            return text[:at] + flow + ", " + text[at:]
        at = _end(mapping) - 1
        head = text[:at].rstrip()
        return head + ("" if head.endswith(",") else ",") + " " + flow + text[at:]
    column = mapping.value[0][0].start_mark.column
    if first:
        at = mapping.value[0][0].start_mark.index - column
    else:
        at = _after_comments(text, text.index("\n", _end(mapping)) + 1, column)
    newline = "\r\n" if "\r\n" in text else "\n"
    return text[:at] + indent(block, " " * column).replace("\n", newline) + text[at:]


def _after_comments(text: str, at: int, column: int) -> int:
    """Skips comments that are indented like the entries above, or deeper: they belong there."""
    while (comment := _COMMENT_BELOW.match(text, at)) and len(comment[1]) >= column:
        at = comment.end()
    return at


def _mapping(text: str, place: tuple[str, ...]) -> MappingNode:
    node: MappingNode = YAML(typ="safe", pure=True).compose(text)
    for wanted in place:
        node = next(value for key, value in node.value if key.value == wanted)
    return node


def _end(node: Node) -> int:
    """Where the last value of a node ends, without the comments and blank lines below it."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, MappingNode) else last)
    index: int = node.end_mark.index
    return index
