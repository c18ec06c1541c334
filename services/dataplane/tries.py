"""Tries to have a request answered: by the variant that was chosen, then by the fallback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Final

from monitoring.attempts import CANCELLED, Attempts
from monitoring.metrics import Metrics
from services.dataplane.choice import BY_SPLIT, FORCED
from services.dataplane.variant import Variant
from services.dataplane.work import Work
from services.topology import EndpointSpec
from services.wire.answer import Scores
from switchyard.errors import DeadlineExceeded, ModelFailed, NotReady, SwitchyardError

__all__ = ["FALLBACK_SHARE", "Tries"]

FALLBACK_SHARE: Final = 0.25
"""Part of the time limit that the first try leaves to the fallback."""


class Tries:
    """Asks variants of one endpoint, and counts how that went.

    Where the plan names a fallback, it answers for a variant whose host is away, whose circuit is
    open, whose model fails or that does not answer in time: within the request's time limit, of
    which the first try gets three quarters. It never answers for a variant that the caller has
    named, and not for one that is overloaded: that would only hand the load on.

    Args:
        spec: The endpoint.
        variants: Its variants by name.
        metrics: The metrics of this process.
        attempts: Where attempts are counted; None where no canary goes on.
    """

    def __init__(
        self,
        spec: EndpointSpec,
        variants: Mapping[str, Variant],
        metrics: Metrics,
        attempts: Attempts | None,
    ) -> None:
        self._endpoint = spec.name
        self._fallback = variants.get(spec.settings.fallback_variant or "")
        self._metrics = metrics
        self._attempts = attempts

    def ask(self, work: Work, seconds: float) -> Awaitable[Scores]:
        """Returns the scores of a request's rows; the work then says who has given them.

        Args:
            work: The request, with at least one row.
            seconds: Time limit from now on.

        Raises:
            SwitchyardError: What the chosen variant said, also where the fallback failed too.
        """
        fallback = self._fallback
        if fallback is None or fallback is work.variant or work.ticket.assignment == FORCED:
            return self._try(work, asyncio.get_running_loop().time() + seconds)
        return self._try_both(work, fallback, seconds)

    async def _try_both(self, work: Work, fallback: Variant, seconds: float) -> Scores:
        """Asks the chosen variant, then the fallback."""
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            return await self._try(work, deadline - FALLBACK_SHARE * seconds)
        except (NotReady, ModelFailed, DeadlineExceeded) as error:
            failure = error
        earlier = replace(work)
        work.hand_over(fallback)
        try:
            scores = await self._try(work, deadline)
        except SwitchyardError as error:
            work.take_back(earlier)
            raise failure from error
        self._metrics.fallback(self._endpoint, earlier.variant.spec.name)
        return scores

    async def _try(self, work: Work, deadline: float) -> Scores:
        """Asks one variant, without rows on which its model fails where the caller wants that."""
        variant, status = work.variant, "ok"
        rows, assignment = work.columns.rows, work.ticket.assignment
        try:
            while True:
                permit = variant.enter()
                try:
                    scores = await variant.submit(work.columns, work.ticket, deadline)
                except BaseException as error:
                    variant.note(permit, work.ticket, error)
                    work.ticket.conclude(answered=False)
                    if not (isinstance(error, ModelFailed) and work.can_leave_out(error.details)):
                        raise
                    work.leave_out(error.details)
                else:
                    variant.circuit.succeeded(permit)
                    return scores
        except BaseException as error:
            status = _status(error)
            raise
        finally:
            seconds = time.perf_counter() - work.ticket.started
            variant.metrics.request(seconds, rows, status)
            if self._attempts is not None and assignment in BY_SPLIT:
                failed_on_rows = status == "ok" and work.columns.rows < rows
                how = ModelFailed.code if failed_on_rows else status
                self._attempts.add(variant.spec.name, how, seconds)


def _status(error: BaseException) -> str:
    """Returns the label of metrics for how a try ended."""
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    return error.code if isinstance(error, SwitchyardError) else SwitchyardError.code
