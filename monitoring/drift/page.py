"""The HTML report: our verdict in plain words on top, Evidently's pictures below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import starmap
from typing import Final

from monitoring.drift.field_verdict import FieldVerdict, LabelShare
from monitoring.drift.verdict import Part, Performance, Verdict

__all__ = ["moved", "number", "page", "share"]

_STYLE: Final = """
<style>
.switchyard { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
  max-width: 1600px; margin: 0 auto; padding: 24px; }
.switchyard h1 { font-size: 24px; margin: 0 0 8px; } .switchyard h2 { font-size: 18px; }
.switchyard table { border-collapse: collapse; display: block; overflow-x: auto;
  font-size: 13px; }
.switchyard th, .switchyard td { text-align: left; padding: 3px 10px 3px 0; white-space: nowrap;
  border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
.switchyard td:last-child { white-space: normal; min-width: 200px; }
.switchyard .drift { color: #a40000; font-weight: 600; } .switchyard .steady { color: #1a6b1a; }
.switchyard .unknown, .switchyard .aside { color: #666; }
</style>
"""

_COLUMNS: Final = (
    *("column", "verdict", "judged by", "score", "threshold", "p"),
    *("mean, or labels that moved most", "shift (sd)", "sd", "missing", "outside", "rows", "why"),
)
_ASIDE: Final = (
    *("column", "KS", "PSI", "Wasserstein (sd)", "Jensen-Shannon", "chi-square"),
    *("PSI by 0.1 / 0.2", "degrees of freedom", "chi-square p", "KS p", "Evidently's value"),
)
_SKILL: Final = (
    *("variant", "verdict", "rows", "skill", "lost at", "p", "accuracy", "constant answer"),
    *("AUC", "log loss", "of base rate", "calibration error", "mean error", "why"),
)

_LABELS: Final = 3
"""Labels that are shown of a column."""

_BARE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="UTF-8"><title>Drift</title></head><body></body></html>
"""


def page(verdict: Verdict, evidently: str | None) -> str:
    """Returns the report of a window.

    Args:
        verdict: What it says.
        evidently: Evidently's page; None where it has nothing to show.
    """
    below = evidently or _BARE
    head, body, rest = below.partition("<body>")
    ours = (*_top(verdict), *([] if evidently is None else _EVIDENTLY))
    return "".join((head, body, _STYLE, '<div class="switchyard">', *ours, "</div>", rest))


def number(value: float | None) -> str:
    """Returns a figure as people read it, empty where there is none."""
    return "" if value is None else f"{value:.4g}"


def share(value: float | None) -> str:
    """Returns a share as people read it, empty where there is none."""
    return "" if value is None else f"{value:.2%}"


def moved(label: LabelShare) -> str:
    """Returns how often a label came, and how often it did, as people read it."""
    return f"{label.label} {label.share:.1%} (was {label.reference:.1%})"


def _top(verdict: Verdict) -> Iterator[str]:
    since, until = (moment[:19].replace("T", " ") for moment in (verdict.since, verdict.until))
    only = "" if verdict.variant is None else f", variant {verdict.variant} only"
    yield f"<h1>Drift of {escape(verdict.endpoint)}: {_status(verdict.status)}</h1>"
    yield f"<p><b>{escape(verdict.summary, quote=False)}</b></p>"
    yield _line(
        f"{verdict.rows:,} rows from {since} to {until} UTC ({verdict.time}){only}; "
        f"made {verdict.created[:19].replace('T', ' ')} UTC."
    )
    if (reference := verdict.reference) is not None:
        yield _line(
            f"Compared with {reference.model} of variant {reference.variant}: {reference.rows:,} "
            f"rows. {_NULLS[reference.null]}"
        )
    yield from (_line(note) for note in verdict.notes)
    yield f"<h2>Data: {_status(verdict.data.status)}</h2>"
    yield _line(f"{verdict.data.why}{_control(verdict.data)}")
    yield _table(_COLUMNS, map(_field, verdict.data.fields))
    for part in verdict.predictions:
        yield f"<h2>Predictions of {escape(part.variant)}: {_status(part.status)}</h2>"
        yield _line(f"{part.rows:,} answers of {part.model}. {part.why}{_control(part)}")
        yield _table(_COLUMNS, map(_field, part.fields))
    if (target := verdict.target) is not None:
        yield f"<h2>True answers: {_status(target.status)}</h2>"
        yield _line(
            f"{target.why} This decides nothing: the truth may move by itself.{_control(target)}"
        )
        yield _table(_COLUMNS, map(_field, target.fields))
    if verdict.performance:
        yield "<h2>Performance</h2>"
        yield _line(
            "Skill is 1 - log loss / log loss of the base rate (in a regression 1 - squared error "
            "/ variance). Its loss alarms; accuracy rises and falls with the base rate."
            + next((said for part in verdict.performance if (said := _control(part))), "")
        )
        yield _table(_SKILL, map(_skill, verdict.performance))
    every = [(each.field, each) for each in verdict.data.fields]
    for part in verdict.predictions:
        every += [(f"{each.field} of {part.variant} ({part.model})", each) for each in part.fields]
    if scored := [(name, each) for name, each in every if each.score is not None]:
        yield "<h2>All scores, and the customary figures</h2>"
        yield _line(
            "The customary figures take rows for independent of each other, so they alarm on "
            "every day's weather. They decide nothing here; neither does Evidently's value."
        )
        yield _table(_ASIDE, starmap(_aside, scored))
        seconds = [each.evidently for _, each in scored if each.evidently]
        notes = {second.method: second.note for second in seconds}
        yield from (_line(f"Evidently's {name}: {note}") for name, note in notes.items())


def _control(part: Part) -> str:
    return f" Control of false alarms: {part.control}." if part.control else ""


_NULLS: Final = {
    "contiguous": "Thresholds are quantiles of its own windows in time order, of the size judged.",
    "iid": "It has no time, so rows are taken for independent: expect more alarms than the level.",
}


def _field(field: FieldVerdict) -> Sequence[str]:
    missing = field.missing
    return (
        escape(field.field),
        _status(field.status),
        field.method or "",
        number(field.score),
        number(field.threshold) + (" (plan)" if field.threshold_from == "plan" else ""),
        number(field.p_value) if field.threshold_from == "null" else "",
        "<br>".join(escape(moved(each)) for each in field.labels[:_LABELS])
        or _was(number(field.mean), number(field.reference_mean)),
        "" if field.mean_shift is None else f"{field.mean_shift:+.2f}",
        _was(number(field.deviation), number(field.reference_deviation)),
        _was(share(missing.share), share(missing.reference)) if missing else "",
        share(field.outside),
        f"{field.rows:,}",
        escape(field.why),
    )


def _was(now: str, before: str) -> str:
    return f"{now} (was {before})" if now and before else now


def _aside(name: str, field: FieldVerdict) -> Sequence[str]:
    scores, usual = field.scores, field.customary
    return (
        escape(name),
        number(scores.ks),
        number(scores.psi),
        number(scores.wasserstein),
        number(scores.js),
        number(scores.chi2),
        usual.psi or "",
        "" if usual.chi2_freedom is None else str(usual.chi2_freedom),
        number(usual.chi2_p),
        number(usual.ks_p),
        f"{number(field.evidently.score)} ({field.evidently.method})" if field.evidently else "",
    )


def _skill(part: Performance) -> Sequence[str]:
    return (
        escape(f"{part.variant} ({part.model})"),
        _status(part.status),
        f"{part.rows:,}",
        number(part.skill),
        number(part.threshold),
        number(part.p_value),
        share(part.accuracy),
        share(part.constant_accuracy),
        number(part.auc),
        number(part.log_loss),
        number(part.base_log_loss),
        number(part.calibration_error),
        number(part.absolute_error),
        escape(part.why),
    )


def _status(status: str) -> str:
    return f'<span class="{status}">{_WORDS[status]}</span>'


_WORDS: Final = {"drift": "drift", "steady": "no drift", "unknown": "not judged"}


def _line(text: str) -> str:
    return f'<p class="aside">{escape(text, quote=False)}</p>'


_EVIDENTLY: Final = (
    "<h2>Evidently's report</h2>",
    _line("Its thresholds are customary ones. What it calls drift decides nothing here."),
)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; cells are HTML already."""
    cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    if not cells:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
