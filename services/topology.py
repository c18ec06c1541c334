"""What one serve consists of: the plan's endpoints with their variants bound to model versions.

Every process of a serve builds this for itself, from the same plan, aliases and manifests. Where an
alias moves while they do, they agree again as soon as each has looked at the state database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from models import lock, store
from models.manifest import Manifest
from models.registry import Tag, find
from models.schema import Schema, union
from services.drift_plan import check_drift
from switchyard.errors import PlanError
from switchyard.plan import Endpoint, Framework, Plan
from switchyard.plan_problems import hint
from switchyard.state import State

__all__ = [
    "HOST_NAMES",
    "ROUTER_NAME",
    "EndpointSpec",
    "VariantSpec",
    "bind",
    "frameworks",
    "references",
    "resolve",
]

ROUTER_NAME: Final = "Router"
HOST_NAMES: Final[dict[Framework, str]] = {
    "sklearn": "SklearnHost",
    "torch": "TorchHost",
    "tensorflow": "TensorFlowHost",
    "onnx": "OnnxHost",
}
"""Framework to the name of its service."""

_KEY_TYPES: Final = ("category", "text", "int", "bool")
"""Types of fields that a sticky key can be read from: their values are equal or not, never near."""


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """A variant bound to a model version.

    Attributes:
        name: Name in the plan.
        ref: What the plan binds it to, `model:alias` or `model:version`.
        model: Model name.
        version: Version in the store.
        manifest: What that version is.
    """

    name: str
    ref: str
    model: str
    version: str
    manifest: Manifest

    @property
    def tag(self) -> str:
        """`model:version`, as answers and logs name it."""
        return f"{self.model}:{self.version}"


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint with all it needs to be served.

    Attributes:
        name: Name in the plan.
        settings: Its section of the plan.
        variants: Its variants by name.
        schema: The union of their schemas.
        task: The task they share.
        classes: The labels they share; None for regression.
    """

    name: str
    settings: Endpoint
    variants: dict[str, VariantSpec]
    schema: Schema
    task: str
    classes: tuple[int | str, ...] | None


def resolve(plan: Plan, state: State) -> dict[str, EndpointSpec]:
    """Binds every variant of the plan to the version of its model that its alias stands for now.

    Raises:
        NotFound: A model, version or alias that the plan names is not there.
        PlanError: The variants of an endpoint do not fit together.
    """
    known = lock.aliases(state)
    specs = {
        name: bind(
            name, settings, {v: find(bound.model, known) for v, bound in settings.variants.items()}
        )
        for name, settings in plan.endpoints.items()
    }
    for name, spec in specs.items():
        for key, fields in (("redact", spec.settings.redact), ("drop", spec.settings.drop)):
            _check_hidden(name, key, fields, spec.schema)
        check_drift(name, spec.settings.drift, spec.schema)
    return specs


def bind(name: str, settings: Endpoint, tags: Mapping[str, Tag]) -> EndpointSpec:
    """Binds the variants of an endpoint to versions.

    Args:
        name: Of the endpoint.
        settings: Its section of the plan.
        tags: Version of each variant, also of the canary where there is one.

    Raises:
        NotFound: A version is not in the store.
        PlanError: The variants do not fit together.
    """
    variants = {}
    for variant, tag in tags.items():
        bound = settings.variants.get(variant)
        ref = str(tag) if bound is None else bound.model  # a canary stands for one version alone
        manifest = store.manifest(tag.name, tag.version)
        variants[variant] = VariantSpec(variant, ref, tag.name, tag.version, manifest)
    manifests = [spec.manifest for spec in variants.values()]
    first = manifests[0]
    if any((m.task, m.classes) != (first.task, first.classes) for m in manifests):
        raise PlanError(
            f"The variants of endpoint {name!r} do not answer the same question: their models "
            "differ in task or classes."
        )
    try:
        schema = union([manifest.fields for manifest in manifests])
    except ValueError as error:
        raise PlanError(
            f"The variants of endpoint {name!r} do not fit together: {error}."
        ) from None
    _check_key_field(name, settings.key_field, schema)
    return EndpointSpec(name, settings, variants, schema, first.task, first.classes)


def _check_key_field(endpoint: str, name: str | None, schema: Schema) -> None:
    """Raises PlanError unless the sticky key can be read from the field, if there is one."""
    if name is None:
        return
    fit = [field.name for field in schema if field.type in _KEY_TYPES]
    if name in fit:
        return
    field = schema.by_name.get(name)
    what = "is no field of it" if field is None else f"is of type {field.type}"
    choice = ", ".join(fit) or "no field of this endpoint"
    raise PlanError(
        f"The key_field of endpoint {endpoint!r} is {name!r}, which {what}; a sticky key can be "
        f"read from {choice}."
    )


def _check_hidden(endpoint: str, key: str, fields: Iterable[str], schema: Schema) -> None:
    """Raises PlanError unless what is not to be stored are fields: a misspelt one would be."""
    for name in fields:
        if name in schema.names:
            continue
        from monitoring.log.rows import (  # where all is well, a host needs no pyarrow here
            FIRST,
            LAST,
        )

        what = f"is no field of it; {hint(name, schema.names, 'its fields are')}"
        if name in FIRST or name in LAST:
            what = "is a column of the log itself; only fields of the endpoint can be left out"
        raise PlanError(f"The {key} list of endpoint {endpoint!r} names {name!r}, which {what}.")


def frameworks(specs: Iterable[EndpointSpec]) -> tuple[Framework, ...]:
    """Returns the frameworks that these endpoints need, sorted."""
    return tuple(sorted({v.manifest.framework for spec in specs for v in spec.variants.values()}))


def references(specs: Iterable[EndpointSpec], framework: str) -> dict[str, VariantSpec]:
    """Returns what a framework's host serves, by the plan's references (`name:alias`)."""
    found = (v for spec in specs for v in spec.variants.values())
    return {v.ref: v for v in found if v.manifest.framework == framework}
