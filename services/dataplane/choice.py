"""Which variant answers a request, and why."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from models.columns import Columns
from services.dataplane.sticky import KeyField
from services.topology import EndpointSpec
from services.traffic.hashing import exposure_point
from services.traffic.split import Assigner
from services.wire.request import Request
from switchyard.errors import Forbidden, NotFound
from switchyard.plan_rollout import CANARY
from switchyard.records import Revision

__all__ = ["BY_SPLIT", "FALLBACK", "FORCED", "OVERRIDE", "SPLIT", "Chooser"]

SPLIT: Final = "split"
FORCED: Final = "forced"
OVERRIDE: Final = "override"
FALLBACK: Final = "fallback"

BY_SPLIT: Final = frozenset({SPLIT, CANARY})
"""Assignments that the split made and that the assigned variant answers."""


class Chooser:
    """Chooses the variant of each request under one revision of an endpoint's traffic.

    Args:
        spec: The endpoint.
        revision: The traffic in force.
    """

    def __init__(self, spec: EndpointSpec, revision: Revision) -> None:
        settings = spec.settings
        self._endpoint = spec.name
        self._variants = spec.variants
        self._stable = settings.stable
        self._assigner = Assigner(revision.intervals, salt=spec.name)
        self._coverage = revision.coverage
        self._forced_by_anyone = settings.forced_variant == "anyone"
        self._key_field = None
        if settings.key_field is not None:
            self._key_field = KeyField(settings.key_field, spec.schema)

    def choose(
        self, request: Request, columns: Columns, places: Sequence[int] | None, is_admin: bool
    ) -> tuple[str, str, str, str | None]:
        """Returns who answers a request.

        The key is the caller's, or the value of the plan's `key_field`. A key outside the
        coverage takes no part in the split: the stable variant answers it. Without a key, both
        are drawn at random.

        Args:
            request: What the caller asks for.
            columns: Its good rows.
            places: Index of each in the request; None where all are good.
            is_admin: Whether the caller may ask for a variant wherever there are several.

        Returns:
            The variant that is asked, the one that the traffic gives the key, the assignment as
            `monitoring.log.rows` has it, and the sticky key, if there is one.

        Raises:
            InvalidInput: The rows do not agree on the sticky key.
            Forbidden: The caller asks for a variant and may not.
            NotFound: There is no such variant.
        """
        key = request.key
        if key is None and self._key_field is not None and columns.rows:
            key = self._key_field.of(columns, places)
        if self._coverage >= 1 or self._takes_part(key):
            assigner = self._assigner
            assigned = assigner.draw(random.random()) if key is None else assigner.assign(key)
            assignment = CANARY if assigned == CANARY else SPLIT
        else:
            assigned, assignment = self._stable, OVERRIDE
        if request.variant is None:
            return assigned, assigned, assignment, key
        return self._forced(request.variant, is_admin), assigned, FORCED, key

    def _takes_part(self, key: str | None) -> bool:
        point = random.random() if key is None else exposure_point(self._endpoint, key)
        return point < self._coverage

    def _forced(self, name: str, is_admin: bool) -> str:
        if not (is_admin or self._forced_by_anyone):
            raise Forbidden(
                f"Asking for a variant of endpoint {self._endpoint!r} needs the admin scope; leave "
                "'variant' out, or say `forced_variant: anyone` in the plan."
            )
        if name not in self._variants:
            known = ", ".join(self._variants)
            raise NotFound(f"Endpoint {self._endpoint!r} has no variant {name!r}; it has {known}.")
        return name
