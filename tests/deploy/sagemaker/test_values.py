"""Values of SageMaker that do not go together are named before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bentos import PLAN, made, plan

from deploy.errors import ValuesError
from deploy.sagemaker.target import TARGET
from deploy.sagemaker.values import SageMakerValues
from deploy.targets import example_values
from deploy.values import read_values

ASYNC = ["form=async", "asynchronous.output=s3://answers/out"]
SERVERLESS = ["form=serverless", "serverless.max_concurrency=5"]
PLAIN = """\
region: us-east-1
role: arn:aws:iam::123456789012:role/serving
image: 123456789012.dkr.ecr.us-east-1.amazonaws.com/switchyard:1.0
instances: { type: ml.c7i.xlarge, count: 2 }
"""


def values(tmp_path: Path, *changes: str) -> SageMakerValues:
    path = tmp_path / "values.yaml"
    path.write_text(PLAIN)
    return read_values(SageMakerValues, [path], changes, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["region=nowhere"], "region is 'nowhere', but must be a region like 'eu-central-1'"),
        (["role=serving"], "role is 'serving', but must be the role's ARN"),
        (["instances.type=c7i"], "instances.type is 'c7i', but must be a machine of SageMaker"),
        (["instances.kind=x"], "instances.kind is an unknown key"),
        (["capture.to=bucket"], "capture.to is 'bucket', but must look like 's3://bucket/folder'"),
        (["form=serverless"], "form is 'serverless', which needs 'serverless'"),
        (["form=async"], "form is 'async', which needs 'asynchronous'"),
        (["instances=null"], "form is 'realtime', which needs 'instances'"),
        (ASYNC[1:], "asynchronous goes with 'form: async', but the form is 'realtime'"),
        (SERVERLESS[1:], "serverless goes with 'form: serverless', not 'realtime'"),
        (SERVERLESS, "instances is not to be had on a serverless endpoint"),
        (
            [*SERVERLESS, "instances=null", "capture.to=s3://bucket/x"],
            "capture is not to be had on a serverless endpoint",
        ),
        (["form=serverless", "serverless.memory_mb=1000"], "serverless.memory_mb is 1000"),
        (
            [*SERVERLESS, "serverless.provisioned=9"],
            "serverless.provisioned is more than max_concurrency, 5",
        ),
        ([*ASYNC, "variants=split"], "variants is 'split', but a form 'async' takes one variant"),
        (
            [
                "variants=split",
                "shared.mode=live",
                "shared.database=DB",
                "shared.log_store=s3://logs/x",
            ],
            "variants is 'split', which needs 'shared.mode: static'",
        ),
        (["endpoint=flights"], "endpoint goes with 'variants: split'"),
        (["alarms.server_errors=1"], "alarms need 'update', which they take back"),
        (
            ["update={}", "alarms={server_errors: null, latency_ms: null}"],
            "alarms.server_errors is null, and so is latency_ms",
        ),
        (
            ["instances.count=1", "update.shift=canary"],
            "update.shift is 'canary', which needs at least two instances",
        ),
        (["scaling={max: 2, target: 10.0, min: 3}"], "scaling.max is 2, but 'min' is 3"),
        (
            ["scaling={max: 2, target: 10.0, min: 0}"],
            "scaling.min is 0, which only 'form: async' allows",
        ),
        (["log_salt=open sesame"], "log_salt must be the name of an environment variable"),
    ],
)
def test_what_does_not_go_together_is_named(tmp_path: Path, changes: list[str], said: str) -> None:
    with pytest.raises(ValuesError) as caught:
        values(tmp_path, *changes)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("changes", "text", "said"),
    [
        (["image=switchyard:1.0"], PLAN, "SageMaker pulls only from Amazon's registry"),
        (["region=eu-west-1"], PLAN, "SageMaker pulls only from Amazon's registry in eu-west-1"),
        (["variants=split", "endpoint=flihgts"], PLAN, "has no endpoint 'flihgts'; write one of"),
        (
            ["variants=split"],
            PLAN.replace("default: true", "default: false"),
            "has no default endpoint; write one of flights, digits into 'endpoint'",
        ),
        (
            ["variants=split"],
            PLAN.replace("    forced", "      shadow: { torch: 1.0 }\n    forced"),
            "SageMaker mirrors to one variant beside one that answers",
        ),
        (
            ["variants=split"],
            PLAN.replace("torch:", "a-b:").replace("tensorflow:", "a_b:").partition("hosts")[0],
            "cannot be told apart in SageMaker",
        ),
    ],
)
def test_what_the_plan_does_not_allow_is_named(
    tmp_path: Path, changes: list[str], text: str, said: str
) -> None:
    with pytest.raises(ValuesError) as caught:
        TARGET.render(made(plan=plan(text)), values(tmp_path, *changes))
    assert said in caught.value.message


def test_the_example_renders_and_is_recorded_as_it_is() -> None:
    found = read_values(SageMakerValues, [example_values("sagemaker")], (), None)
    TARGET.render(made(), found)
    assert SageMakerValues.model_validate(found.model_dump(mode="json")) == found


def test_a_part_of_the_keys_changes_the_weights(tmp_path: Path) -> None:
    """Those that take no part in the split go to the stable variant."""
    text = PLAN.replace("    forced", "      coverage: 0.5\n    forced")
    documents = TARGET.render(made(plan=plan(text)), values(tmp_path, "variants=split"))
    config = next(each.content for each in documents if "endpoint_config" in each.name)
    assert isinstance(config, dict)
    found: dict[str, Any] = {
        each["VariantName"]: each["InitialVariantWeight"] for each in config["ProductionVariants"]
    }
    assert found == {"sklearn": 0.75, "torch": 0.15, "tensorflow": 0.1}


def test_names_follow_the_contents(tmp_path: Path) -> None:
    def names(*changes: str) -> set[str]:
        return {each.name for each in TARGET.render(made(), values(tmp_path, *changes))}

    assert names() == names()
    assert len(names() & names("instances.count=3")) == len(names()) - 1  # the configuration
    assert len(names() & names("generation=2")) == len(names()) - 2  # and the model
    long = "n" * 40
    version = "x" * 60
    for each in TARGET.render(made(tag=f"router:{version}"), values(tmp_path, f"name={long}")):
        if each.name.startswith("sagemaker."):
            assert len(each.name.partition("/")[2]) <= 63
