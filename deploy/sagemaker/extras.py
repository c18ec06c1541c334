"""The bodies of the calls beside the endpoint: image, model package and batch job."""

from __future__ import annotations

import re
from typing import Any, Final

from deploy.bento import Bento
from deploy.documents import Document
from deploy.errors import ValuesError
from deploy.sagemaker.naming import call, content_name
from deploy.sagemaker.requests import tags
from deploy.sagemaker.values import SageMakerValues

__all__ = ["PUSH", "image", "image_calls", "package_calls", "transform_calls"]

PUSH: Final = "image.push"
"""Name of the document that is no call to AWS: which image goes where."""

_HELD: Final = re.compile(r"\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/.+")

CONTENT_TYPES: Final = ["application/json", "application/jsonlines", "text/csv"]
ANSWER_TYPES: Final = ["application/json", "application/jsonlines", "text/csv"]


def image(bento: Bento, values: SageMakerValues) -> str:
    """Returns the image as SageMaker pulls it.

    Raises:
        ValuesError: It is in no registry that SageMaker pulls from.
    """
    if values.push is not None:
        return f"{values.registry}/{values.push.repository}:{_tag(bento, values.image)}"
    found = _HELD.fullmatch(values.image)
    if found is None or found[1] != values.region:
        raise ValuesError(
            f"The image is {values.image!r}, but SageMaker pulls only from Amazon's registry in "
            f"{values.region}, like '{values.registry}/switchyard:1.0'; 'push' with a 'repository' "
            "brings an image there."
        )
    return values.image


def _tag(bento: Bento, source: str) -> str:
    """Returns the tag that an image has, the Bento's version where it has none."""
    last = source.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or bento.version


def image_calls(bento: Bento, values: SageMakerValues, target: str) -> list[Document]:
    """Returns what brings the image into the registry."""
    if values.push is None:
        return []
    repository = {
        "repositoryName": values.push.repository,
        "imageTagMutability": "IMMUTABLE",  # a tag is one image for ever: releases name it
        "imageScanningConfiguration": {"scanOnPush": True},
        "tags": tags(values),
    }
    return [
        call("ecr.create_repository", values.push.repository, repository),
        call(PUSH, target, {"from": values.image, "to": target, "by": values.push.by}),
    ]


def package_calls(bento: Bento, values: SageMakerValues, image: str) -> list[Document]:
    """Returns the calls that register the release in a model package group.

    A package runs anywhere, so it is static: what its place shares is not for a registry.
    """
    if values.package_group is None:
        return []
    group = {
        "ModelPackageGroupName": values.package_group,
        "ModelPackageGroupDescription": f"Releases of {values.name}.",
        "Tags": tags(values),
    }
    machines: dict[str, Any] = {}
    if values.instances is not None:
        machines["SupportedRealtimeInferenceInstanceTypes"] = [values.instances.type]
    if values.transform is not None:
        machines["SupportedTransformInstanceTypes"] = [values.transform.type]
    body: dict[str, Any] = {
        "ModelPackageGroupName": values.package_group,
        "InferenceSpecification": {
            "Containers": [{"Image": image, "Environment": {"SWITCHYARD_MODE": "static"}}],
            **machines,
            "SupportedContentTypes": CONTENT_TYPES,
            "SupportedResponseMIMETypes": ANSWER_TYPES,
        },
        "ModelApprovalStatus": "PendingManualApproval",
        "CustomerMetadataProperties": {"bento": bento.tag, "models": " ".join(bento.models)[:256]},
    }
    # The list of a group's versions shows descriptions: by it a version is found again.
    name = content_name(values.name, bento.version, body)
    package = {**body, "ModelPackageDescription": name}
    return [
        call("sagemaker.create_model_package_group", values.package_group, group),
        call("sagemaker.create_model_package", name, package),
    ]


def transform_calls(bento: Bento, values: SageMakerValues, model: str) -> list[Document]:
    """Returns the call that starts the batch job with a model."""
    asked = values.transform
    if asked is None:
        return []
    lines = asked.content_type != "application/json"
    body: dict[str, Any] = {
        "ModelName": model,
        "MaxConcurrentTransforms": asked.concurrent,
        "MaxPayloadInMB": asked.payload_mb,
        "BatchStrategy": "MultiRecord" if lines else "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": asked.input}},
            "ContentType": asked.content_type,
            "SplitType": "Line" if lines else "None",
        },
        "TransformOutput": {
            "S3OutputPath": asked.output,
            "Accept": asked.accept,
            "AssembleWith": "Line" if lines else "None",
        },
        "TransformResources": {"InstanceType": asked.type, "InstanceCount": asked.count},
    }
    name = content_name(values.name, bento.version, body, values.generation)
    body["TransformOutput"]["S3OutputPath"] = f"{asked.output}/{name}"
    whole = {"TransformJobName": name, **body, "Tags": tags(values, bento)}
    return [call("sagemaker.create_transform_job", name, whole)]
