"""What is there, and where it differs from what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose
from typing import Any, Final, Literal

from deploy.documents import Document
from deploy.sagemaker.aws import Aws
from deploy.sagemaker.compare import differences
from deploy.sagemaker.endpoint import MOVING, weights
from deploy.sagemaker.naming import bodies, operation, resource
from deploy.target import Seen

__all__ = ["already_there", "look"]

FAILED: Final = frozenset({"Failed", "OutOfService", "UpdateRollbackFailed"})


def look(aws: Aws, name: str, documents: Sequence[Document]) -> Seen:
    """Returns what is there, compared with what was sent.

    Args:
        aws: AWS.
        name: Of the endpoint.
        documents: What was sent, secrets by name.

    Raises:
        DeployFailed: AWS does not tell.
    """
    seen = aws.find("sagemaker", "describe_endpoint", EndpointName=name)
    if seen is None:
        return Seen("absent", why=f"There is no endpoint {name} in {aws.region}.")
    alarms = _alarms(aws, documents)
    domain = "amazonaws.com.cn" if aws.region.startswith("cn-") else "amazonaws.com"
    return Seen(
        state=_state(seen["EndpointStatus"]),
        address=f"https://runtime.sagemaker.{aws.region}.{domain}/endpoints/{name}/invocations",
        parts=(
            *_variants(seen),
            *((each["AlarmName"], each["StateValue"]) for each in alarms.values()),
            *_jobs(aws, documents),
        ),
        differences=(
            *_endpoint(seen, documents),
            *_held(aws, documents),
            *_watching(aws, documents, alarms),
        ),
        why=seen.get("FailureReason", ""),
    )


def already_there(aws: Aws, documents: Sequence[Document]) -> dict[str, dict[str, Any]]:
    """Returns what is there already of what documents make, by their names, as AWS tells it.

    Args:
        aws: AWS.
        documents: What is to be sent.

    Raises:
        DeployFailed: AWS does not tell.
    """
    found = {each.name: _there(aws, each) for each in documents}
    return {name: seen for name, seen in found.items() if seen is not None}


def _there(aws: Aws, document: Document) -> dict[str, Any] | None:
    """Returns what AWS says of the thing that a document makes; None where it is not."""
    name, kind = resource(document), operation(document)
    match kind:
        case "sagemaker.create_model":
            return aws.find("sagemaker", "describe_model", ModelName=name)
        case "sagemaker.create_endpoint_config":
            return aws.find("sagemaker", "describe_endpoint_config", EndpointConfigName=name)
        case "sagemaker.create_endpoint":
            return aws.find("sagemaker", "describe_endpoint", EndpointName=name)
        case "sagemaker.create_transform_job":
            return aws.find("sagemaker", "describe_transform_job", TransformJobName=name)
        case "cloudwatch.put_metric_alarm":
            return _alarms(aws, [document]).get(name)
        case "application-autoscaling.register_scalable_target":
            return _scaled(aws, *bodies([document], kind))
        case "application-autoscaling.put_scaling_policy":
            return _policy(aws, *bodies([document], kind))
    return None


def _state(status: str) -> Literal["ready", "progressing", "failed"]:
    if status in MOVING:
        return "progressing"
    return "failed" if status in FAILED else "ready"


def _variants(seen: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key in ("ProductionVariants", "ShadowProductionVariants"):
        for each in seen.get(key, ()):
            said = f"weight {each.get('CurrentWeight', 0):g}"
            if "CurrentInstanceCount" in each:
                wanted = each.get("DesiredInstanceCount", each["CurrentInstanceCount"])
                said += f", {each['CurrentInstanceCount']} of {wanted} machines"
            if key.startswith("Shadow"):
                said += ", mirrored to"
            found.append((each["VariantName"], said))
    return found


def _jobs(aws: Aws, documents: Sequence[Document]) -> list[tuple[str, str]]:
    found = []
    for body in bodies(documents, "sagemaker.create_transform_job"):
        name = body["TransformJobName"]
        seen = aws.find("sagemaker", "describe_transform_job", TransformJobName=name)
        status = "absent" if seen is None else seen["TransformJobStatus"]
        reason = (seen or {}).get("FailureReason")
        found.append((name, f"{status}: {reason}" if reason else status))
    return found


def _endpoint(seen: Mapping[str, Any], documents: Sequence[Document]) -> list[str]:
    (config,) = bodies(documents, "sagemaker.create_endpoint_config")
    wanted = config["EndpointConfigName"]
    if seen["EndpointConfigName"] != wanted:
        return [
            f"The endpoint has the configuration {seen['EndpointConfigName']}, but {wanted} was "
            "sent."
        ]
    scaled = any(bodies(documents, "application-autoscaling.register_scalable_target"))
    found = []
    for name, sent, there in weights(seen, config):
        given, has = sent["InitialVariantWeight"], there.get("DesiredWeight")
        if has is not None and not isclose(given, has, abs_tol=1e-6):
            found.append(f"The weight of {name} was sent as {given:g} and is {has:g}.")
        count, machines = sent.get("InitialInstanceCount"), there.get("DesiredInstanceCount")
        if not scaled and count is not None and machines is not None and count != machines:
            found.append(f"The machines of {name} were sent as {count} and are {machines}.")
    known = {name for name, _, _ in weights(seen, config)}
    found += [
        f"The variant {each['VariantName']} was sent and is not there."
        for each in config["ProductionVariants"]
        if each["VariantName"] not in known
    ]
    return found


def _held(aws: Aws, documents: Sequence[Document]) -> list[str]:
    """Returns how models and endpoint configuration differ."""
    found = []
    for body in bodies(documents, "sagemaker.create_model"):
        name = body["ModelName"]
        seen = aws.find("sagemaker", "describe_model", ModelName=name)
        found += _compared(f"The model {name}", body, seen)
    for body in bodies(documents, "sagemaker.create_endpoint_config"):
        name = body["EndpointConfigName"]
        seen = aws.find("sagemaker", "describe_endpoint_config", EndpointConfigName=name)
        found += _compared(f"The endpoint configuration {name}", body, seen)
    return found


def _watching(
    aws: Aws, documents: Sequence[Document], alarms: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Returns how alarms and scaling differ."""
    found = []
    for body in bodies(documents, "cloudwatch.put_metric_alarm"):
        name = body["AlarmName"]
        found += _compared(f"The alarm {name}", body, alarms.get(name))
    for body in bodies(documents, "application-autoscaling.register_scalable_target"):
        found += _compared(f"The scaling of {body['ResourceId']}", body, _scaled(aws, body))
    for body in bodies(documents, "application-autoscaling.put_scaling_policy"):
        found += _compared(f"The scaling policy {body['PolicyName']}", body, _policy(aws, body))
    return found


