"""Additions to the plan that leave the rest of the file as its owner wrote it.

ruamel.yaml says where things stand in the file, and what is new is put there as text: every other
byte stays, comments, order and alignment with it. The new file must mean the old plan plus the
addition and nothing else, and pass the checks of any plan, before one rename puts it in place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from switchyard import plan as plans
from switchyard.errors import Conflict, PlanError
from switchyard.yaml_insert import insert

__all__ = ["Addition", "Edit", "Staged", "add_variant", "stage"]

_BLOCK: Final = """\
{endpoint}:
  stable: {variant}
  variants:
    {variant}: {{model: "{model}"}}
  traffic:
    split: {{{variant}: 1.0}}
"""
_FLOW: Final = """\
{endpoint}: {{stable: {variant}, variants: {{{variant}: {{model: "{model}"}}}}, \
traffic: {{split: {{{variant}: 1.0}}}}}}"""
_VARIANT: Final = '{variant}: {{model: "{model}"}}'


@dataclass(frozen=True, slots=True)
class Addition:
    """What is to be in the plan.

    Attributes:
        endpoint: The endpoint that answers with the model; made if it is not there.
        model: `name:alias` or `name:version`.
        variants: Names for the variant; the first that is free is taken.
    """

    endpoint: str
    model: str
    variants: Sequence[str]


@dataclass(frozen=True, slots=True)
class Edit:
    """A text of the plan, and what in it is new.

    Attributes:
        before: Text of the plan as it was, None if there was no file.
        after: Text of the plan with the addition.
        variant: Name of the variant that answers with the model.
        created: Whether the endpoint is new.
        defaulted: The endpoint that was alone before and had to be marked as the default, so that
            requests that name no endpoint still reach it.
    """

    before: str | None
    after: str
    variant: str
    created: bool
    defaulted: str | None = None


def add_variant(text: str | None, addition: Addition) -> Edit:
    """Returns the text of a plan with a model in it.

    A new endpoint gives all of its traffic to its only variant. An endpoint that is there gets a
    variant that its split does not name, which is a share of 0; where one of its variants answers
    with this model already, the text stays as it is.

    Args:
        text: Text of a valid plan; None or blank where there is none yet.
        addition: What is to be in it.

    Raises:
        PlanError: The text is written in a way that nothing can be put into, or no name is free
            for the variant.
    """
    endpoints = (_value(text or "") or {}).get("endpoints", {})
    if addition.endpoint not in endpoints:
        return _new_endpoint(text, endpoints, addition)
    variants = endpoints[addition.endpoint]["variants"]
    for name, variant in variants.items():
        if variant["model"] == addition.model:
            return Edit(text, text or "", name, created=False)
    return _new_variant(text or "", variants, addition)


@dataclass(frozen=True, slots=True)
class Staged:
    """A plan that lies ready beside the one in use.

    Attributes:
        path: The plan in use.
        draft: The file that will take its place.
        edit: What is new in it.
        plan: What it says.
    """

    path: Path
    draft: Path
    edit: Edit
    plan: plans.Plan

    def commit(self) -> None:
        """Puts the new plan in place, in one rename.

        Raises:
            Conflict: Somebody changed the plan meanwhile.
            PlanError: The file cannot be replaced.
        """
        if self.edit.before == self.edit.after:
            return
        if _read(self.path) != self.edit.before:
            raise Conflict(f"{self.path} was changed meanwhile; run the command again.")
        with _writing(self.path):
            os.replace(self.draft, self.path)


@contextmanager
def stage(path: Path, addition: Addition) -> Iterator[Staged]:
    """Writes a new plan beside the plan and checks it; nothing has changed until `commit`.

    Args:
        path: The plan; a file that is not there yet is made.
        addition: What is to be in it.

    Raises:
        PlanError: The plan is wrong already, or would be with the addition, or cannot be written.
    """
    path = path.resolve()
    before = _read(path)
    if before is not None and _value(before) is not None:
        plans.load(path)
    edit = add_variant(before, addition)
    with _writing(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    draft = Path(name)
    try:
        with _writing(path):
            _write(draft, edit.after, like=path)
        yield Staged(path, draft, edit, _checked(draft, path))
    finally:
        draft.unlink(missing_ok=True)


def _new_endpoint(text: str | None, endpoints: dict[str, Any], addition: Addition) -> Edit:
    variant = addition.variants[0]
    block, flow = _fill(_BLOCK, addition, variant), _fill(_FLOW, addition, variant)
    if not endpoints:
        after = _ended(text or "") + "endpoints:\n" + indent(block, "  ")
        return Edit(text, after, variant, created=True)
    expected = _unshared(_value(text or ""))
    expected["endpoints"].update(_value(block))
    after = insert(_ended(text or ""), ("endpoints",), block, flow)
    alone = next(iter(endpoints)) if len(endpoints) == 1 else None
    if alone is not None and "default" not in endpoints[alone]:
        expected["endpoints"][alone]["default"] = True
        after = insert(after, ("endpoints", alone), "default: true\n", "default: true", first=True)
    else:
        alone = None
    _same_meaning(after, expected, block)
    return Edit(text, after, variant, created=True, defaulted=alone)


def _new_variant(text: str, variants: dict[str, Any], addition: Addition) -> Edit:
    free = [name for name in addition.variants if name not in variants]
    if not free:
        raise PlanError(
            f"The endpoint {addition.endpoint!r} has the variants {', '.join(variants)} already, "
            f"so no name is left for {addition.model}; name another endpoint."
        )
    line = _fill(_VARIANT, addition, free[0])
    expected = _unshared(_value(text))
    expected["endpoints"][addition.endpoint]["variants"].update(_value(line))
    place = ("endpoints", addition.endpoint, "variants")
    after = insert(_ended(text), place, line + "\n", line)
    _same_meaning(after, expected, line + "\n")
    return Edit(text, after, free[0], created=False)


def _fill(template: str, addition: Addition, variant: str) -> str:
    return template.format(
        endpoint=_word(addition.endpoint), variant=_word(variant), model=addition.model
    )


def _word(name: str) -> str:
    """A name as YAML reads it as text: `on`, `1e3` and `null` need quotes."""
    try:
        plain = _value(f"{name}: 0") == {name: 0}
    except YAMLError:
        plain = False
    return name if plain else f'"{name}"'


def _same_meaning(after: str, expected: Any, lines: str) -> None:
    try:
        same = _value(after) == expected
    except YAMLError:
        same = False
    if not same:
        raise PlanError(
            "The plan is written in a way that this command cannot add to; "
            f"put these lines in yourself:\n{lines}"
        )


def _value(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def _unshared(value: Any) -> Any:
    """Copies what YAML aliases share, so that a change in one place stays in one place."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise PlanError(f"The plan {path} cannot be read: {reason}.") from error


def _write(draft: Path, text: str, like: Path) -> None:
    draft.write_bytes(text.encode())
    if like.exists():
        shutil.copymode(like, draft)
    else:
        draft.chmod(0o644)


def _checked(draft: Path, path: Path) -> plans.Plan:
    try:
        return plans.load(draft)
    except PlanError as error:
        message = error.message.replace(str(draft), str(path))
        raise PlanError(f"With the addition the plan would be wrong: {message}") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlanError(
            f"The plan {path} cannot be written ({error.strerror}); make its folder writable, or "
            "name another file in SWITCHYARD_PLAN."
        ) from error
