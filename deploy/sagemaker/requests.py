"""The bodies of the calls that make models, endpoint configuration and endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from deploy.bento import Bento
from deploy.documents import Document
from deploy.errors import ValuesError
from deploy.sagemaker.naming import call, content_name, slug
from deploy.sagemaker.sections import Async, Capture, Update
from deploy.sagemaker.values import SageMakerValues

__all__ = ["Hosted", "configuration", "endpoint_calls", "hosted", "model_calls", "tags"]

ROUTER: Final = "router"
"""The production variant whose containers split by themselves. It never has another name: an update
takes over bit by bit only where the names stay."""

MOST_VARIANTS: Final = 10


@dataclass(frozen=True, slots=True)
class Hosted:
    """One production variant.

    Attributes:
        name: Its name in SageMaker.
        weight: Its share of the requests.
        model: Body of its model.
        shadow: Whether it is only mirrored to.
    """

    name: str
    weight: float
    model: dict[str, Any]
    shadow: bool = False

    @property
    def model_name(self) -> str:
        """Name of its model."""
        return str(self.model["ModelName"])


def hosted(bento: Bento, values: SageMakerValues, image: str) -> list[Hosted]:
    """Returns the production variants, and the shadow variant last.

    Args:
        bento: What is deployed.
        values: What the endpoint is to be like.
        image: Image in the account's registry.

    Raises:
        ValuesError: SageMaker cannot split as the plan does.
    """
    if values.variants == "router":
        return [Hosted(ROUTER, 1.0, _model(bento, values, image, None))]
    endpoint = _endpoint(bento, values)
    traffic = bento.plan.endpoint(endpoint).traffic
    stable = bento.plan.endpoint(endpoint).stable
    shares = {name: share * traffic.coverage for name, share in traffic.split.items()}
    shares[stable] += 1 - traffic.coverage
    shares = {name: round(share, 6) for name, share in shares.items() if share > 0}
    shadows = {name: share for name, share in traffic.shadow.items() if share > 0}
    _check_split(endpoint, shares, shadows)

    def one(variant: str, weight: float, shadow: bool = False) -> Hosted:
        model = _model(bento, values, image, f"{endpoint}={variant}")
        return Hosted(slug(variant)[:63], weight, model, shadow)

    return [
        *(one(name, share) for name, share in shares.items()),
        *(one(name, share, shadow=True) for name, share in shadows.items()),
    ]


def _endpoint(bento: Bento, values: SageMakerValues) -> str:
    endpoint = values.endpoint or bento.plan.default_endpoint
    if endpoint is None or endpoint not in bento.plan.endpoints:
        known = ", ".join(bento.plan.endpoints)
        said = f"no endpoint {endpoint!r}" if endpoint else "no default endpoint"
        raise ValuesError(
            f"'variants: split' splits one endpoint of the plan, but the plan of {bento.tag} has "
            f"{said}; write one of {known} into 'endpoint'."
        )
    return endpoint


def _check_split(endpoint: str, shares: dict[str, float], shadows: dict[str, float]) -> None:
    if len(shares) > MOST_VARIANTS:
        raise ValuesError(
            f"{endpoint!r} splits over {len(shares)} variants, but an endpoint of SageMaker has at "
            f"most {MOST_VARIANTS}; say 'variants: router'."
        )
    if shadows and (len(shares) > 1 or len(shadows) > 1):
        raise ValuesError(
            f"{endpoint!r} splits over {', '.join(shares)} and mirrors to {', '.join(shadows)}, "
            "but SageMaker mirrors to one variant beside one that answers; say 'variants: router', "
            "which does both."
        )
    names = [slug(name)[:63] for name in (*shares, *shadows)]
    if len(set(names)) < len(names):
        raise ValuesError(
            f"Two variants of {endpoint!r} cannot be told apart in SageMaker, whose names take "
            "letters, digits and '-' only; rename one in the plan, or say 'variants: router'."
        )


def _model(
    bento: Bento, values: SageMakerValues, image: str, variant: str | None
) -> dict[str, Any]:
    environment = values.shared.environ()
    if values.log_salt is not None:
        environment["SWITCHYARD_LOG_SALT"] = f"${{{values.log_salt}}}"
    if variant is not None:
        environment["SWITCHYARD_VARIANT"] = variant
    body: dict[str, Any] = {
        "PrimaryContainer": {"Image": image, "Environment": environment},
        "ExecutionRoleArn": values.role,
    }
    if values.network is not None:
        body["VpcConfig"] = {
            "Subnets": values.network.subnets,
            "SecurityGroupIds": values.network.security_groups,
        }
    name = content_name(values.name, bento.version, body, values.generation)
    return {"ModelName": name, **body, "Tags": tags(values, bento)}


def tags(values: SageMakerValues, bento: Bento | None = None) -> list[dict[str, str]]:
    """Returns the tags of what is made; what outlives a release is not tagged with its Bento."""
    ours = {"switchyard:name": values.name}
    if bento is not None:
        ours["switchyard:bento"] = bento.tag
    return [{"Key": key, "Value": value} for key, value in {**values.tags, **ours}.items()]


def model_calls(variants: list[Hosted]) -> list[Document]:
    """Returns the calls that make the models."""
    return [call("sagemaker.create_model", each.model_name, each.model) for each in variants]


def configuration(bento: Bento, values: SageMakerValues, variants: list[Hosted]) -> Document:
    """Returns the call that makes the endpoint configuration."""
    production = [_production(values, each) for each in variants if not each.shadow]
    shadows = [_production(values, each) for each in variants if each.shadow]
    body: dict[str, Any] = {"ProductionVariants": production}
    if shadows:
        body["ShadowProductionVariants"] = shadows
    if values.capture is not None:
        body["DataCaptureConfig"] = _capture(values.capture)
    if values.asynchronous is not None:
        body["AsyncInferenceConfig"] = _asynchronous(values.asynchronous)
    name = content_name(values.name, bento.version, body, values.generation)
    whole = {"EndpointConfigName": name, **body, "Tags": tags(values, bento)}
    return call("sagemaker.create_endpoint_config", name, whole)


def _production(values: SageMakerValues, variant: Hosted) -> dict[str, Any]:
    body: dict[str, Any] = {
        "VariantName": variant.name,
        "ModelName": variant.model_name,
        "InitialVariantWeight": variant.weight,
    }
    if values.serverless is not None:
        config = {
            "MemorySizeInMB": values.serverless.memory_mb,
            "MaxConcurrency": values.serverless.max_concurrency,
        }
        if values.serverless.provisioned is not None:
            config["ProvisionedConcurrency"] = values.serverless.provisioned
        return {**body, "ServerlessConfig": config}
    machines = values.instances
    assert machines is not None  # the values were checked
    return {
        **body,
        "InstanceType": machines.type,
        "InitialInstanceCount": machines.count,
        "ContainerStartupHealthCheckTimeoutInSeconds": ceil(machines.start_within),
    }


def _capture(capture: Capture) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": capture.percent,
        "DestinationS3Uri": capture.to,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {
            "CsvContentTypes": ["text/csv"],
            "JsonContentTypes": ["application/json", "application/jsonlines"],
        },
    }


def _asynchronous(asked: Async) -> dict[str, Any]:
    output: dict[str, Any] = {
        "S3OutputPath": asked.output,
        "S3FailurePath": asked.failures or f"{asked.output}/failures",
    }
    topics = {"SuccessTopic": asked.success_topic, "ErrorTopic": asked.error_topic}
    named = {key: topic for key, topic in topics.items() if topic is not None}
    if named:
        output["NotificationConfig"] = named
    body: dict[str, Any] = {"OutputConfig": output}
    if asked.concurrent is not None:
        body["ClientConfig"] = {"MaxConcurrentInvocationsPerInstance": asked.concurrent}
    return body


def endpoint_calls(values: SageMakerValues, config: str, alarms: list[str]) -> list[Document]:
    """Returns the call that makes the endpoint, and the one that updates it where it is.

    Args:
        values: What the endpoint is to be like.
        config: Name of the endpoint configuration.
        alarms: Names of the alarms that take an update back.
    """
    names = {"EndpointName": values.name, "EndpointConfigName": config}
    update: dict[str, Any] = dict(names)
    if values.scaling is not None:
        # The machines that the load has called for stay; all else is as the configuration says.
        update["RetainAllVariantProperties"] = True
        update["ExcludeRetainedVariantProperties"] = [
            {"VariantPropertyType": "DesiredWeight"},
            {"VariantPropertyType": "DataCaptureConfig"},
        ]
    if values.update is not None:
        update["DeploymentConfig"] = _deployment(values.update, values.ready_within, alarms)
    return [
        call("sagemaker.create_endpoint", values.name, {**names, "Tags": tags(values)}),
        call("sagemaker.update_endpoint", values.name, update),
    ]


def _deployment(update: Update, seconds: float, alarms: list[str]) -> dict[str, Any]:
    routing: dict[str, Any] = {
        "Type": update.shift.upper(),
        "WaitIntervalInSeconds": ceil(update.wait),
    }
    size = {"Type": "CAPACITY_PERCENT", "Value": update.percent}
    if update.shift == "canary":
        routing["CanarySize"] = size
    if update.shift == "linear":
        routing["LinearStepSize"] = size
    body: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": ceil(update.keep_old),
            "MaximumExecutionTimeoutInSeconds": min(max(ceil(seconds), 600), 28_800),
        }
    }
    if alarms:
        body["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return body
