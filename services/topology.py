"""What one serve consists of: the plan's endpoints with their variants bound to model versions.

Every process of a serve builds this for itself, from the same plan, aliases and manifests, and
comes to the same result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

from models import registry, store
from models.manifest import Manifest
from models.schema import Schema, union
from switchyard.errors import PlanError
from switchyard.plan import Endpoint, Framework, Plan
from switchyard.state import State

__all__ = ["EndpointSpec", "VariantSpec", "frameworks", "resolve", "versions"]


PINNED = "SWITCHYARD_PINNED"


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """A variant bound to a model version.

    Attributes:
        name: Name in the plan.
        model: Model name.
        version: Version in the store.
        manifest: What that version is.
    """

    name: str
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
    """Binds every variant of the plan to a version of its model.

    The first process of a serve resolves the aliases and leaves the versions to the processes that
    it starts, in `SWITCHYARD_PINNED`: a host that is started again after an alias has moved must
    load what its router asks for.

    Raises:
        NotFound: A model, version or alias that the plan names is not there.
        PlanError: The variants of an endpoint do not fit together.
    """
    left = json.loads(os.environ.get(PINNED, "{}"))
    mine = left.get("by", os.getpid()) == os.getpid()
    pins: dict[str, str] = {} if mine else left["versions"]
    specs = {name: _endpoint(name, e, state, pins) for name, e in plan.endpoints.items()}
    if mine:
        os.environ[PINNED] = json.dumps({"by": os.getpid(), "versions": pins})
    return specs


def _endpoint(name: str, settings: Endpoint, state: State, pins: dict[str, str]) -> EndpointSpec:
    variants = {}
    for variant, bound in settings.variants.items():
        pinned = pins.get(bound.model)
        if pinned is None or not store.has(*store.split(pinned)):
            pinned = pins[bound.model] = str(registry.resolve(bound.model, state))
        tag = registry.Tag(*store.split(pinned))
        manifest = store.manifest(tag.name, tag.version)
        variants[variant] = VariantSpec(variant, tag.name, tag.version, manifest)
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
    return EndpointSpec(name, settings, variants, schema, first.task, first.classes)


def frameworks(specs: Iterable[EndpointSpec]) -> tuple[Framework, ...]:
    """Returns the frameworks that these endpoints need, sorted."""
    return tuple(sorted({v.manifest.framework for spec in specs for v in spec.variants.values()}))


def versions(specs: Iterable[EndpointSpec], framework: str) -> dict[str, VariantSpec]:
    """Returns the model versions that a framework's host runs, by tag."""
    found = (v for spec in specs for v in spec.variants.values())
    return {v.tag: v for v in found if v.manifest.framework == framework}