def _scaled(aws: Aws, body: Mapping[str, Any]) -> dict[str, Any] | None:
    page = aws.call(
        "application-autoscaling",
        "describe_scalable_targets",
        ServiceNamespace="sagemaker",
        ResourceIds=[body["ResourceId"]],
    )
    return next(iter(page["ScalableTargets"]), None)


def _policy(aws: Aws, body: Mapping[str, Any]) -> dict[str, Any] | None:
    page = aws.call(
        "application-autoscaling",
        "describe_scaling_policies",
        ServiceNamespace="sagemaker",
        ResourceId=body["ResourceId"],
        PolicyNames=[body["PolicyName"]],
    )
    return next(iter(page["ScalingPolicies"]), None)


def _alarms(aws: Aws, documents: Sequence[Document]) -> dict[str, dict[str, Any]]:
    names = [each["AlarmName"] for each in bodies(documents, "cloudwatch.put_metric_alarm")]
    if not names:
        return {}
    page = aws.call("cloudwatch", "describe_alarms", AlarmNames=names)
    return {each["AlarmName"]: each for each in page["MetricAlarms"]}


def _compared(what: str, sent: Mapping[str, Any], seen: Mapping[str, Any] | None) -> list[str]:
    return [f"{what} is not there."] if seen is None else differences(what, sent, seen)
