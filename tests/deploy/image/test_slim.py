from __future__ import annotations

import pytest
from bentos import PLAN, plan

from deploy.image.slim import slim
from switchyard.errors import InvalidInput

FRAMEWORKS = {
    name: {each: each for each in ("sklearn", "torch", "tensorflow")}
    for name in ("flights", "digits")
}


def test_variants_of_other_frameworks_go() -> None:
    found = plan(slim(PLAN, FRAMEWORKS, ["sklearn"]))
    assert [list(each.variants) for each in found.endpoints.values()] == [["sklearn"]] * 2
    assert found.endpoints["flights"].traffic.split == {"sklearn": 1.0}
    assert list(found.hosts) == ["sklearn"]
    assert found.endpoints["flights"].limits.max_queue_ms == 200


def test_what_is_left_keeps_its_proportions_and_a_stable_variant() -> None:
    found = plan(slim(PLAN, FRAMEWORKS, ["torch", "tensorflow"])).endpoints["flights"]
    assert found.stable == "torch"  # it has the larger share
    assert found.traffic.split == pytest.approx({"torch": 0.6, "tensorflow": 0.4})


def test_an_endpoint_without_variants_goes() -> None:
    frameworks = {**FRAMEWORKS, "digits": dict.fromkeys(FRAMEWORKS["digits"], "sklearn")}
    assert list(plan(slim(PLAN, frameworks, ["torch"])).endpoints) == ["flights"]


def test_all_that_names_a_variant_is_looked_after() -> None:
    text = """\
endpoints:
  flights:  # late?
    stable: sklearn
    variants:
      sklearn: {model: "m:a"}
      torch: {model: "n:a"}
      tensorflow: {model: "o:a"}
    traffic: {split: {torch: 1.0}, shadow: {torch: 1.0, tensorflow: 0.5}}
    fallback: torch
    metrics: {primary: log_loss, control: torch}
"""
    narrowed = slim(text, FRAMEWORKS, ["sklearn", "tensorflow"])
    assert "# late?" in narrowed
    found = plan(narrowed).endpoints["flights"]
    assert found.traffic.split == {"sklearn": 1.0, "tensorflow": 0.0}
    assert found.traffic.shadow == {"tensorflow": 0.5}
    assert found.fallback_variant == "sklearn"
    assert found.metrics is not None
    assert found.metrics.control is None


@pytest.mark.parametrize("keep", [["onnx"], ["sklearn", "skl"]])
def test_a_framework_that_the_plan_does_not_use_is_named(keep: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"is run by .*sklearn, tensorflow, torch"):
        slim(PLAN, FRAMEWORKS, keep)
