"""What stands on Azure otherwise than it was sent, a sentence each; nothing here asks Azure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from deploy.azureml.traffic import Split, shown

__all__ = ["autoscale", "deployment", "endpoint", "traffic"]

_SECRET: Final = re.compile(r"\$\{[A-Z][A-Z0-9_]*\}")

ITS_OWN: Final = ("AZUREML_", "AML_", "AZUREML-")
"""Begins the names of variables that Azure adds by itself."""

SETTINGS: Final = ("request_settings", "liveness_probe", "readiness_probe")


def endpoint(sent: Any, there: Any) -> list[str]:
    """Returns the differences of an endpoint, but for its traffic.

    Args:
        sent: As `load_online_endpoint` reads it.
        there: As Azure answers.
    """
    found = []
    for key in ("auth_mode", "public_network_access"):
        was, is_ = _word(getattr(sent, key)), _word(getattr(there, key))
        if was != is_:
            found.append(f"{key} of the endpoint {sent.name} is {is_!r}, but was sent as {was!r}.")
    if _identities(sent) != _identities(there):
        found.append(
            f"The identity of the endpoint {sent.name} is {_identities(there)}, but was sent as "
            f"{_identities(sent)}."
        )
    return found


def deployment(sent: Any, there: Any, scales: bool) -> list[str]:
    """Returns the differences of a deployment.

    Args:
        sent: As `load_online_deployment` reads it; secrets by name are not compared.
        there: As Azure answers.
        scales: Whether Azure changes the number of its instances by itself.
    """
    return [
        f"{clause[0]} of the deployment {sent.name} {clause[1]}."
        for clause in _clauses(sent, there, scales)
    ]


def traffic(sent: Mapping[str, Any], now: Split) -> list[str]:
    """Returns the difference of the traffic, if there is one.

    Args:
        sent: The document with the traffic.
        now: The present state.
    """
    wanted = Split.of(sent["traffic"], None)
    if now == wanted:
        return []
    return [
        f"The traffic of {sent['name']} was changed by hand: it is {shown(now)}, but was sent as "
        f"{shown(wanted)}."
    ]


def autoscale(sent: Mapping[str, Any], there: Mapping[str, Any] | None) -> list[str]:
    """Returns the differences of an autoscale setting."""
    name = sent["name"]
    if there is None:
        return [f"The autoscale setting {name} is gone."]
    return [
        f"{key} of the autoscale setting {name} was changed by hand."
        for key, value in sent["properties"].items()
        if not _holds(there.get("properties", {}).get(key), value)
    ]


def _clauses(sent: Any, there: Any, scales: bool) -> Iterator[tuple[str, str]]:
    if _word(sent.instance_type) != _word(there.instance_type):
        yield "instance_type", f"is {there.instance_type}, but was sent as {sent.instance_type}"
    if not scales and sent.instance_count != there.instance_count:
        yield "instance_count", f"is {there.instance_count}, but was sent as {sent.instance_count}"
    for key in SETTINGS:
        for name, value in vars(getattr(sent, key)).items():
            now = getattr(getattr(there, key), name, None)
            if value is not None and now != value:
                yield f"{key}.{name}", f"is {now}, but was sent as {value}"
    was, is_ = sent.environment_variables, there.environment_variables or {}
    for name, value in was.items():
        # Values may be what nobody is to read, so they are compared and never shown.
        if name not in is_:
            yield f"The variable {name}", "is gone"
        elif not _SECRET.search(value) and is_[name] != value:
            yield f"The variable {name}", "was changed by hand"
    for name in sorted(set(is_) - set(was)):
        if not name.startswith(ITS_OWN):
            yield f"The variable {name}", "was added by hand"
    if _version(sent.environment) != _version(there.environment):
        yield "The environment (image and routes)", "was changed by hand"
    if bool(sent.data_collector) != bool(there.data_collector):
        yield "data_collector", f"is {'on' if there.data_collector else 'off'}"


def _version(environment: Any) -> str:
    """Returns the version of an environment, which is a digest of it, of an object or of an id."""
    text = environment if isinstance(environment, str) else str(environment.version)
    return text.rpartition("/versions/")[2].rpartition(":")[2]


def _identities(held: Any) -> str:
    found = getattr(held.identity, "user_assigned_identities", None) or ()
    return ", ".join(sorted(str(each.resource_id).lower() for each in found)) or "its own"


def _word(value: Any) -> str:
    return str(getattr(value, "value", value) or "").lower()


def _holds(there: Any, sent: Any) -> bool:
    """Returns whether all that was sent stands in what is there, which may hold more."""
    if isinstance(sent, Mapping):
        return isinstance(there, Mapping) and all(_holds(there.get(k), v) for k, v in sent.items())
    if isinstance(sent, list):
        return isinstance(there, list) and len(there) == len(sent) and all(map(_holds, there, sent))
    return str(there).lower() == str(sent).lower()
