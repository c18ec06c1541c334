"""What goes wrong between here and SageMaker: sentences, states, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bentos import made
from sagemaker.conftest import REPOSITORY, client

from deploy.errors import DeployFailed, ValuesError
from deploy.releases import Deployer
from switchyard.errors import Conflict
from switchyard.state import State

if TYPE_CHECKING:
    from sagemaker.sagemaker_cloud import Cloud

pytestmark = pytest.mark.slow

ONE = made()
TWO = made(tag="router:def456")
Make = Callable[..., Deployer]


def failure(deployer: Deployer, **changes: Any) -> str:
    """Applies what fails; returns the sentence."""
    with pytest.raises(DeployFailed) as caught:
        deployer.apply(made(**changes))
    return caught.value.message


def config() -> str:
    found = client("sagemaker").describe_endpoint(EndpointName="switchyard")
    return str(found["EndpointConfigName"])


def test_an_image_that_is_not_in_the_registry(deployer: Make, cloud: Cloud) -> None:
    said = failure(deployer(image=f"{REPOSITORY}:3.0"))
    assert f"The image {REPOSITORY}:3.0 is not in the registry" in said
    assert "CreateModel" not in cloud.operations()
    assert deployer().status().seen.state == "absent"


def test_an_account_without_rights(deployer: Make, cloud: Cloud) -> None:
    message = "User: arn:aws:iam::123456789012:user/u is not authorized to perform CreateModel"
    cloud.refusals["CreateModel"] = "AccessDeniedException", message
    said = failure(deployer())
    assert f"AWS refused CreateModel: {message} (AccessDeniedException)." in said
    assert "prints the policy that allows it" in said
    assert deployer().status().release.status == "failed"


def test_credentials_of_another_account(deployer: Make, cloud: Cloud) -> None:
    role = "arn:aws:iam::999999999999:role/serving"
    image = REPOSITORY.replace("123456789012", "999999999999") + ":1.0"
    said = failure(deployer(role=role, image=image))
    assert "The credentials are of the account 123456789012, but 'role' is in 999999999999" in said
    assert cloud.operations() == []


def test_no_credentials(
    deployer: Make, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert failure(deployer()).startswith("There are no credentials for AWS; `aws configure`")
    assert cloud.sent == []


def test_credentials_that_have_expired(deployer: Make, cloud: Cloud) -> None:
    cloud.refusals["GetCallerIdentity"] = "ExpiredToken", "The security token has expired"
    said = failure(deployer())
    assert "AWS refused GetCallerIdentity" in said
    assert cloud.operations() == []


def test_a_quota_that_is_full(deployer: Make, cloud: Cloud) -> None:
    message = "The account-level service limit 'ml.c5.xlarge for endpoint usage' is 0 Instances"
    cloud.refusals["CreateEndpoint"] = "ResourceLimitExceeded", message
    said = failure(deployer())
    assert message in said
    assert "Service Quotas" in said
    assert "There was no good release before it, so what it made was taken away." in said
    assert client("sagemaker").list_models()["Models"] == []


def test_an_endpoint_that_fails_and_the_next_attempt(deployer: Make, cloud: Cloud) -> None:
    cloud.fails = "The primary container for production variant router did not pass the ping"
    said = failure(deployer())
    assert "switchyard is Failed. SageMaker says: The primary container" in said
    assert deployer().status().seen.state == "absent"
    assert deployer().apply(ONE).status == "good"


def test_an_endpoint_that_never_becomes_ready(deployer: Make, cloud: Cloud) -> None:
    cloud.stuck = True
    said = failure(deployer(ready_within=0.2))
    assert "The endpoint switchyard is still Creating after 0.2 seconds" in said


def test_an_update_that_never_becomes_ready(deployer: Make, cloud: Cloud) -> None:
    deployer().apply(ONE)
    before = config()
    cloud.stuck = True
    said = failure(deployer(ready_within=0.2), tag=TWO.tag)
    assert "still Updating after 0.2 seconds" in said
    assert "Going back failed too" in said
    standing = deployer().status()
    assert standing.seen.state == "progressing"
    assert "was sent" in standing.seen.differences[0]
    cloud.stuck = False
    assert deployer().rollback().status == "good"
    assert config() == before
    assert deployer().status().seen.differences == ()


def test_an_update_that_sagemaker_takes_back(deployer: Make, cloud: Cloud) -> None:
    settings = {"update": {}, "alarms": {}}
    deployer(**settings).apply(ONE)
    before = config()
    cloud.takes_back = "One or more alarms went into ALARM state: switchyard-router-errors"
    said = failure(deployer(**settings), tag=TWO.tag)
    assert f"SageMaker took the update of switchyard back to {before} by itself" in said
    assert "alarms went into ALARM state" in said
    assert "Release 1 (router:abc123) is back, and answers." in said
    assert deployer(**settings).status().seen.differences == ()


def test_a_failed_smoke_test_brings_the_release_before_back(deployer: Make, cloud: Cloud) -> None:
    deployer().apply(ONE)
    before = config()

    def container(body: bytes) -> tuple[int, bytes]:
        if config() != before:
            return 500, b'{"error": "the model is broken"}'
        return 200, b'{"predictions": [0]}'

    cloud.container = container
    said = failure(deployer(), tag=TWO.tag)
    assert 'the answer was HTTP 500: {"error": "the model is broken"}' in said
    assert "Release 1 (router:abc123) is back, and answers." in said
    assert config() == before


def test_an_asynchronous_failure_is_told(deployer: Make, cloud: Cloud) -> None:
    client("s3").create_bucket(Bucket="answers")
    cloud.container = lambda _: (500, b'{"error": "the model is broken"}')
    settings = {"form": "async", "asynchronous": {"output": "s3://answers/out"}}
    said = failure(deployer(**settings))
    assert "the model is broken" in said


def test_a_network_that_breaks_in_the_middle(deployer: Make, cloud: Cloud) -> None:
    deployer().apply(ONE)
    before = config()
    cloud.cuts["UpdateEndpoint"] = 1
    said = failure(deployer(), tag=TWO.tag)
    assert "AWS was not reached (sagemaker, update_endpoint)" in said
    assert "Release 1 (router:abc123) is back" in said
    assert config() == before
    assert deployer().apply(TWO).status == "good"


def test_a_network_that_breaks_while_it_waits(
    deployer: Make, cloud: Cloud, said: list[str]
) -> None:
    cloud.blackout = 2
    assert deployer().apply(ONE).status == "good"
    told = [each for each in said if "AWS was not reached" in each]
    assert len(told) == 2
    assert told[0].endswith("; asking again")


def test_a_network_that_stays_broken(deployer: Make, cloud: Cloud, records: State) -> None:
    deployer().apply(ONE)
    cloud.cuts |= {"CreateModel": 9, "DescribeModel": 9}
    said = failure(deployer(), tag=TWO.tag)
    assert "AWS was not reached (sagemaker, describe_model)" in said
    assert "Going back failed too: AWS was not reached" in said
    assert [each.status for each in records.releases("sagemaker")] == ["failed", "good"]
    cloud.cuts.clear()
    assert deployer().status().seen.differences == ()
    assert deployer().apply(TWO).status == "good"


def test_a_second_apply_at_the_same_time(deployer: Make, cloud: Cloud) -> None:
    def container(body: bytes) -> tuple[int, bytes]:
        with pytest.raises(Conflict, match="Somebody else is deploying"):
            deployer().apply(TWO)
        return 200, b'{"predictions": [0]}'

    cloud.container = container
    assert deployer().apply(ONE).status == "good"
    assert config().startswith("switchyard-abc123-")


def test_a_weight_changed_by_hand_is_told_and_put_back(deployer: Make, cloud: Cloud) -> None:
    deployer(variants="split").apply(ONE)
    client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="switchyard",
        DesiredWeightsAndCapacities=[
            {"VariantName": "torch", "DesiredWeight": 0.9, "DesiredInstanceCount": 3}
        ],
    )
    assert deployer().status().seen.differences == (
        "The weight of torch was sent as 0.3 and is 0.9.",
        "The machines of torch were sent as 2 and are 3.",
    )
    assert deployer(variants="split").apply(ONE).status == "good"
    assert deployer().status().seen.differences == ()


def test_what_is_deleted_by_hand_is_told_and_made_anew(deployer: Make) -> None:
    settings = {"update": {}, "alarms": {}}
    deployer(**settings).apply(ONE)
    client("cloudwatch").delete_alarms(AlarmNames=["switchyard-router-errors"])
    assert deployer(**settings).status().seen.differences == (
        "The alarm switchyard-router-errors is not there.",
    )
    deployer(**settings).apply(ONE)
    assert deployer(**settings).status().seen.differences == ()
    client("sagemaker").delete_endpoint(EndpointName="switchyard")
    standing = deployer(**settings).status()
    assert standing.seen.state == "absent"
    assert standing.seen.why == "There is no endpoint switchyard in us-east-1."
    assert deployer(**settings).apply(ONE).status == "good"


def test_an_alarm_changed_by_hand_is_told(deployer: Make, cloud: Cloud) -> None:
    settings = {"update": {}, "alarms": {"latency_ms": None}}
    deployer(**settings).apply(ONE)
    client("cloudwatch").put_metric_alarm(
        AlarmName="switchyard-router-errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=500,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    differences = deployer(**settings).status().seen.differences
    sentence = "The alarm switchyard-router-errors: Threshold was sent as 5.0 and is 500.0."
    assert sentence in differences


def test_a_model_made_anew_by_hand_while_it_is_in_use(deployer: Make) -> None:
    deployer().apply(ONE)
    sagemaker = client("sagemaker")
    (found,) = sagemaker.list_models()["Models"]
    sagemaker.delete_model(ModelName=found["ModelName"])
    sagemaker.create_model(
        ModelName=found["ModelName"],
        PrimaryContainer={"Image": f"{REPOSITORY}:2.0"},
        ExecutionRoleArn="arn:aws:iam::123456789012:role/serving",
    )
    differences = deployer().status().seen.differences
    assert any(f"Image was sent as {REPOSITORY}:1.0" in each for each in differences)
    said = failure(deployer())
    assert "may be in use, and is not as it was sent" in said
    assert "Raise 'generation'" in said
    assert deployer(generation=2).apply(ONE).status == "good"
    assert deployer(generation=2).status().seen.differences == ()


def test_a_secret_that_changed_needs_a_new_generation(deployer: Make) -> None:
    settings = {"log_salt": "SALT"}
    deployer({"SALT": "one"}, **settings).apply(ONE)
    assert "Raise 'generation'" in failure(deployer({"SALT": "two"}, **settings))
    release = deployer({"SALT": "two"}, **settings, generation=2).apply(ONE)
    assert release.status == "good"


def test_a_secret_that_is_not_set_is_known_before_anything_is_sent(
    deployer: Make, cloud: Cloud
) -> None:
    with pytest.raises(ValuesError, match="SALT is not set"):
        deployer(log_salt="SALT").apply(ONE)
    assert cloud.operations() == []


def test_a_delete_that_is_refused_says_so_and_may_be_repeated(deployer: Make, cloud: Cloud) -> None:
    deployer().apply(ONE)
    cloud.refusals["DeleteEndpoint"] = "AccessDeniedException", "not authorized to DeleteEndpoint"
    with pytest.raises(DeployFailed, match="not authorized to DeleteEndpoint"):
        deployer().delete()
    assert deployer().status().seen.state == "ready"
    cloud.refusals.clear()
    assert deployer().delete().status == "deleted"
