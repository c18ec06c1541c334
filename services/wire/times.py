"""Timestamps on the wire: ISO 8601, to microseconds since 1970 in UTC.

The form is `YYYY-MM-DD`, optionally followed by `T` or a space and `HH:MM[:SS[.fraction]]` and a
zone (`Z`, `+HH:MM` or `+HHMM`): the extended calendar dates of ISO 8601-1:2019 section 5.4.2, as
RFC 3339 and `datetime.isoformat` write them. Without a zone the time is taken as UTC. Digits of
the fraction after the sixth are cut.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["FIRST", "LAST", "micros"]

FIRST = -62_135_596_800_000_000
"""0001-01-01T00:00 in microseconds since 1970, the earliest timestamp."""

LAST = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999 in microseconds since 1970, the latest timestamp."""

_FORM = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=8192)
def micros(text: str) -> int:
    """Returns the microseconds since 1970, UTC, of an ISO 8601 date or time.

    Raises:
        ValueError: The text has another form, or no such moment exists in the years 1 to 9999.
        TypeError: It is not a string.
    """
    if _FORM.fullmatch(text) is None:
        raise ValueError("not in the form 2013-07-04T18:30:00Z")
    moment = datetime.fromisoformat(text)
    since = moment - (_NAIVE_EPOCH if moment.tzinfo is None else _EPOCH)
    value = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if not FIRST <= value <= LAST:
        raise ValueError("outside the years 1 to 9999")
    return value
