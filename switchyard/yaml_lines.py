"""YAML with line numbers: the value of a file, and the line on which each of its keys stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.reader import ReaderError

__all__ = ["Key", "Lines", "YamlProblem", "read"]

Key = str | int

DEPTH: Final = 16
"""Deeper than any plan; where an alias repeats itself for ever, the walk ends here."""


class YamlProblem(Exception):
    """The file cannot be read as YAML; one sentence with file and line."""


class Lines:
    """The line of every key of a file.

    Args:
        known: Line, counted from 1, by path of keys as they are written.
    """

    def __init__(self, known: Mapping[tuple[str, ...], int]) -> None:
        self._known = known

    def __call__(self, place: tuple[Key, ...]) -> int:
        """Returns the line of a key, or that of the nearest key above it that is in the file."""
        names = tuple(map(str, place))
        while names and names not in self._known:
            names = names[:-1]
        return self._known.get(names, 1)


def read(path: Path) -> tuple[Any, Lines]:
    """Reads one YAML document with the plain types of YAML 1.2.

    Raises:
        YamlProblem: There is no such file, it is not YAML, a key stands in it twice, or it names
            types of a programming language.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise YamlProblem(f"{path} cannot be read: {reason}.") from error
    yaml = YAML(typ="safe", pure=True)
    known: dict[tuple[str, ...], int] = {}
    try:
        root = yaml.compose(text)
        if root is not None:
            _walk(root, (), known)
        return yaml.load(text), Lines(known)
    except _Twice as error:
        line, problem = error.line, f"the key {error.key!r} stands here a second time"
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character {chr(error.character)!r} is not allowed in YAML"
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = f"this is not YAML: {' '.join(str(error.problem).split())}"
    raise YamlProblem(f"{path}, line {line}: {problem}.")


class _Twice(Exception):
    def __init__(self, key: str, line: int) -> None:
        super().__init__(key)
        self.key = key
        self.line = line


def _walk(node: Node, place: tuple[str, ...], known: dict[tuple[str, ...], int]) -> None:
    if len(place) > DEPTH:
        return
    if isinstance(node, MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            line = key.start_mark.line + 1
            if here in known:
                raise _Twice(here[-1], line)
            known[here] = line
            _walk(value, here, known)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            here = (*place, str(index))
            known[here] = value.start_mark.line + 1
            _walk(value, here, known)
