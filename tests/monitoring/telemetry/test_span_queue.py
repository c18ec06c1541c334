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
    sampling = Sampling()
    wanted = []
    for _ in range(4000):
        trace = sampling.asked(sampler, NOWHERE, "request")
        if trace is not None:
            wanted.append(trace)
            assert sampler.should_sample(None, trace, "request").decision is not Decision.DROP
    assert len(wanted) == pytest.approx(1000, abs=150)  # 5.5 standard deviations
    assert len(set(wanted)) == len(wanted)
    assert max(wanted).bit_length() > 120


@pytest.mark.parametrize(("rate", "wants"), [(0.0, False), (1.0, True)])
def test_none_and_all(rate: float, wants: bool) -> None:
    sampling = Sampling()
    sampler = ParentBasedTraceIdRatio(rate)
    asked = [sampling.asked(sampler, NOWHERE, "request") for _ in range(100)]
    assert {trace is not None for trace in asked} == {wants}


class ByName(TraceIdRatioBased):
    """A sampler of somebody's own."""

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *_: Any, **__: Any
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if name == "this" else Decision.DROP)


@pytest.mark.parametrize("sampler", [ByName(0.0), ParentBased(ByName(0.0))])
def test_a_sampler_of_its_own_is_asked(sampler: Sampler) -> None:
    sampling = Sampling()
    assert sampling.asked(sampler, NOWHERE, "this") is not None
    assert sampling.asked(sampler, NOWHERE, "that") is None


def test_another_sampler_is_noticed() -> None:
    sampling = Sampling()
    assert sampling.asked(TraceIdRatioBased(0.0), NOWHERE, "request") is None
    assert sampling.asked(ALWAYS_ON, NOWHERE, "request") is not None
    assert sampling.asked(ALWAYS_OFF, NOWHERE, "request") is None
