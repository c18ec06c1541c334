"""Which model versions the processes of a serve hold: pure rules over what all of them observe.

A version comes before it is used and goes after: hosts load what an alias stands for, or may soon
stand for, beside what routers still send to; a router sends to a version once every host worker
that could get the batch has it warm.
"""

from __future__ import annotations

from collections.abc import Iterable

from models import registry
from switchyard.errors import NotFound
from switchyard.records import ROUTER, Observed, Worker

__all__ = ["is_held", "present", "wanted"]


def present(ref: str, seen: Observed) -> str | None:
    """Returns the tag that a reference of the plan stands for, None if it stands for none."""
    try:
        return str(registry.find(ref, seen.aliases))
    except NotFound:
        return None


def wanted(refs: Iterable[str], seen: Observed) -> set[str]:
    """Returns the tags that a host which serves these references should hold.

    Args:
        refs: References of the plan, `name:alias` or `name:version`.
        seen: What is observed.
    """
    refs = set(refs)
    names = {ref.partition(":")[0] for ref in refs}
    tags = {tag for ref in refs if (tag := present(ref, seen)) is not None}
    tags |= {f"{c.model}:{c.version}" for c in seen.candidates if f"{c.model}:{c.alias}" in refs}
    tags |= {canary.tag for canary in seen.canaries.values() if canary.ref in refs}
    routers = (w for w in seen.workers if w.service == ROUTER and not refs.isdisjoint(w.refs))
    in_use = (tag for router in routers for tag in router.holds)
    return tags | {tag for tag in in_use if tag.partition(":")[0] in names}


def is_held(ref: str, tag: str, framework: str, workers: Iterable[Worker]) -> bool:
    """Tells whether every host worker that serves a reference has a version loaded and warm.

    True where no worker says that it serves the reference: hosts that share no state database.
    """
    return all(
        tag in worker.holds
        for worker in workers
        if worker.service == framework and ref in worker.refs
    )
