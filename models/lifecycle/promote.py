"""Promotion: a version takes the place that an alias names, if nothing speaks against it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from models import lock, registry, store
from models.lifecycle import fit
from models.lifecycle.gates import Facts, Verdict, judge
from models.lifecycle.swap import Move, Places, Progress, stay, swap
from models.lifecycle.verify import Report, verify
from models.manifest import Manifest
from models.registry import Tag
from switchyard.errors import (
    GateNotPassed,
    ModelRefused,
    NotFound,
    NotReady,
    Problem,
    PromotionRefused,
)
from switchyard.gates import VERIFIED, Rule
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["Moved", "fitting", "move", "moved", "promote", "recorded", "running"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Moved:
    """What has become of a promotion or rollback.

    Attributes:
        model: Name of the model.
        alias: Name of the alias.
        before: Version before, None for a new alias.
        version: Version now.
        changed: Whether the alias was moved; False if it was there already.
        action: `promote` or `rollback`.
        verdicts: What became of the gates.
        overruled: What spoke against it and was overruled by force.
        hosts: Workers of hosts that have the version loaded.
        routers: Workers of the router that send requests to it.
        behind: Workers that did not follow in time.
        failed: Workers of hosts that cannot load the version, each with the reason, in sentences.
        skipped: Deleted versions that a rollback went past.
    """

    model: str
    alias: str
    before: str | None
    version: str
    changed: bool
    action: str
    verdicts: tuple[Verdict, ...] = ()
    overruled: str | None = None
    hosts: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def is_followed(self) -> bool:
        """Whether every worker of a running serve is known to follow."""
        return not self.behind and not self.failed


def promote(
    model: str,
    version: str,
    *,
    plan: Plan,
    state: State,
    who: str,
    why: str,
    alias: str = "production",
    force: bool = False,
    progress: Progress = lambda words: None,
) -> Moved:
    """Moves an alias to a version, and returns when every worker of a running serve has followed.

    The version must fit the endpoints of the plan that name the alias, load in a clean process,
    pass the endpoints' gates, and be loaded by every host that serves the alias. A refusal is
    recorded in the history. Where the alias stands for the version already, nothing changes and
    nothing is checked, but the workers are waited for and reported all the same.

    Args:
        model: Name of the model.
        version: The version, or another alias that stands for it.
        plan: The plan.
        state: The state database.
        who: Who promotes it.
        why: The reason.
        alias: The alias; a new one is made. Its name is none of the model's versions.
        force: Whether gates that are not passed are overruled, which the history keeps. A version
            that does not fit or does not load is refused all the same.
        progress: Hears of each step.

    Raises:
        NotFound: No such version.
        InvalidInput: A name breaks the rule for names, or the alias is named like a version.
        GateNotPassed: A gate is not passed; `details` has all of them.
        PromotionRefused: The version does not fit or load, or a host did not load it.
        Conflict: Somebody else moved the alias meanwhile.
        NotReady: The state database does not answer, before the alias has moved.
    """
    registry.check_alias(model, alias)
    known = lock.aliases(state)
    tag = registry.find(f"{model}:{version}", known)
    before = known.get((model, alias))
    if before == tag.version:
        framework = store.manifest(model, before).framework
        same = Move(model, alias, before, before, framework, who, why, "promote")
        return moved(same, stay(state, same, progress))
    with recorded(state, alias, tag, who):
        manifest = fitting(plan, tag, alias, known)
        progress(f"checking {tag} in a clean process")
        report = running(tag)
        verdicts = _gates(plan, f"{model}:{alias}", report, manifest, before, progress)
        overruled = _passed(tag, alias, verdicts, force)
        change = Move(
            model, alias, before, tag.version, manifest.framework, who, why, "promote", overruled
        )
        places = move(change, plan, state, progress)
    return moved(change, places, tuple(verdicts))


@contextmanager
def recorded(state: State, alias: str, tag: Tag, who: str) -> Iterator[None]:
    """Records in the history why a version was refused; the refusal goes on to the caller."""
    try:
        yield
    except PromotionRefused as refusal:
        try:
            state.record_refusal(tag.name, alias, tag.version, who, refusal.message)
        except NotReady as error:
            logger.warning("%s The history does not have the refusal.", error.message)
        raise


def move(change: Move, plan: Plan, state: State, progress: Progress) -> Places:
    """Moves an alias as `models.lifecycle.swap.swap` does, if the version fits at that very moment.

    Raises:
        PromotionRefused: The version is gone by now, does not fit any more, or was not loaded.
        Conflict: Somebody else moved the alias meanwhile.
    """
    tag = Tag(change.model, change.version)

    def check(known: Mapping[tuple[str, str], str]) -> None:
        if not store.has(tag.name, tag.version):
            raise PromotionRefused(f"{tag} was deleted meanwhile.")
        fitting(plan, tag, change.alias, known)

    return swap(state, change, check, progress)


def moved(change: Move, places: Places, verdicts: tuple[Verdict, ...] = ()) -> Moved:
    """Returns what has become of a move, given who follows it."""
    return Moved(
        model=change.model,
        alias=change.alias,
        before=change.before,
        version=change.version,
        changed=change.before != change.version,
        action=change.action,
        verdicts=verdicts,
        overruled=change.overruled,
        hosts=places.hosts,
        routers=places.routers,
        behind=places.behind,
        failed=places.failed,
    )


def running(tag: Tag) -> Report:
    """Returns the check of a version that has its files, loads and answers.

    Raises:
        PromotionRefused: It does not.
    """
    report = verify(tag.name, tag.version)
    if not report.ok and (not report.mismatches or report.latency_seconds is None):
        raise PromotionRefused(str(report.problem))
    return report


def fitting(plan: Plan, tag: Tag, alias: str, known: Mapping[tuple[str, str], str]) -> Manifest:
    """Returns the manifest of a version that may answer where the plan names the alias.

    Raises:
        PromotionRefused: It does not fit, or a variant beside it has no version to compare with.
    """
    ref = f"{tag.name}:{alias}"
    before = _replaced(tag.name, known.get((tag.name, alias)))
    try:
        manifest = store.manifest(tag.name, tag.version)
        misfit = fit.misfit(plan, ref, manifest, known)
    except (ModelRefused, NotFound) as error:
        raise PromotionRefused(error.message) from error
    if before is not None and fit.endpoints(plan, ref) and before.framework != manifest.framework:
        raise PromotionRefused(
            f"{tag} runs on {manifest.framework}, and the version that it would replace on "
            f"{before.framework}; bring it as a variant of its own."
        )
    if misfit is not None:
        raise PromotionRefused(f"{misfit}; bring it as a model of its own.")
    return manifest


def _gates(
    plan: Plan,
    ref: str,
    report: Report,
    manifest: Manifest,
    before: str | None,
    progress: Progress,
) -> list[Verdict]:
    """Judges a version by the gates of all endpoints that it is to answer for."""
    given = (rule for name in fit.endpoints(plan, ref) for rule in plan.endpoints[name].gates)
    rules: list[Rule] = list(dict.fromkeys([VERIFIED, *given]))
    name = ref.partition(":")[0]
    new = Facts(report.tag, manifest.metrics, report.latency_seconds, report.ok)
    replaced = _replaced(name, before)
    if before is None or replaced is None:
        return judge(rules, new, None)
    latency = None
    if any(rule.relative and rule.measure == "latency" for rule in rules):
        progress(f"timing {name}:{before}, the current version")
        latency = verify(name, before).latency_seconds
    return judge(rules, new, Facts(f"{name}:{before}", replaced.metrics, latency))


def _replaced(model: str, version: str | None) -> Manifest | None:
    """Returns the manifest of the current version; one that is gone or damaged counts as none."""
    if version is None:
        return None
    try:
        return store.manifest(model, version)
    except (NotFound, ModelRefused):
        return None


def _passed(tag: Tag, alias: str, verdicts: list[Verdict], force: bool) -> str | None:
    """Returns what is overruled by force.

    Raises:
        GateNotPassed: There is something to overrule and no force.
    """
    against = "; ".join(verdict.says for verdict in verdicts if not verdict.passed)
    if against and not force:
        raise GateNotPassed(
            f"{tag} may not become {alias!r}. {against}.",
            [Problem(verdict.says, field=verdict.rule) for verdict in verdicts],
        )
    return against or None
