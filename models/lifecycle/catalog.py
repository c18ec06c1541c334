"""What is in the registry, who needs it, and how what nobody needs is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from models import lock, store
from models.registry import Tag
from models.store import Version
from switchyard.errors import Conflict, NotFound
from switchyard.plan import Plan
from switchyard.state import Canary, Candidate, Observed, State

__all__ = ["Uses", "aliases_of", "delete", "details", "listed", "summary", "uses", "version"]


@dataclass(frozen=True, slots=True)
class Uses:
    """Who needs a version.

    Attributes:
        aliases: Aliases that stand for it.
        variants: Variants of the plan that answer with it, as `endpoint/variant`.
        pinned: Those of them that name the version itself.
        candidates: Aliases that are about to move to it, or may by a canary.
        workers: Workers of running servers that hold it, by service and place.
    """

    aliases: tuple[str, ...]
    variants: tuple[str, ...]
    pinned: tuple[str, ...]
    candidates: tuple[str, ...]
    workers: tuple[str, ...]


def uses(tag: Tag, plan: Plan | None, observed: Observed) -> Uses:
    """Returns who needs a version.

    Args:
        tag: The version.
        plan: The plan, None where there is none.
        observed: What the state database holds.
    """
    aliases = aliases_of(tag, lock.effective(observed.aliases))
    refs = {f"{tag.name}:{alias}" for alias in aliases} | {str(tag)}
    endpoints = {} if plan is None else plan.endpoints
    bound = [
        (f"{name}/{variant}", settings.model)
        for name, endpoint in endpoints.items()
        for variant, settings in endpoint.variants.items()
    ]
    on_their_way: tuple[Candidate | Canary, ...] = (
        *observed.candidates,
        *observed.canaries.values(),
    )
    coming = (c for c in on_their_way if Tag(c.model, c.version) == tag)
    return Uses(
        aliases=aliases,
        variants=tuple(place for place, ref in bound if ref in refs),
        pinned=tuple(place for place, ref in bound if ref == str(tag)),
        candidates=tuple(sorted({candidate.alias for candidate in coming})),
        workers=tuple(w.title for w in observed.workers if str(tag) in w.holds),
    )


def delete(tag: Tag, plan: Plan | None, state: State) -> None:
    """Deletes a version that nobody needs; none can begin to need it meanwhile.

    Args:
        tag: The version.
        plan: The plan, None where there is none.
        state: The state database.

    Raises:
        NotFound: No such version is stored.
        Conflict: It is needed.
        InvalidInput: It came inside a Bento.
    """
    store.delete(tag.name, tag.version, permission=_unneeded(tag, plan, state))


@contextmanager
def _unneeded(tag: Tag, plan: Plan | None, state: State) -> Iterator[None]:
    """Keeps aliases and candidates as they are until nobody finds the version any more."""
    with state.turn() as observed:
        needed = uses(tag, plan, observed)
        if needed.aliases:
            why = f"the alias {needed.aliases[0]!r} stands for it; promote another version first"
        elif needed.candidates:
            why = f"the alias {needed.candidates[0]!r} is about to move to it"
        elif needed.pinned:
            why = f"the plan names it in {', '.join(needed.pinned)}; change the plan first"
        elif needed.workers:
            why = f"{', '.join(needed.workers)} still has it loaded; try again in a while"
        else:
            yield
            return
        raise Conflict(f"{tag} cannot be deleted: {why}.")


def version(tag: Tag) -> Version:
    """Returns a stored version.

    Raises:
        NotFound: No such version is stored.
        ModelRefused: Its manifest cannot be read.
    """
    folder = store.path(tag.name, tag.version)
    return Version(tag.name, tag.version, folder, store.manifest(tag.name, tag.version))


def aliases_of(tag: Tag, known: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
    """Returns the aliases that stand for a version, given all that are in force."""
    return tuple(
        alias
        for (name, alias), version in known.items()
        if (name, version) == (tag.name, tag.version)
    )


def listed(
    versions: Iterable[Version], say: Callable[[Version], dict[str, Any]]
) -> list[tuple[Version, dict[str, Any]]]:
    """Returns what is said of each version; one that is deleted meanwhile is left out.

    Args:
        versions: Versions of the store.
        say: `summary` or `details` of one.
    """
    found = []
    for version in versions:
        try:
            found.append((version, say(version)))
        except NotFound:
            continue
    return found


def summary(version: Version, known: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Returns what a list says of a version, as JSON takes it.

    Args:
        version: The version.
        known: The aliases in force, from `models.lock`.

    Raises:
        NotFound: The version is deleted meanwhile.
    """
    with _found(version):
        size = version.size_bytes
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(aliases_of(Tag(version.name, version.version), known)),
        "framework": version.manifest.framework,
        "task": version.manifest.task,
        "metrics": version.manifest.metrics,
        "created": version.created.isoformat(),
        "size_bytes": size,
    }


def details(version: Version, plan: Plan | None, observed: Observed) -> dict[str, Any]:
    """Returns all that is known of a version, as JSON takes it.

    Args:
        version: The version.
        plan: The plan, None where there is none.
        observed: What the state database holds.

    Raises:
        NotFound: The version is deleted meanwhile.
    """
    needed = uses(Tag(version.name, version.version), plan, observed)
    with _found(version):
        size, digest = version.size_bytes, version.digest
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(needed.aliases),
        "serves": {"variants": list(needed.variants), "workers": list(needed.workers)},
        "digest": digest,
        "path": str(version.path),
        "size_bytes": size,
        "manifest": version.manifest.model_dump(mode="json"),
    }


@contextmanager
def _found(version: Version) -> Iterator[None]:
    """Reads files of a version that may be deleted meanwhile.

    Raises:
        NotFound: It was, whatever was read of it.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{version.name}:{version.version} was deleted meanwhile.") from error
    store.path(version.name, version.version)
