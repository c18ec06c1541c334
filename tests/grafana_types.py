"""Holds dashboards against Grafana's own types: grafana-foundation-sdk, made from its schema."""

from __future__ import annotations

import enum
import json
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

PLAIN = (str, int, float, bool)


def problems(dashboard: dict[str, Any]) -> list[str]:
    """What Grafana's types do not know of a dashboard, and what they know to be of another type."""
    register_default_plugins()
    read = Dashboard.from_json(dashboard)
    again = json.loads(json.dumps(read, cls=JSONEncoder))
    return [*_lost(dashboard, again, ""), *_misfits(read, Dashboard, "")]


def _lost(ours: Any, theirs: Any, at: str) -> Iterator[str]:
    """What is gone after a dashboard was read and written again: keys that nobody has heard of."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from _lost(value, theirs[key], f"{at}/{key}")
            else:
                yield f"{at}/{key} is unknown"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from _lost(our, their, f"{at}/{index}")
    elif ours != theirs:
        yield f"{at} becomes {theirs!r}"


def _misfits(value: Any, hint: Any, at: str) -> Iterator[str]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        choices = [one for one in arguments if one is not types.NoneType]
        if value is not None or len(choices) == len(arguments):
            yield from min((list(_misfits(value, one, at)) for one in choices), key=len)
    elif origin is Literal:
        if value not in arguments:
            yield f"{at} is {value!r}, not one of {arguments}"
    elif origin in (list, dict) and not isinstance(value, origin):
        yield f"{at} is {value!r}, which is no {origin.__name__}"
    elif origin is list:
        for index, one in enumerate(value):
            yield from _misfits(one, arguments[0], f"{at}/{index}")
    elif origin is dict:
        for key, one in value.items():
            yield from _misfits(one, arguments[1], f"{at}/{key}")
    elif hint in PLAIN:
        accepted = (int, float) if hint is float else hint
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            yield f"{at} is {value!r}, which is no {hint.__name__}"
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in [one.value for one in hint]:
            yield f"{at} is {value!r}, which is no {hint.__name__}"
    elif hasattr(value, "to_json"):
        if isinstance(hint, type) and not isinstance(value, hint):
            yield f"{at} is a {type(value).__name__}, not a {hint.__name__}"
        for name, inner in get_type_hints(type(value)).items():
            yield from _misfits(getattr(value, name), inner, f"{at}/{name}")
    elif hint not in (Any, object):
        yield f"{at} is {value!r}, which is no {hint}"
