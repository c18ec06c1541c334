"""Whether a version can answer for a reference of the plan, beside the variants that are there."""

from __future__ import annotations

from collections.abc import Mapping

from models import registry, store
from models.manifest import Manifest
from models.schema import union
from switchyard.plan import Plan

__all__ = ["endpoints", "misfit", "says"]


def endpoints(plan: Plan, ref: str) -> tuple[str, ...]:
    """Returns the endpoints with a variant that names a reference.

    Args:
        plan: The plan.
        ref: `name:alias` or `name:version`, as the plan writes it.
    """
    return tuple(
        name
        for name, endpoint in plan.endpoints.items()
        if any(variant.model == ref for variant in endpoint.variants.values())
    )


def misfit(
    plan: Plan, ref: str, manifest: Manifest, known: Mapping[tuple[str, str], str]
) -> str | None:
    """Returns why a version cannot answer for a reference of the plan, None if it can.

    All variants of an endpoint share one task and one set of classes, and their fields must have a
    union (`models.schema.union`).

    Args:
        plan: The plan.
        ref: The reference, as the plan writes it.
        manifest: Of the version.
        known: The aliases in force, from `models.lock`.

    Returns:
        A sentence without its full stop.

    Raises:
        NotFound: A variant beside it has no version.
        ModelRefused: The manifest of one beside it cannot be read.
    """
    for name in endpoints(plan, ref):
        refs = [variant.model for variant in plan.endpoints[name].variants.values()]
        tags = [registry.find(other, known) for other in refs if other != ref]
        others = [store.manifest(tag.name, tag.version) for tag in tags]
        for other in others:
            if (other.task, other.classes) != (manifest.task, manifest.classes):
                return (
                    f"The endpoint {name!r} answers with {says(other)}, and this model has "
                    f"{says(manifest)}"
                )
        try:
            union([other.fields for other in others] + [manifest.fields])
        except ValueError as error:
            return (
                "The model does not fit beside the other variants of the endpoint "
                f"{name!r}: {error}"
            )
    return None


def says(manifest: Manifest) -> str:
    """Returns in words what a model answers with."""
    if manifest.classes is None:
        return "a number for its answer"
    return f"the classes {', '.join(map(str, manifest.classes))}"
