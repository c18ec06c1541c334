"""The drift job: from a window of the log to the verdict, the HTML report and the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monitoring.drift import archive
from monitoring.drift.page import page
from monitoring.drift.parts import Groups, Judge
from monitoring.drift.presets import Preset, data_preset, performance_preset
from monitoring.drift.references import Model, References, find_model, references
from monitoring.drift.truth import join_truth
from monitoring.drift.verdict import Data, Performance, Predictions, Reference, Target, Verdict
from monitoring.drift.window import LEAD, Span, Window, end_of, last_before, read_window
from monitoring.feedback import open_joined
from switchyard.errors import InvalidInput
from switchyard.records import iso

if TYPE_CHECKING:
    from switchyard.plan import Endpoint, Plan
    from switchyard.plan_monitoring import Drift
    from switchyard.state import State

__all__ = ["Request", "run"]

TIME: Final = "event time where given, else arrival"


@dataclass(frozen=True, slots=True)
class Request:
    """What a report is to be about.

    Attributes:
        endpoint: Name of the endpoint.
        window: Length of the window; None for that of the plan.
        until: End of the window, which it does not hold; None for now.
        variant: The only variant to look at; None for all.
        html: Where the HTML report is written, too.
    """

    endpoint: str
    window: timedelta | None = None
    until: datetime | None = None
    variant: str | None = None
    html: Path | None = None

    def is_planned(self, drift: Drift) -> bool:
        """Whether it is the report that the plan asks for: of its window up to now, of all."""
        own = self.window is None or self.window.total_seconds() == drift.window
        return own and self.until is None and self.variant is None


def run(asked: Request, plan: Plan, state: State, home: Path, now: datetime) -> Verdict:
    """Makes a report: judges a window, writes both files and records the verdict.

    Args:
        asked: What it is about.
        plan: The plan.
        state: The state database.
        home: `$SWITCHYARD_HOME`.
        now: The time.

    Raises:
        InvalidInput: The window has no length, or reaches back to before 1970.
        NotFound: There is no such endpoint, variant or model.
        PlanError: The variants of the endpoint do not fit together.
        SwitchyardError: Evidently is not installed, or the report cannot be written.
    """
    endpoint = plan.endpoint(asked.endpoint)
    length = asked.window or timedelta(seconds=endpoint.drift.window)
    if asked.window is not None and asked.window <= timedelta(0):
        raise InvalidInput("A window of 0 holds nothing; give it a length, like 24h.")
    if (asked.until or now).timestamp() < length.total_seconds():
        raise InvalidInput("The window reaches back to before 1970; take a shorter one.")
    found = references(asked.endpoint, endpoint, state, asked.variant)
    folder = home / "log"
    if asked.until is None:
        span = end_of(folder, asked.endpoint, length, now)
    else:
        span = Span(asked.until - length, asked.until)
    with open_joined(folder, asked.endpoint, span.since - LEAD) as db:
        window = read_window(db, folder, asked.endpoint, found.schema, span, asked.variant)
        verdict, pages = _report(asked, endpoint, window, span, found, folder, now)
    saved = archive.save(home, verdict, pages, asked.html)
    state.add_drift_report(asked.endpoint, saved.model_dump(mode="json"))
    return saved


def _report(
    asked: Request,
    endpoint: Endpoint,
    window: Window,
    span: Span,
    found: References,
    folder: Path,
    now: datetime,
) -> tuple[Verdict, archive.Pages]:
    """Returns the verdict and the HTML pages."""
    groups = _groups(window)
    manifests = {model.tag: model.manifest for _, (_, model) in groups.items() if model is not None}
    with_truth = join_truth(window.db, manifests)
    profile = found.model.profile
    why = _obstacle(asked, endpoint, window, span, folder)
    if why is None and profile is None:
        why = _unprofiled(found.model)
    judge = Judge(endpoint, window, found, groups, data=why is None, truth=bool(with_truth))
    if profile is None or why is not None:
        data = Data(status="unknown", why=why or "", rows=window.judged)
    else:
        data = judge.data(profile)
    predictions, performance = judge.predictions(), judge.performance()
    target: Target | None = judge.target(with_truth) if with_truth else None
    presets = _presets(judge, window, found, data, with_truth)
    first, second = presets
    if first is not None:
        data = data.model_copy(
            update={
                "fields": tuple(
                    each.model_copy(update={"evidently": first.values.get(each.field)})
                    for each in data.fields
                )
            }
        )
    status, summary = _whole(data, (*predictions, *performance), target)
    verdict = Verdict(
        endpoint=asked.endpoint,
        variant=asked.variant,
        planned=asked.is_planned(endpoint.drift),
        created=iso(now),
        since=iso(span.since),
        until=iso(span.until),
        time=TIME,
        status=status,
        summary=summary,
        level=endpoint.drift.level,
        rows=window.rows,
        complete=window.judged == window.rows,
        reference=_reference(found),
        data=data,
        predictions=predictions,
        target=target,
        performance=performance,
        html="",
        notes=(
            *span.notes,
            *_notes(window),
            *(note for preset in presets if preset is not None for note in preset.notes),
        ),
    )
    return verdict, archive.Pages(
        lambda said: page(said, None if first is None else first.html),
        None if second is None else second.html,
    )


def _obstacle(
    asked: Request,
    endpoint: Endpoint,
    window: Window,
    span: Span,
    folder: Path,
) -> str | None:
    """Returns why the data cannot be judged at all, None if they can."""
    since, until = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (span.since, span.until))
    of = f"{asked.endpoint!r}" + ("" if asked.variant is None else f" by {asked.variant}")
    if not window.rows:
        last = last_before(folder, asked.endpoint, span.until)
        known = (
            "the log has none before its end."
            if last is None
            else f"the last one of the endpoint before its end is of {last:%Y-%m-%d %H:%M:%S}."
        )
        return f"No row of {of} lies between {since} and {until} UTC; {known}"
    minimum = endpoint.drift.minimum
    if window.judged < minimum:
        rows = "1 row" if window.rows == 1 else f"{window.rows:,} rows"
        return (
            f"Only {rows} of {of} lie{'s' if window.rows == 1 else ''} between {since} and {until} "
            f"UTC; at least {minimum:,} are needed ('minimum' of drift in the plan)."
        )
    return None


def _unprofiled(model: Model) -> str:
    return (
        f"{model.tag} has no reference profile: this version was stored before there were any. "
        "Train it or add it again (`switchyard train`, `switchyard models add`)."
    )


def _groups(window: Window) -> Groups:
    """Returns what has answered in the window."""
    found = window.db.execute(
        """
        SELECT variant, model, count(*) FROM judged WHERE ok
        GROUP BY variant, model ORDER BY variant, max(time) DESC, model
        """
    ).fetchall()
    models: dict[str, Model | None] = {}
    for _, tag, _ in found:
        if tag not in models:
            models[tag] = find_model(tag)
    return {(variant, tag): (rows, models[tag]) for variant, tag, rows in found}


def _presets(
    judge: Judge, window: Window, found: References, data: Data, with_truth: int
) -> tuple[Preset | None, Preset | None]:
    """Returns Evidently's reports of the data and of the performance of the reference's model."""
    model = found.model
    if not data.fields or model.profile is None:
        return None, None
    rows = judge.reader.rows(model, model.profile)
    fields = {each.field: each for each in data.fields}
    of_data = data_preset(window, found.schema, fields, rows.frame)
    if not with_truth:
        return of_data, None
    return of_data, performance_preset(window, found.variant, model, rows.frame)


def _reference(found: References) -> Reference | None:
    profile = found.model.profile
    if profile is None:
        return None
    return Reference(
        variant=found.variant, model=found.model.tag, rows=profile.rows, null=profile.label
    )


def _notes(window: Window) -> list[str]:
    """Returns what else must be known of the rows."""
    notes = []
    if window.judged < window.rows:
        notes.append(
            f"The window holds {window.rows:,} rows; a uniform sample of {window.judged:,} of "
            "them was judged."
        )
    changed = [name for name, parts in window.absent.items() if parts]
    if changed:
        notes.append(
            f"The schema changed within the window: part of the log has no {', '.join(changed)}; "
            "these fields are judged on the rest of it."
        )
    [(failed,)] = window.db.execute("SELECT count(*) FROM judged WHERE NOT ok").fetchall()
    if failed:
        notes.append(f"{failed:,} rows got no answer; they count in the data alone.")
    return notes


def _whole(
    data: Data, others: tuple[Predictions | Performance, ...], target: Target | None
) -> tuple[str, str]:
    """Returns the status of the whole, and the same in a sentence."""
    drifted = []
    if data.status == "drift":
        drifted.append("the data")
    drifted += [
        f"{'the skill' if isinstance(part, Performance) else 'the predictions'} of {part.variant}"
        for part in others
        if part.status == "drift"
    ]
    moved = target is not None and target.status == "drift"
    aside = " The true answers have drifted, which decides nothing." if moved else ""
    if drifted:
        named = f" {data.why}" if data.status == "drift" else ""
        return "drift", f"Drift found in {', '.join(drifted)}.{named}{aside}"
    if data.status == "unknown":
        return "unknown", data.why
    return "steady", f"No drift found. {data.why}{aside}"
