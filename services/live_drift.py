"""Live drift in a router: what it serves is counted by the bins of the models that it serves.

The reference of a field is the stable variant's model, or, for a field which that model does not
take, the first variant's that does. The predictions of a variant are compared with those of its own
model on its own reference.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from models.columns import Projection
from models.drift.profile import Profile, read
from monitoring.live.blocks import BlockCounter
from monitoring.live.book import Book
from monitoring.live.counter import Counter, Watched
from monitoring.live.sheets import Sheet, fields_sheet, prediction_sheet
from monitoring.live.slices import SteadyClock, slice_seconds
from monitoring.log.predictions import LoggedBatch, PredictionLog
from services.loops import beside
from services.topology import EndpointSpec, VariantSpec
from switchyard.errors import NotReady
from switchyard.state import State

__all__ = ["WRITE_SECONDS", "LiveDrift", "watched"]

logger = logging.getLogger("switchyard.router")

WRITE_SECONDS: Final = 2.0
"""Pause between two writes of the counts: about what a killed worker loses of them."""


class LiveDrift:
    """Logs batches, and counts what is logged; it belongs to the event loop.

    Args:
        log: The prediction log.
        state: The state database.
        worker: Id of this router worker.
    """

    def __init__(self, log: PredictionLog, state: State, worker: str) -> None:
        self._log = log
        self._state = state
        self._book = Book(worker)
        self._counter = Counter(self._book, SteadyClock())
        self._told: set[str] = set()
        self._away = False

    def watch(self, spec: EndpointSpec) -> None:
        """Counts the batches of an endpoint, as it is bound now, from now on; from any thread.

        Once is enough; it takes some tens of milliseconds then.
        """
        if self._counter.watches(spec.name, spec.schema):
            return
        profiles = {}
        for variant in spec.variants.values():
            profile = read(variant.manifest)
            if profile is not None:
                profiles[variant.name] = profile
            elif variant.tag not in self._told:
                self._told.add(variant.tag)
                logger.warning(
                    "There are no live drift scores by %s: this version has no reference profile; "
                    "train or add it again.",
                    variant.tag,
                )
        self._counter.watch(spec.name, watched(spec, profiles))

    def append(self, batch: LoggedBatch) -> None:
        """Logs a batch and counts it; never waits or raises."""
        self._log.append(batch)
        self._counter.append(batch)

    async def write(self) -> None:
        """Writes what was counted; until the database answers, it waits in memory."""
        self._counter.settle()
        news = self._book.news()
        if not news:
            return
        try:
            await beside(partial(self._state.count_drift, news.changed, news.gone))
        except NotReady as error:
            if not self._away:
                logger.warning("%s Drift is counted in memory meanwhile.", error.message)
            self._away = True
        else:
            self._book.written(news)
            self._away = False


def watched(spec: EndpointSpec, profiles: dict[str, Profile]) -> Watched:
    """Returns what is counted of an endpoint.

    Args:
        spec: The endpoint, bound to model versions.
        profiles: By variant, the profile of its model, of those that have one.
    """
    settings = spec.settings
    stable = spec.variants[settings.stable]
    others = [variant for variant in spec.variants.values() if variant is not stable]
    having = [variant for variant in (stable, *others) if variant.name in profiles]
    sheets: list[tuple[Sheet, Projection, BlockCounter]] = []
    # Of a quiet endpoint, counts of some seconds are as good as values: the hidden stay out.
    left_out = {*settings.drift.ignore, *settings.redact, *settings.drop}
    left = [name for name in spec.schema.names if name not in left_out]
    for variant in having:
        sheet = fields_sheet(variant.tag, profiles[variant.name], left)
        if sheet.bins:
            sheets.append(_counted(spec, variant, sheet))
        left = [name for name in left if name not in sheet.bins]
    return Watched(
        schema=spec.schema,
        fields=tuple(sheets),
        predictions=_predictions(having, profiles),
        seconds=slice_seconds(settings.drift.live_window),
    )


def _counted(
    spec: EndpointSpec, variant: VariantSpec, sheet: Sheet
) -> tuple[Sheet, Projection, BlockCounter]:
    schema = variant.manifest.fields
    return sheet, Projection(spec.schema, schema), BlockCounter(schema, sheet.bins)


def _predictions(
    variants: Sequence[VariantSpec], profiles: dict[str, Profile]
) -> dict[tuple[str, str], Sheet]:
    return {
        (variant.name, variant.tag): prediction_sheet(
            variant.name, variant.tag, profiles[variant.name]
        )
        for variant in variants
    }
