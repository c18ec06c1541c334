"""The bodies of the calls that make alarms and let machines come and go with the load."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from deploy.documents import Document
from deploy.sagemaker.naming import call
from deploy.sagemaker.requests import Hosted, tags
from deploy.sagemaker.sections import Scaling
from deploy.sagemaker.values import SageMakerValues

__all__ = ["DIMENSION", "alarm_calls", "scaling_calls"]

DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
"""What application-autoscaling changes."""

MICROSECONDS: Final = 1000
"""In a millisecond: CloudWatch has latencies in microseconds."""


def alarm_calls(values: SageMakerValues, variants: list[Hosted]) -> list[Document]:
    """Returns the calls that make the alarms of every production variant."""
    asked = values.alarms
    if asked is None:
        return []
    found = []
    for variant in variants:
        if variant.shadow:
            continue
        dimensions = [
            {"Name": "EndpointName", "Value": values.name},
            {"Name": "VariantName", "Value": variant.name},
        ]
        limits = {
            "Invocation5XXErrors": ("errors", "Sum", asked.server_errors),
            "ModelLatency": (
                "latency",
                "Average",
                None if asked.latency_ms is None else asked.latency_ms * MICROSECONDS,
            ),
        }
        for metric, (what, statistic, limit) in limits.items():
            if limit is None:
                continue
            name = f"{values.name}-{variant.name}-{what}"
            body: dict[str, Any] = {
                "AlarmName": name,
                "AlarmDescription": f"{metric} of {variant.name} on {values.name}; "
                "takes an update back",
                "Namespace": "AWS/SageMaker",
                "MetricName": metric,
                "Dimensions": dimensions,
                "Statistic": statistic,
                "Period": 60,
                "EvaluationPeriods": asked.minutes,
                "Threshold": float(limit),
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
                "TreatMissingData": "notBreaching",  # no requests are no errors
                **({"AlarmActions": [asked.topic]} if asked.topic else {}),
                "Tags": tags(values),
            }
            found.append(call("cloudwatch.put_metric_alarm", name, body))
    return found


def scaling_calls(values: SageMakerValues, variants: list[Hosted]) -> list[Document]:
    """Returns the calls that let every production variant scale."""
    asked = values.scaling
    if asked is None:
        return []
    found = []
    for variant in variants:
        if variant.shadow:
            continue
        place = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{values.name}/variant/{variant.name}",
            "ScalableDimension": DIMENSION,
        }
        bounds = {**place, "MinCapacity": asked.min, "MaxCapacity": asked.max}
        policy = {
            "PolicyName": f"{values.name}-{variant.name}",
            **place,
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": _tracking(values, asked),
        }
        found += [
            call("application-autoscaling.register_scalable_target", variant.name, bounds),
            call("application-autoscaling.put_scaling_policy", variant.name, policy),
        ]
    return found


def _tracking(values: SageMakerValues, asked: Scaling) -> dict[str, Any]:
    body: dict[str, Any] = {
        "TargetValue": asked.target,
        "ScaleOutCooldown": ceil(asked.out_after),
        "ScaleInCooldown": ceil(asked.in_after),
    }
    if values.form == "async":
        return {
            **body,
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": values.name}],
                "Statistic": "Average",
            },
        }
    metric = "SageMakerVariantInvocationsPerInstance"
    return {**body, "PredefinedMetricSpecification": {"PredefinedMetricType": metric}}
