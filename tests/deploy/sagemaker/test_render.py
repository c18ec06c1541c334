"""What is printed and sent: golden files, each held against botocore's own models."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from bentos import PLAN, golden, made, plan

from deploy.bento import Bento
from deploy.documents import Document, text
from deploy.sagemaker.extras import PUSH
from deploy.sagemaker.naming import operation
from deploy.sagemaker.target import TARGET
from deploy.sagemaker.values import SageMakerValues
from deploy.targets import example_values
from deploy.values import read_values

GOLDEN = Path(__file__).parent / "golden"

HELD: dict[str, Any] = {
    "region": "eu-central-1",
    "role": "arn:aws:iam::123456789012:role/serving",
    "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/switchyard:1.0",
}
MACHINES: dict[str, Any] = {"type": "ml.c7i.xlarge", "count": 2}

FORMS: dict[str, dict[str, Any]] = {
    "split": {
        "variants": "split",
        "instances": MACHINES,
        "update": {"shift": "linear", "percent": 20},
        "alarms": {"topic": "arn:aws:sns:eu-central-1:123456789012:pages"},
        "scaling": {"min": 2, "max": 4, "target": 600.0},
    },
    "shadow": {"variants": "split", "instances": MACHINES},
    "async": {
        "form": "async",
        "instances": MACHINES,
        "asynchronous": {
            "output": "s3://example/answers",
            "concurrent": 4,
            "error_topic": "arn:aws:sns:eu-central-1:123456789012:pages",
        },
        "scaling": {"min": 0, "max": 4, "target": 5.0},
        "capture": {"to": "s3://example/capture"},
    },
    "serverless": {
        "form": "serverless",
        "serverless": {"memory_mb": 4096, "max_concurrency": 10, "provisioned": 2},
    },
    "live": {
        "instances": MACHINES,
        "network": {"subnets": ["subnet-1", "subnet-2"], "security_groups": ["sg-1"]},
        "shared": {
            "mode": "live",
            "database": "DATABASE_URL",
            "log_store": "s3://example/predictions",
        },
        "log_salt": "LOG_SALT",
        "tags": {"team": "flights"},
        "update": {},
    },
}

SHADOWED = PLAN.replace(
    "{ sklearn: 0.5, torch: 0.3, tensorflow: 0.2 }",
    "{ sklearn: 1.0 }\n      shadow: { torch: 0.25 }",
)


def rendered(name: str) -> list[Document]:
    if name == "example":
        values = read_values(SageMakerValues, [example_values("sagemaker")], (), None)
        return TARGET.render(made(), values)
    bento: Bento = made(plan=plan(SHADOWED)) if name == "shadow" else made()
    return TARGET.render(bento, SageMakerValues.model_validate(HELD | FORMS[name]))


@pytest.mark.parametrize("name", ["example", *FORMS])
def test_what_is_rendered(name: str) -> None:
    golden(GOLDEN / f"{name}.yaml", text(rendered(name)))


@pytest.mark.parametrize("name", ["example", *FORMS])
def test_botocore_takes_every_request(name: str) -> None:
    """Its models know every key, type and enum: also of requests that moto cannot answer."""
    calls = [each for each in rendered(name) if not operation(each).startswith(("iam.", "image."))]
    assert len(calls) >= 4
    for each in calls:
        assert isinstance(each.content, dict)
        assert problems(operation(each), each.content) == ""


def test_botocore_would_tell() -> None:
    update = next(each.content for each in rendered("example") if "update_endpoint" in each.name)
    assert isinstance(update, dict)
    assert problems("sagemaker.update_endpoint", update) == ""
    wrong = {**update, "DeploymentConfig": {"BlueGreenPolicy": {}}}
    assert "BlueGreenPolicy" in problems("sagemaker.update_endpoint", wrong)
    wrong = {**update, "RetainAllVariantProperties": "yes"}
    assert "RetainAllVariantProperties" in problems("sagemaker.update_endpoint", wrong)


def test_only_what_is_pushed_names_another_image() -> None:
    documents = rendered("example")
    (push,) = (each.content for each in documents if operation(each) == PUSH)
    assert push == {
        "from": "switchyard:1.0",
        "to": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/switchyard:1.0",
        "by": "docker",
    }
    (model,) = (each.content for each in documents if operation(each) == "sagemaker.create_model")
    assert isinstance(model, dict)
    assert model["PrimaryContainer"]["Image"] == push["to"]


def test_policies_name_no_more_than_is_used() -> None:
    for each in rendered("serverless"):
        if each.name == "iam.policy/deployer":
            assert isinstance(each.content, dict)
            said = [statement["Sid"] for statement in each.content["Statement"]]
            assert said == ["Endpoint", "Releases", "Role", "Image"]
    for name in ("example", *FORMS):
        for each in rendered(name):
            if operation(each) == "iam.policy" and isinstance(each.content, dict):
                for statement in each.content["Statement"]:
                    assert "*" not in "".join(statement["Action"])


def problems(name: str, body: dict[str, Any]) -> str:
    """Returns what botocore finds wrong with the body of a request, and with its enums."""
    from botocore.validate import ParamValidator

    service, _, called = name.partition(".")
    model = model_of(service)
    wanted = called.replace("_", "")
    which = next(each for each in model.operation_names if each.lower() == wanted)
    shape = model.operation_model(which).input_shape
    report = ParamValidator().validate(body, shape)
    return "; ".join(filter(None, (report.generate_report(), *unknown(shape, body))))


@cache
def model_of(service: str) -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model(service)


def unknown(shape: Any, value: Any) -> list[str]:
    """Returns the texts that are none of the values that a model knows: botocore lets them pass."""
    if shape.type_name == "structure" and isinstance(value, dict):
        return [
            each
            for key, held in value.items()
            if key in shape.members
            for each in unknown(shape.members[key], held)
        ]
    if shape.type_name == "list":
        return [each for held in value for each in unknown(shape.member, held)]
    if shape.type_name == "map":
        return [each for held in value.values() for each in unknown(shape.value, held)]
    if shape.type_name == "string":
        known, pattern = shape.enum, shape.metadata.get("pattern")
        if known and value not in known:
            return [f"{value!r} is no {shape.name}"]
        # The patterns are Java's; the few that Python cannot read are of free text.
        readable = pattern and "\\p{" not in pattern and "\\u" not in pattern
        if readable and not re.fullmatch(pattern, value):
            return [f"{value!r} does not look like a {shape.name}"]
    return []
