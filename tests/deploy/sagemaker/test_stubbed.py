"""Requests that moto cannot answer, held against botocore's models by its own stubs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from bentos import made
from botocore.stub import ANY, Stubber

from deploy.errors import DeployFailed, ExtraMissing
from deploy.sagemaker import endpoint
from deploy.sagemaker.aws import AlreadyThere, Aws, ContainerError, Missing
from deploy.sagemaker.endpoint import Endpoint
from deploy.sagemaker.invoke import invoke
from deploy.sagemaker.naming import bodies
from deploy.sagemaker.target import TARGET
from deploy.sagemaker.values import SageMakerValues

GIVEN: dict[str, Any] = {
    "region": "eu-central-1",
    "role": "arn:aws:iam::123456789012:role/serving",
    "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/switchyard:1.0",
    "instances": {"type": "ml.c7i.xlarge", "count": 2},
    "update": {"shift": "canary", "percent": 25},
    "alarms": {},
}


class Session:
    """What of boto3's session is used."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def client(self, service: str, config: Any) -> Any:
        return self._client


def stubbed(service: str) -> tuple[Aws, Stubber]:
    import boto3

    session = boto3.Session("key", "secret", region_name="eu-central-1")
    client = session.client(service)
    return Aws(Session(client), "eu-central-1", "123456789012"), Stubber(client)


@pytest.fixture
def sagemaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Aws, Stubber]]:
    monkeypatch.setattr(endpoint, "POLL_SECONDS", 0.0)
    aws, stub = stubbed("sagemaker")
    with stub:
        yield aws, stub
        stub.assert_no_pending_responses()


def seen(status: str, config: str, **more: Any) -> dict[str, Any]:
    """A description of the endpoint."""
    return {
        "EndpointName": "switchyard",
        "EndpointArn": "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/switchyard",
        "EndpointConfigName": config,
        "ProductionVariants": [{"VariantName": "router"}],
        "EndpointStatus": status,
        "CreationTime": 0,
        "LastModifiedTime": 0,
        **more,
    }


def update() -> tuple[dict[str, Any], dict[str, Any]]:
    """The rendered body of an update, and the description of its configuration."""
    documents = TARGET.render(made(), SageMakerValues.model_validate(GIVEN))
    (body,) = bodies(documents, "sagemaker.update_endpoint")
    (config,) = bodies(documents, "sagemaker.create_endpoint_config")
    held = {key: value for key, value in config.items() if key != "Tags"}
    return body, {**held, "EndpointConfigArn": "arn:aws:sagemaker:x-------", "CreationTime": 0}


