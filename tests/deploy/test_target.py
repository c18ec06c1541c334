from __future__ import annotations

import pytest
from bentos import PLAN, made, plan

from deploy.errors import ValuesError
from deploy.targets import example_values, target
from deploy.values import read_values

CLOSED = made(plan=plan(PLAN + "auth: required\n"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sagemaker", "SageMaker, .* hands no key on to containers, so nobody"),
        ("vertex", "Vertex AI, .* hands no key on to containers, so nobody"),
        ("azureml", "callers of Azure ML show the endpoint's key"),
        ("bentocloud", "callers of BentoCloud show its token .* or set 'protected: false'"),
    ],
)
def test_a_plan_that_asks_for_keys_is_refused_where_none_can_be_shown(name: str, why: str) -> None:
    found = target(name)
    values = read_values(found.values, [example_values(name)], [], None)
    assert found.render(made(), values)
    with pytest.raises(ValuesError, match=f"says 'auth: required', but {why}"):
        found.render(CLOSED, values)
