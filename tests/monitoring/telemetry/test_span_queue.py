from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

from monitoring.telemetry.span_queue import Sampling

NOWHERE = Context()


@pytest.mark.parametrize(
    "sampler",
    [TraceIdRatioBased(0.25), ParentBasedTraceIdRatio(0.25), ParentBased(TraceIdRatioBased(0.25))],
)
def test_the_short_way_decides_as_the_sampler_does(sampler: Sampler) -> None:
    sampling = Sampling(sampler)
    asked = [sampling.asked(NOWHERE, "request") for _ in range(4000)]
    wanted = [trace for trace in asked if trace is not None]
    assert len(wanted) == pytest.approx(1000, abs=150)  # 5.5 standard deviations
    wanted += [sampling.drawn() for _ in range(1000)]
    for trace in wanted:
        assert sampler.should_sample(None, trace, "request").decision is not Decision.DROP
    assert len(set(wanted)) == len(wanted)
    assert max(wanted).bit_length() > 120


@pytest.mark.parametrize(
    ("sampler", "wants"),
    [
        (ParentBasedTraceIdRatio(0.0), False),
        (ParentBasedTraceIdRatio(1.0), True),
        (ALWAYS_ON, True),
        (ALWAYS_OFF, False),
    ],
)
def test_none_and_all(sampler: Sampler, wants: bool) -> None:
    sampling = Sampling(sampler)
    asked = [sampling.asked(NOWHERE, "request") for _ in range(100)]
    assert {trace is not None for trace in asked} == {wants}


class ByName(TraceIdRatioBased):
    """A sampler of somebody's own."""

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *_: Any, **__: Any
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if name == "this" else Decision.DROP)


@pytest.mark.parametrize("sampler", [ByName(0.0), ParentBased(ByName(0.0))])
def test_a_sampler_of_its_own_is_asked(sampler: Sampler) -> None:
    sampling = Sampling(sampler)
    assert sampling.share is None
    assert sampling.asked(NOWHERE, "this") is not None
    assert sampling.asked(NOWHERE, "that") is None