def test_an_update_with_its_deployment_configuration(sagemaker: tuple[Aws, Stubber]) -> None:
    aws, stub = sagemaker
    body, config = update()
    wanted = body["EndpointConfigName"]
    stub.add_response("describe_endpoint_config", config, {"EndpointConfigName": wanted})
    stub.add_response("update_endpoint", {"EndpointArn": "arn:aws:sagemaker:x-------"}, body)
    for status in ("Updating", "InService"):
        stub.add_response("describe_endpoint", seen(status, wanted), {"EndpointName": "switchyard"})
    said: list[str] = []
    Endpoint(aws, "switchyard", 5).update(seen("InService", "old"), body, said.append)
    assert said == ["updating switchyard", "switchyard is Updating"]
    policy = body["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert policy["CanarySize"] == {"Type": "CAPACITY_PERCENT", "Value": 25}


def test_no_alarm_takes_back_what_returns(sagemaker: tuple[Aws, Stubber]) -> None:
    """What is there now may have set it off, and would stay then."""
    aws, stub = sagemaker
    body, config = update()
    wanted = body["EndpointConfigName"]
    held = body["DeploymentConfig"]
    assert set(held) == {"AutoRollbackConfiguration", "BlueGreenUpdatePolicy"}
    policy = {"BlueGreenUpdatePolicy": held["BlueGreenUpdatePolicy"]}
    sent = {**body, "DeploymentConfig": policy}
    stub.add_response("describe_endpoint_config", config)
    stub.add_response("update_endpoint", {"EndpointArn": "arn:aws:sagemaker:x-------"}, sent)
    stub.add_response("describe_endpoint", seen("InService", wanted))
    said: list[str] = []
    there = seen("InService", "bad")
    Endpoint(aws, "switchyard", 5).update(there, body, said.append, returning=True)
    assert said == ["it has served before, so no alarm takes it back", "updating switchyard"]


def test_an_update_that_sagemaker_takes_back(sagemaker: tuple[Aws, Stubber]) -> None:
    aws, stub = sagemaker
    body, config = update()
    stub.add_response("describe_endpoint_config", config)
    stub.add_response("update_endpoint", {"EndpointArn": "arn:aws:sagemaker:x-------"}, body)
    for status in ("Updating", "RollingBack"):
        stub.add_response("describe_endpoint", seen(status, "old"))
    reason = "Alarm switchyard-router-errors went off"
    stub.add_response("describe_endpoint", seen("InService", "old", FailureReason=reason))
    with pytest.raises(DeployFailed, match=f"back to old by itself. It says: {reason}"):
        Endpoint(aws, "switchyard", 5).update(seen("InService", "old"), body, lambda _: None)


def test_weights_and_machines_that_a_hand_changed(sagemaker: tuple[Aws, Stubber]) -> None:
    aws, stub = sagemaker
    _, config = update()
    changed = {"VariantName": "router", "DesiredWeight": 0.5, "DesiredInstanceCount": 7}
    stub.add_response(
        "update_endpoint_weights_and_capacities",
        {"EndpointArn": "arn:aws:sagemaker:x-------"},
        {
            "EndpointName": "switchyard",
            "DesiredWeightsAndCapacities": [
                {"VariantName": "router", "DesiredWeight": 1.0, "DesiredInstanceCount": 2}
            ],
        },
    )
    stub.add_response("describe_endpoint", seen("InService", config["EndpointConfigName"]))
    present = seen("InService", config["EndpointConfigName"], ProductionVariants=[changed])
    Endpoint(aws, "switchyard", 5).restore(present, config, counts=True, say=lambda _: None)


@pytest.mark.parametrize(
    ("code", "message", "kind", "said"),
    [
        ("ValidationException", 'Could not find model "x".', Missing, "Could not find model"),
        ("ValidationException", "Cannot create already existing model", AlreadyThere, "already"),
        ("AccessDeniedException", "no", DeployFailed, "prints the policy that allows it"),
        ("ResourceLimitExceeded", "limit is 0", DeployFailed, "Service Quotas"),
        ("ThrottlingException", "Rate exceeded", DeployFailed, "Rate exceeded (Throttling"),
        ("ValidationException", "x" * 9999, DeployFailed, "xxx ... (ValidationException)"),
    ],
)
def test_refusals(
    sagemaker: tuple[Aws, Stubber], code: str, message: str, kind: type[Exception], said: str
) -> None:
    aws, stub = sagemaker
    stub.add_client_error("create_model", code, message, expected_params={"ModelName": ANY})
    with pytest.raises(DeployFailed) as caught:
        aws.call("sagemaker", "create_model", ModelName="x")
    assert type(caught.value) is kind
    assert caught.value.message.startswith("AWS refused CreateModel: ")
    assert said in caught.value.message


def test_a_body_that_is_none_of_botocores_is_refused_before_it_is_sent() -> None:
    aws, _ = stubbed("sagemaker")
    with pytest.raises(DeployFailed, match=r"could not be asked .*Missing required"):
        aws.call("sagemaker", "create_model", Name="x")


def test_boto3_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ExtraMissing, match=r"e '\.\[sagemaker\]'` brings them"):
        TARGET.connect(SageMakerValues.model_validate(GIVEN), {})


def test_a_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(DeployFailed, match=r"cannot be used: .* \(nobody\) could not be found"):
        TARGET.connect(SageMakerValues.model_validate(GIVEN), {})


def test_the_error_of_a_container_is_its_own_answer() -> None:
    aws, stub = stubbed("sagemaker-runtime")
    with stub:
        stub.add_client_error(
            "invoke_endpoint",
            "ModelError",
            "Received client error (400) from router",
            modeled_fields={"OriginalStatusCode": 400, "OriginalMessage": "no rows"},
            expected_params={
                "EndpointName": "switchyard",
                "ContentType": "application/json",
                "Accept": "application/json",
                "Body": b"{}",
            },
        )
        reply = invoke(aws, "switchyard", b"{}")
    assert (reply.status, reply.body) == (400, b"no rows")
    assert ContainerError("said", 400, "no rows").answer == (400, b"no rows")
