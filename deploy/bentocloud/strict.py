"""Refuses what BentoML would drop: keys of a deployment that its own schema does not know.

`bentoml deploy -f` reads a file without a word about a key that it does not know, so that a
misspelt `max_replicas` is one replica for ever. What is known is asked of BentoML's own classes.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any, Final, Union, get_args, get_origin

from deploy.errors import ValuesError
from switchyard.plan_problems import hint

__all__ = ["check"]

BESIDE: Final = ("cluster",)
"""Keys of a deployment file that are no part of the schema, and yet read."""


def check(deployment: Mapping[str, Any], what: str) -> None:
    """Refuses a deployment that BentoML would not take as it is.

    Args:
        deployment: Content of a deployment file.
        what: Says which one, in the sentence.

    Raises:
        ValuesError: A key is not known or missing, or a value of the wrong kind.
    """
    from bentoml._internal.cloud.schemas.schemasv2 import CreateDeploymentSchema

    content = {key: value for key, value in deployment.items() if key not in BESIDE}
    for problem in _problems(content, CreateDeploymentSchema, ()):
        raise ValuesError(f"{what}: {problem}.")


def _problems(value: Any, kind: Any, place: tuple[str, ...]) -> Iterator[str]:
    """Yields clauses on what does not fit, depth first."""
    import attr

    kind = _without_none(kind)
    origin, within = get_origin(kind), get_args(kind)
    where = ".".join(place) or "the deployment"
    if value is None or kind is Any:
        return
    if attr.has(kind):
        if not isinstance(value, Mapping):
            yield f"{where} must be a mapping of keys"
            return
        fields = attr.fields_dict(attr.resolve_types(kind))
        for key, field in fields.items():
            if field.default is attr.NOTHING and key not in value:
                yield f"{where} needs the key {key!r}"
        for key, each in value.items():
            if key not in fields:
                yield (
                    f"{'.'.join((*place, str(key)))} is an unknown key; "
                    f"{hint(key, tuple(fields), 'the keys here are')}"
                )
            else:
                yield from _problems(each, fields[key].type, (*place, str(key)))
    elif origin is list:
        if not isinstance(value, list | tuple):
            yield f"{where} must be a list"
            return
        for number, each in enumerate(value):
            yield from _problems(each, within[0], (*place, str(number)))
    elif origin is dict:
        if not isinstance(value, Mapping):
            yield f"{where} must be a mapping of keys"
            return
        for key, each in value.items():
            yield from _problems(each, within[1], (*place, str(key)))
    elif isinstance(kind, type) and not _is(value, kind):
        yield f"{where} is {value!r}, but must be {kind.__name__}"


def _without_none(kind: Any) -> Any:
    """Returns what is optional without its being so."""
    if get_origin(kind) in (Union, types.UnionType):
        others = [each for each in get_args(kind) if each is not type(None)]
        return others[0] if len(others) == 1 else Any
    return kind


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, kind)
