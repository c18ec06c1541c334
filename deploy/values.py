"""Values of a deployment: what a place is to be like, typed, from files and the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    PlainSerializer,
    SerializationInfo,
    ValidationError,
    model_validator,
)
from pydantic import Field as Setting

from deploy.errors import ValuesError
from switchyard.formats import Duration
from switchyard.plan_problems import problem, wrong
from switchyard.section import Section
from switchyard.yaml_lines import Lines, YamlProblem, read

__all__ = [
    "DnsName",
    "ImageRef",
    "ImageValues",
    "Secret",
    "Shared",
    "Smoke",
    "Values",
    "read_values",
    "secrets_of",
]

_DNS: Final = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_IMAGE: Final = re.compile(r"[a-z0-9][-._:/a-z0-9]*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?")
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def _dns(name: str) -> str:
    if not _DNS.fullmatch(name):
        raise wrong(
            f"is {name!r}; take lower-case letters, digits and '-', at most 40, "
            "and begin with a letter"
        )
    return name


def _image(name: str) -> str:
    if not _IMAGE.fullmatch(name):
        raise wrong(f"is {name!r}, but must look like 'registry.example.com/team/switchyard:1.0'")
    return name


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise wrong(
            "must be the name of an environment variable that holds the secret, like "
            "'DATABASE_URL'; the secret itself belongs in no file"
        )
    return name


def _noted(name: str, info: SerializationInfo) -> str:
    if info.context is not None:
        info.context.add(name)
    return name


DnsName = Annotated[str, AfterValidator(_dns)]
ImageRef = Annotated[str, AfterValidator(_image)]
Secret = Annotated[str, AfterValidator(_variable), PlainSerializer(_noted)]
"""Name of an environment variable of whoever deploys; see `deploy.documents`."""


class Smoke(Section):
    """The request that a release must answer before it is called good.

    Attributes:
        endpoint: Endpoint that is asked; left out, the plan's default or first one.
        within: Seconds that the address may need until it answers.
    """

    endpoint: str | None = None
    within: Duration = 120.0


class Shared(Section):
    """What the instances of a managed endpoint share.

    Attributes:
        mode: `live` where they share a database and a log, else `static`: the plan is frozen.
        database: Variable with the URL of the PostgreSQL database.
        log_store: URL of the folder of the prediction log, such as `s3://bucket/log`.
    """

    mode: Literal["live", "static"] = "static"
    database: Secret | None = None
    log_store: str | None = None

    def environ(self) -> dict[str, str]:
        """Returns the variables that tell a container; secrets by name."""
        found: dict[str, str] = {"SWITCHYARD_MODE": self.mode}
        if self.database is not None:
            found["SWITCHYARD_DATABASE_URL"] = f"${{{self.database}}}"
        if self.log_store is not None:
            found["SWITCHYARD_LOG_STORE"] = self.log_store
        return found

    @model_validator(mode="after")
    def _something_to_share(self) -> Shared:
        if self.mode == "live" and (self.database is None or self.log_store is None):
            raise wrong(
                "is 'live', which needs 'database' and 'log_store': instances that share neither "
                "would each move traffic by themselves",
                "mode",
            )
        return self


class Values(Section):
    """What all targets ask for.

    Attributes:
        name: Of what is deployed; resources are named after it.
        ready_within: Seconds that a release may take to become ready.
        smoke: The request that it must answer then.
    """

    name: DnsName = "switchyard"
    ready_within: Duration = 900.0
    smoke: Smoke = Setting(default_factory=Smoke)

    @property
    def asks_with(self) -> frozenset[str]:
        """Names of the variables with secrets that requests for a prediction show."""
        return frozenset()


class ImageValues(Values):
    """What targets ask for that run an image.

    Attributes:
        image: Image of the Bento, as the platform pulls it.
    """

    image: ImageRef


def secrets_of(values: Values) -> frozenset[str]:
    """Returns the names of the variables that values declare for secrets, used or not."""
    found: set[str] = set()
    values.model_dump(context=found)  # passes every secret to `_noted`
    return frozenset(found)


V = TypeVar("V", bound=Values)


def read_values(
    kind: type[V], files: Sequence[Path], changes: Iterable[str], image: str | None
) -> V:
    """Returns the values of a deployment.

    Args:
        kind: What the target asks for.
        files: YAML files; of two that set a key the later one counts.
        changes: `key=value`, keys below others as `key.key`; they count over all files.
        image: Image; it counts over everything.

    Raises:
        ValuesError: A file cannot be read, a key is unknown or missing, or a value is of the wrong
            kind; one sentence names file, line and key.
    """
    merged: dict[str, Any] = {}
    lines: list[tuple[Path, Any, Lines]] = []
    for path in files:
        try:
            value, known = read(path)
        except YamlProblem as error:
            raise ValuesError(str(error)) from error
        if value is not None and not isinstance(value, dict):
            raise ValuesError(f"{path}, line 1: values must be a mapping of keys.")
        lines.append((path, value or {}, known))
        merged = _merge(merged, value or {})
    given: dict[str, Any] = {}
    for change in changes:
        given = _merge(given, _change(change))
    if image is not None:
        given = _merge(given, {"image": image})
    try:
        return kind.model_validate(_merge(merged, given))
    except ValidationError as error:
        raise ValuesError(_sentence(error, lines, given)) from error


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Returns two mappings as one, in which the second counts."""
    out = dict(first)
    for key, value in second.items():
        before = out.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        out[key] = _merge(before, value) if both else value  # type: ignore[arg-type]
    return out


def _change(text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    key, equals, value = text.partition("=")
    places = key.split(".")
    if not equals or not all(places):
        raise ValuesError(f"--set takes key=value, such as --set name=flights; it was {text!r}.")
    try:
        found: Any = YAML(typ="safe", pure=True).load(value) if value else ""
    except YAMLError:
        raise ValuesError(f"The value of --set {key} is no YAML; put it in quotes.") from None
    for place in reversed(places):
        found = {place: found}
    return dict(found)


def _sentence(
    error: ValidationError, files: Sequence[tuple[Path, Any, Lines]], given: Mapping[str, Any]
) -> str:
    """Returns what is wrong, and where that was written."""
    first = error.errors()[0]
    place = (*first["loc"], *first.get("ctx", {}).get("place", ()))
    if first["type"] == "missing" and len(place) == 1:
        return (
            f"The values need the key {place[0]!r}; write it into a file (-f), or say it by "
            f"--set {place[0]}=..."
        )
    said = problem(error)
    by_hand = _held(given, place)
    in_files = max((_held(value, place) for _, value, _ in files), default=0)
    if in_files > by_hand:
        found = [each for each in files if _held(each[1], place) == in_files]
        path, _, lines = found[-1]  # of two files the later one counts
        return f"{path}, line {lines(place)}: {said}."
    return f"On the command line: {said}." if by_hand else f"The values do not fit: {said}."


def _held(value: Any, place: Sequence[Any]) -> int:
    """Returns how many of the keys that lead to a place are there."""
    for known, key in enumerate(place):
        in_list = isinstance(value, list) and isinstance(key, int) and key < len(value)
        if not in_list and not (isinstance(value, Mapping) and key in value):
            return known
        value = value[key]
    return len(place)
