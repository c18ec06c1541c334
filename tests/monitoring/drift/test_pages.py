"""What people read: the HTML page, with Evidently's part below ours."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from drifting import ROWS, World, log_rows, rows, tell, truths

from monitoring.drift.page import page


def test_evidently_stands_below_our_verdict_with_its_own_values(world: World) -> None:
    frame = rows(x=np.full(ROWS, np.nan, np.float32), y=rows()["y"] + 1)
    log_rows(world.log, frame, world.version())
    tell(world.log, truths(frame))
    found = world.run()
    text = Path(found.html).read_text()
    assert text.index("Drift of flights") < text.index("root_metric")
    assert "Evidently was not given x" in text
    assert Path(found.html).with_name(f"{Path(found.html).stem}-performance.html").exists()
    assert "-performance.html" in text
    said = {each.field: each.evidently for each in found.data.fields}
    y, colour = said["y"], said["colour"]
    assert y is not None
    assert colour is not None
    assert (y.method, colour.method) == ("ks", "psi")
    assert y.score < 1e-6
    assert "Sturges" in colour.note
    assert said["x"] is None
    assert "iterative_telemetry" not in sys.modules, "Evidently counts its users"


def test_where_evidently_fails_ours_stands_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("too many bins")

    monkeypatch.setattr("evidently.Report.run", fail)
    log_rows(world.log, rows(y=rows()["y"] + 1), world.version())
    tell(world.log, truths(rows()))
    found = world.run()
    assert found.status == "drift"
    said = "A part of Evidently's could not be made (ValueError: too many bins); ours do not"
    assert [note[: len(said)] for note in found.notes] == [said] * 2
    assert said in Path(found.html).read_text()


@pytest.mark.usefixtures("no_pages")
def test_names_are_escaped(world: World) -> None:
    world.version()
    named = world.run().model_copy(update={"endpoint": "<script>alert(1)</script>"})
    text = page(named, None)
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text
