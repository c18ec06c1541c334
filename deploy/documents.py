"""What is sent to a platform: named documents, printed as they go out, with secrets by name only.

Where a document needs a secret it holds `${NAME}`, and so does everything that is printed, recorded
or compared. Only on its way to the platform the variable of that name takes its place. That is for
the variables that the values declare: what looks like one in a text of the user's own stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

from deploy.errors import ValuesError

__all__ = ["Document", "as_yaml", "filled", "names_of", "secrets", "text"]

_SECRET: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")

_OLD: Final = re.compile(
    r"(?i:y|n|yes|no|on|off)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?|0b[01_]+|="
)
"""Texts that YAML 1.1 takes for something else, which many platforms' tools still read."""


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that is sent.

    Attributes:
        name: Says what it is: a file name, or the platform's name of the call.
        content: What is sent: a mapping, or a file's text.
    """

    name: str
    content: dict[str, Any] | str

    def as_dict(self) -> dict[str, Any]:
        """Returns the form that the state database holds."""
        return {"name": self.name, "content": self.content}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Document:
        """Returns a document that the state database holds."""
        return cls(held["name"], held["content"])


def text(documents: Sequence[Document]) -> str:
    """Returns documents as a stream of YAML, each under its name.

    A document that is a file's text stands as it is, whatever its language.
    """
    parts = []
    for document in documents:
        content = document.content
        body = content if isinstance(content, str) else as_yaml(content)
        parts.append(f"---\n# {document.name}\n{body.rstrip()}\n")
    return "".join(parts)


def as_yaml(content: Any) -> str:
    """Returns a value as YAML to be read by people: in its order, texts of many lines as such."""
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import SafeRepresenter

    class Plain(SafeRepresenter):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def text(self, data: str) -> Any:
            style = "|" if "\n" in data else "'" if _OLD.fullmatch(data) else None
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Plain.add_representer(str, Plain.text)
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = Plain
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    out = StringIO()
    yaml.dump(content, out)
    return out.getvalue()


def names_of(documents: Sequence[Document]) -> tuple[str, ...]:
    """Returns what stands as `${NAME}` in documents, sorted: secrets, or a text's own words."""
    found: set[str] = set()
    for document in documents:
        _walk(document.content, lambda value: found.update(_SECRET.findall(value)))
    return tuple(sorted(found))


def secrets(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the values of variables that hold secrets.

    Args:
        names: Of the variables.
        environ: All variables.

    Raises:
        ValuesError: One of them is not set; the sentence names all that are not.
    """
    found = {name: environ.get(name, "") for name in names}
    missing = sorted(name for name, value in found.items() if not value)
    if missing:
        raise ValuesError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set; the values name "
            "these environment variables for secrets, which are read when they are sent."
        )
    return found


def filled(documents: Sequence[Document], known: Mapping[str, str]) -> list[Document]:
    """Returns documents with their secrets.

    Args:
        documents: From `render`, or recorded.
        known: Values of the secrets; any other name that stands in a document is left as it is.
    """

    def put(value: str) -> str:
        return _SECRET.sub(lambda found: known.get(found[1], found[0]), value)

    return [Document(each.name, _walk(each.content, put)) for each in documents]


def _walk(value: Any, change: Any) -> Any:
    """Returns a value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _walk(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(each, change) for each in value]
    return value
