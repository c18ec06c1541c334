"""An experiment as people read it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from cli.experiment_text import print_experiment
from services.traffic.experiment import Definition, Experiment, MetricSpec, Units

METRICS = (
    MetricSpec("reward", "primary"),
    MetricSpec("latency", "guardrail", higher_is_better=False),
    MetricSpec("error", "exploratory", higher_is_better=False, range=(0.0, 1.0)),
)


def test_each_line_tells_the_p_that_its_verdict_comes_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment = Experiment(Definition(("old", "new"), METRICS, minimum=10))
    arm = np.arange(2000) % 2
    noise = np.random.default_rng(4).standard_normal((2000, 2))
    moved = noise + np.stack([0.01 * arm, -1.0 * arm], axis=1)  # faster by far: no harm
    values = np.column_stack([moved, np.arange(2000) % 5 == 0])
    nothing = np.full_like(values, np.nan)
    experiment.closed(Units(np.ones(2000, dtype=np.int64), arm, values, nothing))
    report = experiment.report()
    about = {"number": 1, "endpoint": "e", "days": 2.0, "ended": None}
    about |= {"versions": {"old": "m:1", "new": "m:2"}, "history": [], "waiting": 3}
    about |= {"feedback": {"joined": 7}, "settings": {"outcome_window": 60.0}}
    print_experiment({**about, **asdict(report)})

    said = capsys.readouterr().out
    latency = next(line for line in said.splitlines() if "latency (guardrail)" in line)
    faster = said.splitlines()[said.splitlines().index(latency) + 1].split()
    assert faster[-4:] == ["1", "no", "difference", "yet"]
    assert report.metrics[1].comparisons[0].effect.p < 1e-9
    classic = report.metrics[0].comparisons[0].welch
    assert classic is not None
    assert f"Welch's test of new by reward: p {classic.p:.3g}" in said
    assert "valid for one look, planned in advance" in said
    low, high = report.metrics[2].comparisons[0].bernstein or (0, 0)
    assert f"new by error: lift [{low:.4g}, {high:.4g}] at every sample size" in said
