"""Asks Prometheus for one number, by its HTTP API.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import logging
from typing import Final

import httpx

__all__ = ["value"]

logger = logging.getLogger(__name__)

SECONDS: Final = 2.0


def value(url: str, query: str) -> float | None:
    """Returns what a query gives now.

    Args:
        url: Address of Prometheus.
        query: PromQL that gives a scalar, or a vector of one element.

    Returns:
        The number, which may be NaN; None where Prometheus does not answer, refuses the query, or
        has not exactly one value for it.
    """
    try:
        reply = httpx.get(
            f"{url.rstrip('/')}/api/v1/query", params={"query": query}, timeout=SECONDS
        )
        found = reply.raise_for_status().json()["data"]
        if found["resultType"] == "scalar":
            return float(found["result"][1])
        (only,) = found["result"]
        return float(only["value"][1])
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError) as error:
        logger.info("Prometheus at %s has no value for %r: %s", url, query, error)
        return None
