"""A router's endpoints: made from the plan, and replaced while it serves when traffic changes.

An `Endpoint` never changes. When an alias has moved or a revision was recorded, a new one takes its
place between two requests; the requests of the old one end where they began, and what only they
used is closed after them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from models import store
from models.registry import Tag
from monitoring.attempts import AttemptBook
from monitoring.log.predictions import PredictionLog
from monitoring.metrics import Metrics
from services import revisions
from services.dataplane.endpoint import Endpoint
from services.dataplane.link import HostLink
from services.dataplane.variant import BatchLog, Variant
from services.holding import is_held, present
from services.live_drift import LiveDrift
from services.loops import beside
from services.topology import EndpointSpec, VariantSpec, bind
from services.watch import Watch
from switchyard.errors import NotReady, SwitchyardError
from switchyard.plan import Framework, Plan
from switchyard.plan_rollout import CANARY
from switchyard.records import ROUTER, Canary, Observed, Revision
from switchyard.state import State

__all__ = ["Endpoints"]

logger = logging.getLogger("switchyard.router")

DRAIN_POLL_SECONDS = 0.02
DRAIN_SECONDS = 0.1
LEAVE_SECONDS = 1.0
"""How long a stop waits for the database to take note of it."""


class Endpoints:
    """Makes, replaces and closes endpoints.

    Args:
        plan: The plan.
        specs: Its endpoints, bound to model versions.
        links: The hosts by framework.
        log: The prediction log.
        metrics: The metrics of this process.
        state: The state database.

    Attributes:
        by_name: The endpoints that answer now.
    """

    def __init__(
        self,
        plan: Plan,
        specs: dict[str, EndpointSpec],
        links: dict[str, HostLink],
        log: PredictionLog,
        metrics: Metrics,
        state: State,
    ) -> None:
        self._plan = plan
        self._links = links
        self._metrics = metrics
        refs = (variant.ref for spec in specs.values() for variant in spec.variants.values())
        self._watch = Watch(state, ROUTER, refs)
        self._state = state
        self._book = AttemptBook(self._watch.worker)
        self._live = LiveDrift(log, state, self._watch.worker) if plan.mode == "live" else None
        self._log: BatchLog = self._live or log
        self._draining: dict[asyncio.Task[None], Endpoint] = {}
        self._trouble: dict[str, str] = {}
        self._workers: Counter[str] = Counter()
        self.by_name: dict[str, Endpoint] = {}
        seen = self._watch.observe()
        for name, planned in specs.items():
            revision = revisions.current(name, planned.settings, state)
            spec = self._bound(planned, revision, seen)
            if revision.who != revisions.BY_PLAN:
                words = "endpoint %s: revision %d, by %s, stands over the plan's traffic"
                logger.info(words, name, revision.number, revision.who)
            self.by_name[name] = self._make(spec, revision, {})
        self._told = (self._tags(), self._revisions())
        self._watch.tell(self._told[0], revisions=self._told[1])
        self._watch.start()

    async def follow(self) -> None:
        """Looks once, and replaces the endpoints whose variants or traffic have changed.

        While the database does not answer, everything stays as it is.
        """
        try:
            news = await beside(self._news)
            # Hosts must know before the first request comes to them.
            await self._tell(self._tags().union(*(_tags(spec) for spec, _ in news)))
            for spec, revision in news:
                self._replace(spec, revision)
            self._spread()
            if news:
                # Most requests end soon: who waits for that hears of it before the next look.
                await asyncio.wait(self._draining, timeout=DRAIN_SECONDS)
            await self._tell(self._tags())
        except NotReady as error:
            self._say("", f"{error.message} Traffic goes on as it is.")
        else:
            self._say("", None)

    async def _tell(self, tags: set[str]) -> None:
        """Says in the state database what is sent to, by which revisions, where that is news."""
        said = (tags, self._revisions())
        if said != self._told:
            await beside(partial(self._watch.tell, tags, revisions=said[1]))
            self._told = said

    async def tally(self) -> None:
        """Writes what was counted of attempts; until the database answers, it waits in memory."""
        news = self._book.news()
        if not news:
            return
        try:
            await beside(partial(self._state.tally, news))
        except NotReady as error:
            self._say("tallies", f"{error.message} Attempts are counted in memory meanwhile.")
        else:
            self._book.written(news)
            self._say("tallies", None)

    async def write_drift(self) -> None:
        """Writes what was counted for the live drift scores, where there are any."""
        if self._live is not None:
            await self._live.write()

    def count(self) -> None:
        """Sets the metrics of hosts, of requests that wait, and of open circuits."""
        for framework, link in self._links.items():
            self._metrics.host(framework, is_up=link.up)
        for name, endpoint in self.by_name.items():
            leaving = sum(old.active for old in self._draining.values() if old.name == name)
            self._metrics.active(name, endpoint.active + leaving)
            for variant in endpoint.variants.values():
                is_open = variant.circuit.state != "closed"
                self._metrics.circuit(name, variant.spec.name, is_open=is_open)

    async def close(self) -> None:
        """Waits for what is queued or in flight, and says that this router leaves."""
        closing = [endpoint.close() for endpoint in self.by_name.values()]
        await asyncio.gather(*closing, *self._draining)

    async def retire(self) -> None:
        """Says in the state database what is left to say, and that this router sends no more."""
        with suppress(NotReady, TimeoutError):
            await asyncio.wait_for(self.tally(), LEAVE_SECONDS)
            await asyncio.wait_for(self.write_drift(), LEAVE_SECONDS)
            await asyncio.wait_for(beside(self._watch.retire), LEAVE_SECONDS)

    def _make(self, spec: EndpointSpec, revision: Revision, reuse: dict[str, Variant]) -> Endpoint:
        if self._live is not None:
            self._live.watch(spec)
        variants = {
            name: reuse.get(name) or self._variant(spec, variant)
            for name, variant in spec.variants.items()
        }
        if CANARY not in variants:
            revision = revisions.without_canary(revision, spec.settings.stable)
        attempts = None
        if CANARY in revision.shares:
            attempts = self._book.of(spec.name, revision.number)
        return Endpoint(spec, variants, revision, self._metrics, attempts)

    def _variant(self, spec: EndpointSpec, variant: VariantSpec) -> Variant:
        framework = variant.manifest.framework
        slots = self._slots(framework)
        return Variant(spec, variant, self._links[framework], slots, self._log, self._metrics)

    def _slots(self, framework: Framework) -> int:
        """Returns how many batches a host can run at once; more would only be smaller ones."""
        host = self._plan.host(framework)
        apart = 0 if host.url is None else self._workers[framework]
        return max(host.workers, apart) * host.threads

    def _spread(self) -> None:
        """Gives variants the slots of their hosts, of which one URL may have more or fewer now."""
        for variant in (v for each in self.by_name.values() for v in each.variants.values()):
            variant.resize(self._slots(variant.spec.manifest.framework))

    def _news(self) -> list[tuple[EndpointSpec, Revision]]:
        """Returns what endpoints should become; blocks."""
        seen = self._watch.observe()
        self._workers = Counter(worker.service for worker in seen.workers)
        news = []
        for endpoint in list(self.by_name.values()):
            revision = seen.revisions.get(endpoint.name)
            if revision is None or not revisions.in_force(revision, endpoint.spec.settings):
                revision = endpoint.revision
            spec = self._bound(endpoint.spec, revision, seen)
            if spec is not endpoint.spec or revision.number != endpoint.revision.number:
                news.append((spec, revision))
        return news

    def _bound(self, spec: EndpointSpec, revision: Revision, seen: Observed) -> EndpointSpec:
        """Returns the endpoint's binding of now; the same object where nothing has changed."""
        plain = (spec.variants[name] for name in spec.settings.variants)
        tags = {variant.name: self._tag(variant, seen) for variant in plain}
        canary = seen.canaries.get(spec.name)
        if canary is not None and CANARY in revision.shares and self._can_have(canary, spec):
            tags[CANARY] = Tag(canary.model, canary.version)
        if {name: str(tag) for name, tag in tags.items()} == _by_variant(spec):
            self._say(spec.name, None)
            return spec
        try:
            fresh = bind(spec.name, spec.settings, tags)
        except SwitchyardError as error:
            self._say(spec.name, f"{error.message} Endpoint {spec.name!r} stays as it is.")
            return spec
        self._say(spec.name, None)
        if self._live is not None:
            self._live.watch(fresh)  # here, in a thread: a profile takes a while to read
        return fresh

    def _can_have(self, canary: Canary, spec: EndpointSpec) -> bool:
        """Tells whether requests may go to a canary: its host is known to have it, or they do."""
        framework = spec.variants[spec.settings.stable].manifest.framework
        return canary.tag in _tags(spec) or self._links[framework].serves(canary.tag)

    def _tag(self, variant: VariantSpec, seen: Observed) -> Tag:
        """Returns the version that a variant should have: the new one when it is held, or its own.

        The framework stays: another host would have to be started for another one.
        """
        own = Tag(variant.model, variant.version)
        found = present(variant.ref, seen)
        if found is None or found == variant.tag:
            return own
        fresh = Tag(*store.split(found))
        framework = variant.manifest.framework
        held = self._links[framework].serves(found) and is_held(
            variant.ref, found, framework, seen.workers
        )
        return fresh if held else own

    def _replace(self, spec: EndpointSpec, revision: Revision) -> None:
        old = self.by_name[spec.name]
        # A variant packs rows of the endpoint's schema, so it is of use only with the same one.
        reuse = {
            name: variant
            for name, variant in old.variants.items()
            if spec.schema == old.spec.schema and variant.tag == _by_variant(spec).get(name)
        }
        self.by_name[spec.name] = self._make(spec, revision, reuse)
        ended = [variant for name, variant in old.variants.items() if name not in reuse]
        for variant in ended:
            self._metrics.circuit(spec.name, variant.spec.name, is_open=False)
        task = asyncio.create_task(_drain(old, ended))
        self._draining[task] = old
        task.add_done_callback(self._draining.pop)
        tags = ", ".join(f"{name} {variant.tag}" for name, variant in spec.variants.items())
        logger.info("endpoint %s: revision %d, %s", spec.name, revision.number, tags)

    def _tags(self) -> set[str]:
        """Returns the tags that this router may send to."""
        live: Iterable[Endpoint] = (*self.by_name.values(), *self._draining.values())
        return set[str]().union(*(_tags(endpoint.spec) for endpoint in live))

    def _revisions(self) -> dict[str, int]:
        """Returns by endpoint the oldest revision that a request is still answered by."""
        numbers: dict[str, int] = {}
        for endpoint in (*self.by_name.values(), *self._draining.values()):
            number = endpoint.revision.number
            numbers[endpoint.name] = min(number, numbers.get(endpoint.name, number))
        return numbers

    def _say(self, about: str, message: str | None) -> None:
        """Logs a lasting trouble once."""
        if message is not None and self._trouble.get(about) != message:
            logger.warning(message)
        self._trouble[about] = message or ""


def _tags(spec: EndpointSpec) -> set[str]:
    return set(_by_variant(spec).values())


def _by_variant(spec: EndpointSpec) -> dict[str, str]:
    return {name: variant.tag for name, variant in spec.variants.items()}


async def _drain(endpoint: Endpoint, ended: list[Variant]) -> None:
    """Waits for the requests that an endpoint still answers, then closes what only it used."""
    while endpoint.active:
        await asyncio.sleep(DRAIN_POLL_SECONDS)
    for variant in ended:
        await variant.close()
