"""The whole life of an endpoint, by boto3 against moto's server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from bentos import PLAN, made, plan
from sagemaker.conftest import GIVEN, REPOSITORY, client

from deploy.releases import Deployer
from switchyard.errors import NotFound
from switchyard.state import State

if TYPE_CHECKING:
    from sagemaker.sagemaker_cloud import Cloud

pytestmark = pytest.mark.slow

ONE = made()
TWO = made(tag="router:def456")
THREE = made(tag="router:fff789")
Make = Callable[..., Deployer]

SECOND = {"image": f"{REPOSITORY}:2.0"}
WATCHED: dict[str, Any] = {
    "update": {"shift": "canary", "percent": 50},
    "alarms": {"server_errors": 5},
    "scaling": {"min": 2, "max": 4, "target": 100.0},
}


def configs() -> list[str]:
    found = client("sagemaker").list_endpoint_configs()["EndpointConfigs"]
    return sorted(each["EndpointConfigName"] for each in found)


def models() -> list[str]:
    return sorted(each["ModelName"] for each in client("sagemaker").list_models()["Models"])


def present() -> dict[str, Any]:
    found: dict[str, Any] = client("sagemaker").describe_endpoint(EndpointName="switchyard")
    return found


def test_the_first_release_makes_all_and_answers(
    deployer: Make, cloud: Cloud, said: list[str]
) -> None:
    release = deployer(**WATCHED).apply(ONE)
    assert release.status == "good"
    assert cloud.operations() == [
        "CreateModel",
        "CreateEndpointConfig",
        "PutMetricAlarm",
        "PutMetricAlarm",
        "CreateEndpoint",
        "RegisterScalableTarget",
        "PutScalingPolicy",
        "InvokeEndpoint",
    ]
    assert cloud.last("InvokeEndpoint")["endpoint"] == "flights"
    assert "switchyard is Creating" in said
    standing = deployer(**WATCHED).status()
    assert standing.seen.state == "ready"
    assert standing.seen.differences == ()
    assert standing.seen.parts == (
        ("router", "weight 1, 2 of 2 machines"),
        ("switchyard-router-errors", "OK"),
        ("switchyard-router-latency", "OK"),
    )
    assert standing.seen.address == (
        "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/switchyard/invocations"
    )


def test_the_same_again_changes_nothing(deployer: Make, cloud: Cloud) -> None:
    deployer().apply(ONE)
    cloud.sent.clear()
    assert deployer().apply(ONE).status == "good"
    assert cloud.operations() == ["InvokeEndpoint"]


def test_another_release_updates_the_endpoint_and_a_rollback_takes_it_back(
    deployer: Make, cloud: Cloud
) -> None:
    deployer(**WATCHED).apply(ONE)
    before = present()["EndpointConfigName"]
    deployer(**WATCHED, **SECOND).apply(TWO)
    after = present()["EndpointConfigName"]
    assert after.startswith("switchyard-def456-")
    sent = cloud.last("UpdateEndpoint")
    assert sent["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"] == [
        {"AlarmName": "switchyard-router-errors"},
        {"AlarmName": "switchyard-router-latency"},
    ]
    assert sent["RetainAllVariantProperties"]
    cloud.sent.clear()
    release = deployer(**WATCHED, **SECOND).rollback()
    assert (release.status, release.bento) == ("good", "router:abc123")
    assert "AutoRollbackConfiguration" not in cloud.last("UpdateEndpoint")["DeploymentConfig"]
    assert present()["EndpointConfigName"] == before
    assert "CreateModel" not in cloud.operations()
    assert deployer(**WATCHED).status().seen.differences == ()


def test_configurations_that_are_too_old_go_with_their_models(deployer: Make) -> None:
    made_of = [made(tag=f"router:v{number}") for number in range(5)]
    for bento in made_of:
        deployer().apply(bento)
    kept = ["switchyard-v2", "switchyard-v3", "switchyard-v4"]
    assert [name.rpartition("-")[0] for name in configs()] == kept
    assert [name.rpartition("-")[0] for name in models()] == kept


def test_a_rollback_makes_anew_what_is_gone(deployer: Make, records: State) -> None:
    deployer().apply(ONE)
    old = present()["EndpointConfigName"]
    deployer().apply(TWO)
    client("sagemaker").delete_endpoint_config(EndpointConfigName=old)
    assert deployer().rollback().status == "good"
    assert present()["EndpointConfigName"] == old
    assert deployer().status().seen.differences == ()


def test_delete_takes_all_away_but_images_and_packages(deployer: Make) -> None:
    settings = {**WATCHED, "package_group": "switchyard"}
    deployer(**settings).apply(ONE)
    deployer(**settings, **SECOND).apply(TWO)
    assert deployer(**settings).delete().status == "deleted"
    assert (configs(), models()) == ([], [])
    assert client("sagemaker").list_endpoints()["Endpoints"] == []
    assert client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    scaling = client("application-autoscaling")
    assert not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert len(client("ecr").describe_images(repositoryName="switchyard")["imageDetails"]) == 2
    found = client("sagemaker").list_model_packages(ModelPackageGroupName="switchyard")
    assert len(found["ModelPackageSummaryList"]) == 2
    assert deployer(**settings).status().seen.state == "absent"
    deployer(**settings).delete()  # again is fine
    with pytest.raises(NotFound, match="no earlier good release"):
        deployer(**settings).rollback()


def test_sagemaker_splits_as_the_plan_says(deployer: Make, cloud: Cloud) -> None:
    deployer(variants="split").apply(ONE)
    weights = {
        each["VariantName"]: each["DesiredWeight"] for each in present()["ProductionVariants"]
    }
    assert weights == pytest.approx({"sklearn": 0.5, "torch": 0.3, "tensorflow": 0.2})
    pinned = {
        client("sagemaker").describe_model(ModelName=name)["PrimaryContainer"]["Environment"][
            "SWITCHYARD_VARIANT"
        ]
        for name in models()
    }
    assert pinned == {"flights=sklearn", "flights=torch", "flights=tensorflow"}
    assert deployer(variants="split").status().seen.differences == ()


def test_variants_of_other_names_take_over_at_once(
    deployer: Make, cloud: Cloud, said: list[str]
) -> None:
    deployer(**WATCHED).apply(ONE)
    deployer(variants="split", update=WATCHED["update"]).apply(ONE)
    assert "DeploymentConfig" not in cloud.last("UpdateEndpoint")
    assert any("all traffic moves at once" in each for each in said)
    assert client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    operations = cloud.operations()
    assert operations.index("DeregisterScalableTarget") < operations.index("UpdateEndpoint")
    assert deployer(variants="split", update=WATCHED["update"]).status().seen.differences == ()


def test_one_variant_is_mirrored_to(deployer: Make, cloud: Cloud) -> None:
    mirrored = PLAN.replace("{ sklearn: 0.5, torch: 0.3, tensorflow: 0.2 }", "{ sklearn: 1.0 }")
    mirrored = mirrored.replace(
        "    forced_variant", "      shadow: { torch: 0.4 }\n    forced_variant"
    )
    deployer(variants="split").apply(made(plan=plan(mirrored)))
    config = cloud.last("CreateEndpointConfig")
    assert [each["VariantName"] for each in config["ProductionVariants"]] == ["sklearn"]
    (shadow,) = config["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["InitialVariantWeight"]) == ("torch", 0.4)
    assert deployer(variants="split").status().seen.differences == ()


def test_a_serverless_endpoint(deployer: Make, cloud: Cloud) -> None:
    settings = {"form": "serverless", "instances": None, "serverless": {"max_concurrency": 5}}
    assert deployer(**settings).apply(ONE).status == "good"
    (variant,) = cloud.last("CreateEndpointConfig")["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 6144, "MaxConcurrency": 5}
    assert deployer(**settings).status().seen.differences == ()


def test_an_asynchronous_endpoint_answers_through_s3(deployer: Make, cloud: Cloud) -> None:
    client("s3").create_bucket(Bucket="answers")
    settings: dict[str, Any] = {
        "form": "async",
        "asynchronous": {"output": "s3://answers/out"},
        "scaling": {"min": 0, "max": 2, "target": 4.0},
    }
    assert deployer(**settings).apply(ONE).status == "good"
    assert "InvokeEndpointAsync" in cloud.operations()
    keys = [each["Key"] for each in client("s3").list_objects_v2(Bucket="answers")["Contents"]]
    asked, answered = sorted(keys)
    body = client("s3").get_object(Bucket="answers", Key=asked)["Body"].read()
    assert json.loads(body)["endpoint"] == "flights"
    assert answered == f"{asked}.out"
    assert deployer(**settings).status().seen.differences == ()


def test_a_release_starts_its_batch_job_once(deployer: Make, cloud: Cloud) -> None:
    settings = {
        "transform": {
            "input": "s3://batch/in",
            "output": "s3://batch/out",
            "type": "ml.c5.xlarge",
        }
    }
    deployer(**settings).apply(ONE)
    deployer(**settings).apply(ONE)
    assert cloud.operations().count("CreateTransformJob") == 2  # the second was there already
    jobs = client("sagemaker").list_transform_jobs()["TransformJobSummaries"]
    assert len(jobs) == 1
    parts = dict(deployer(**settings).status().seen.parts)
    assert jobs[0]["TransformJobName"] in parts


def test_a_release_is_registered_once(deployer: Make) -> None:
    deployer(package_group="switchyard").apply(ONE)
    deployer(package_group="switchyard").apply(ONE)
    found = client("sagemaker").list_model_packages(ModelPackageGroupName="switchyard")
    (package,) = found["ModelPackageSummaryList"]
    assert package["ModelApprovalStatus"] == "PendingManualApproval"


def test_secrets_are_in_the_containers_and_in_no_record(deployer: Make, records: State) -> None:
    settings = {
        "shared": {
            "mode": "live",
            "database": "DB_URL",
            "log_store": "s3://logs/predictions",
        }
    }
    deployer({"DB_URL": "postgresql://u:sesame@db/s"}, **settings).apply(ONE)
    (name,) = models()
    held = client("sagemaker").describe_model(ModelName=name)["PrimaryContainer"]["Environment"]
    assert held["SWITCHYARD_DATABASE_URL"] == "postgresql://u:sesame@db/s"
    assert "sesame" not in repr(records.releases("sagemaker"))
    assert deployer(**settings).status().seen.differences == ()


def test_the_place_is_account_region_and_name() -> None:
    from deploy.sagemaker.target import TARGET
    from deploy.sagemaker.values import SageMakerValues

    values = SageMakerValues.model_validate(GIVEN)
    assert TARGET.place(values) == "123456789012/us-east-1/switchyard"
