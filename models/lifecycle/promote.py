"""Promotion: a version takes the place that an alias names, if nothing speaks against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models import lock, registry, store
from models.lifecycle import fit
from models.lifecycle.gates import Facts, Verdict, judge
from models.lifecycle.swap import Limits, Move, Places, Progress, swap
from models.lifecycle.verify import Report, verify
from models.manifest import Manifest
from models.registry import Tag
from switchyard.errors import GateNotPassed, ModelRefused, NotFound, Problem, PromotionRefused
from switchyard.gates import VERIFIED, Rule
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["Moved", "move", "promote"]


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
        behind: Workers of the router that did not follow in time.
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
    skipped: tuple[str, ...] = ()


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
    limits: Limits | None = None,
) -> Moved:
    """Moves an alias to a version, and returns when every worker of a running serve has followed.

    The version must fit the endpoints of the plan that name the alias, load in a clean process,
    pass the endpoints' gates, and be loaded by every host that serves the alias. A refusal is
    recorded in the history.

    Args:
        model: Name of the model.
        version: The version, or another alias that stands for it.
        plan: The plan.
        state: The state database.
        who: Who promotes it.
        why: The reason.
        alias: The alias; a new one is made.
        force: Whether gates that are not passed are overruled, which the history keeps. A version
            that does not fit or does not load is refused all the same.
        progress: Hears of each step.
        limits: How long the swap may take.

    Raises:
        NotFound: No such version.
        InvalidInput: A name breaks the rule for names.
        GateNotPassed: A gate is not passed; `details` has all of them.
        PromotionRefused: The version does not fit or load, or a host did not load it.
        Conflict: Somebody else moved the alias meanwhile.
    """
    store.check_word("alias", alias)
    known = lock.aliases(state)
    tag = registry.find(f"{model}:{version}", known)
    before = known.get((model, alias))
    if before == tag.version:
        return Moved(model, alias, before, before, changed=False, action="promote")
    try:
        manifest = _fitting(plan, tag, alias, known)
        progress(f"checking {tag} in a clean process")
        report = running(tag)
        verdicts = _gates(plan, f"{model}:{alias}", report, manifest, before, progress)
        overruled = _passed(tag, alias, verdicts, force)
        change = Move(
            model, alias, before, tag.version, manifest.framework, who, why, "promote", overruled
        )
        places = move(change, plan, state, progress, limits)
    except PromotionRefused as error:
        state.record_refusal(model, alias, tag.version, who, error.message)
        raise
    return moved(change, places, tuple(verdicts))


def move(
    change: Move, plan: Plan, state: State, progress: Progress, limits: Limits | None
) -> Places:
    """Moves an alias as `models.lifecycle.swap.swap` does, if the version fits at that very moment.

    Raises:
        PromotionRefused: The version is gone by now, does not fit any more, or was not loaded.
        Conflict: Somebody else moved the alias meanwhile.
    """
    tag = Tag(change.model, change.version)

    def check(known: Mapping[tuple[str, str], str]) -> None:
        if not store.has(tag.name, tag.version):
            raise PromotionRefused(f"{tag} was deleted meanwhile.")
        _fitting(plan, tag, change.alias, known)

    return swap(state, change, check, progress, limits)


def moved(change: Move, places: Places, verdicts: tuple[Verdict, ...] = ()) -> Moved:
    """Returns what has become of a move that was done."""
    return Moved(
        model=change.model,
        alias=change.alias,
        before=change.before,
        version=change.version,
        changed=True,
        action=change.action,
        verdicts=verdicts,
        overruled=change.overruled,
        hosts=places.hosts,
        routers=places.routers,
        behind=places.behind,
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


def _fitting(plan: Plan, tag: Tag, alias: str, known: Mapping[tuple[str, str], str]) -> Manifest:
    """Returns the manifest of a version that may answer where the plan names the alias.

    Raises:
        PromotionRefused: It does not fit.
    """
    ref = f"{tag.name}:{alias}"
    before = _replaced(tag.name, known.get((tag.name, alias)))
    try:
        manifest = store.manifest(tag.name, tag.version)
        misfit = fit.misfit(plan, ref, manifest, known)
    except ModelRefused as error:
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
