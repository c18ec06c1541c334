"""A router's endpoints: made from the plan, and replaced while it serves when traffic changes.

An `Endpoint` never changes. When an alias has moved or a revision was recorded, a new one takes its
place between two requests; the requests of the old one end where they began, and what only they
used is closed after them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from models import store
from models.registry import Tag
from monitoring.log import PredictionLog
from monitoring.metrics import Metrics
from services import revisions
from services.dataplane.endpoint import Endpoint
from services.dataplane.link import HostLink
from services.dataplane.variant import Variant
from services.holding import is_held, present
from services.loops import beside
from services.topology import EndpointSpec, VariantSpec, bind
from services.watch import Watch
from switchyard.errors import NotReady, SwitchyardError
from switchyard.plan import Plan
from switchyard.records import ROUTER, Observed, Revision
from switchyard.state import State

__all__ = ["Endpoints"]

logger = logging.getLogger("switchyard.router")

DRAIN_POLL_SECONDS = 0.02

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
        self._log = log
        self._metrics = metrics
        refs = (variant.ref for spec in specs.values() for variant in spec.variants.values())
        self._watch = Watch(state, ROUTER, refs)
        self._draining: dict[asyncio.Task[None], Endpoint] = {}
        self._trouble: dict[str, str] = {}
        self.by_name: dict[str, Endpoint] = {}
        for name, spec in specs.items():
            revision = revisions.current(name, spec.settings, state)
            if revision.who != revisions.BY_PLAN:
                words = "endpoint %s: revision %d, by %s, stands over the plan's traffic"
                logger.info(words, name, revision.number, revision.who)
            self.by_name[name] = self._make(spec, revision, {})
        self._told = self._tags()
        self._watch.tell(self._told)
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
            await self._tell(self._tags())
        except NotReady as error:
            self._say("", f"{error.message} Traffic goes on as it is.")
        else:
            self._say("", None)

    async def _tell(self, tags: set[str]) -> None:
        """Says in the state database what is sent to, where that is news."""
        if tags != self._told:
            await beside(partial(self._watch.tell, tags))
            self._told = tags

    def count_active(self) -> None:
        """Sets the metric of requests that wait for their answer."""
        for name, endpoint in self.by_name.items():
            leaving = sum(old.active for old in self._draining.values() if old.name == name)
            self._metrics.active(name, endpoint.active + leaving)

    async def close(self) -> None:
        """Waits for what is queued or in flight, and says that this router leaves."""
        closing = [endpoint.close() for endpoint in self.by_name.values()]
        await asyncio.gather(*closing, *self._draining)

    async def retire(self) -> None:
        """Says in the state database that this router sends nowhere any more."""
        with suppress(NotReady, TimeoutError):
            await asyncio.wait_for(beside(self._watch.retire), LEAVE_SECONDS)

    def _make(self, spec: EndpointSpec, revision: Revision, reuse: dict[str, Variant]) -> Endpoint:
        variants = {
            name: reuse.get(name) or self._variant(spec, variant)
            for name, variant in spec.variants.items()
        }
        return Endpoint(spec, variants, revision, self._metrics)

    def _variant(self, spec: EndpointSpec, variant: VariantSpec) -> Variant:
        framework = variant.manifest.framework
        host = self._plan.host(framework)
        # More batches at once than the host can run would only be smaller ones.
        slots = host.workers * host.threads
        return Variant(spec, variant, self._links[framework], slots, self._log, self._metrics)

    def _news(self) -> list[tuple[EndpointSpec, Revision]]:
        """Returns what endpoints should become; blocks."""
        seen = self._watch.observe()
        news = []
        for endpoint in list(self.by_name.values()):
            spec = self._bound(endpoint, seen)
            revision = seen.revisions.get(endpoint.name)
            if revision is None or not revisions.in_force(revision, spec.settings):
                revision = endpoint.revision
            if spec is not endpoint.spec or revision.number != endpoint.revision.number:
                news.append((spec, revision))
        return news

    def _bound(self, endpoint: Endpoint, seen: Observed) -> EndpointSpec:
        """Returns the endpoint's binding of now; the same object where nothing has changed."""
        spec = endpoint.spec
        tags = {name: self._tag(variant, seen) for name, variant in spec.variants.items()}
        if all(str(tag) == spec.variants[name].tag for name, tag in tags.items()):
            self._say(spec.name, None)
            return spec
        try:
            fresh = bind(spec.name, spec.settings, tags)
        except SwitchyardError as error:
            self._say(spec.name, f"{error.message} Endpoint {spec.name!r} stays as it is.")
            return spec
        self._say(spec.name, None)
        return fresh

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
            if spec.schema == old.spec.schema and variant.tag == spec.variants[name].tag
        }
        self.by_name[spec.name] = self._make(spec, revision, reuse)
        ended = [variant for name, variant in old.variants.items() if name not in reuse]
        task = asyncio.create_task(_drain(old, ended))
        self._draining[task] = old
        task.add_done_callback(self._draining.pop)
        tags = ", ".join(f"{name} {variant.tag}" for name, variant in spec.variants.items())
        logger.info("endpoint %s: revision %d, %s", spec.name, revision.number, tags)

    def _tags(self) -> set[str]:
        """Returns the tags that this router may send to."""
        live: Iterable[Endpoint] = (*self.by_name.values(), *self._draining.values())
        return set[str]().union(*(_tags(endpoint.spec) for endpoint in live))

    def _say(self, about: str, message: str | None) -> None:
        """Logs a lasting trouble once."""
        if message is not None and self._trouble.get(about) != message:
            logger.warning(message)
        self._trouble[about] = message or ""


def _tags(spec: EndpointSpec) -> set[str]:
    return {variant.tag for variant in spec.variants.values()}


async def _drain(endpoint: Endpoint, ended: list[Variant]) -> None:
    """Waits for the requests that an endpoint still answers, then closes what only it used."""
    while endpoint.active:
        await asyncio.sleep(DRAIN_POLL_SECONDS)
    for variant in ended:
        await variant.close()
