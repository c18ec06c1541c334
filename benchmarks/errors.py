"""The one error of the benchmarks."""

from __future__ import annotations

__all__ = ["BenchmarkError"]


class BenchmarkError(Exception):
    """The run cannot go on; the message is a sentence for the person who started it."""
