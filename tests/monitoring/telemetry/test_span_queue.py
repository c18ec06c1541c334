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
        wants = sampling.wants(sampler, NOWHERE, "request")
        trace = sampling.generate_trace_id()
        if wants:
            wanted.append(trace)
            assert sampler.should_sample(None, trace, "request").decision is not Decision.DROP
    assert len(wanted) == pytest.approx(1000, abs=150)  # 5.5 standard deviations
    assert len(set(wanted)) == len(wanted)
    assert max(wanted).bit_length() > 120


@pytest.mark.parametrize(("rate", "wants"), [(0.0, False), (1.0, True)])
def test_none_and_all(rate: float, wants: bool) -> None:
    sampling = Sampling()
    sampler = ParentBasedTraceIdRatio(rate)
    assert {sampling.wants(sampler, NOWHERE, "request") for _ in range(100)} == {wants}


class ByName(TraceIdRatioBased):
    """A sampler of somebody's own."""

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *_: Any, **__: Any
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if name == "this" else Decision.DROP)


@pytest.mark.parametrize("sampler", [ByName(0.0), ParentBased(ByName(0.0))])
def test_a_sampler_of_its_own_is_asked(sampler: Sampler) -> None:
    sampling = Sampling()
    assert sampling.wants(sampler, NOWHERE, "this")
    assert not sampling.wants(sampler, NOWHERE, "that")


def test_another_sampler_is_noticed() -> None:
    sampling = Sampling()
    assert not sampling.wants(TraceIdRatioBased(0.0), NOWHERE, "request")
    assert sampling.wants(ALWAYS_ON, NOWHERE, "request")
    assert not sampling.wants(ALWAYS_OFF, NOWHERE, "request")
