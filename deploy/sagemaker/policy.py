"""The rights that are needed, and no others: of whoever deploys, and of the containers' role.

They are printed for whoever administers the account; nothing here sends them.
"""

from __future__ import annotations

from typing import Any, Final

from deploy.documents import Document
from deploy.sagemaker.values import SageMakerValues

__all__ = ["policies"]

PULL: Final = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
]
PUSH: Final = [
    "ecr:CompleteLayerUpload",
    "ecr:CreateRepository",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:TagResource",
    "ecr:UploadLayerPart",
]


def policies(values: SageMakerValues, image: str) -> list[Document]:
    """Returns the policies of the deployer and of the role, and whom the role trusts.

    Args:
        values: What the endpoint is to be like.
        image: Image in the account's registry.
    """
    return [
        Document("iam.policy/deployer", _policy(_deployer(values, image))),
        Document("iam.policy/role", _policy(_role(values, image))),
        Document("iam.policy/trust", _policy([_trust()])),
    ]


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(
    sid: str, actions: list[str], resources: list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    body = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return body if condition is None else {**body, "Condition": condition}


def _deployer(values: SageMakerValues, image: str) -> list[dict[str, Any]]:
    name = values.name
    found = [
        _allow(
            "Endpoint",
            [
                f"sagemaker:{action}"
                for action in (
                    *("AddTags", "CreateEndpoint", "DeleteEndpoint", "DescribeEndpoint"),
                    *("InvokeEndpoint", "InvokeEndpointAsync", "UpdateEndpoint"),
                    "UpdateEndpointWeightsAndCapacities",
                )
            ],
            [values.arn("sagemaker", f"endpoint/{name}")],
        ),
        _allow(
            "Releases",
            [
                f"sagemaker:{action}"
                for action in (
                    *("AddTags", "CreateEndpoint", "CreateEndpointConfig", "CreateModel"),
                    *("DeleteEndpointConfig", "DeleteModel", "DescribeEndpointConfig"),
                    *("DescribeModel", "UpdateEndpoint"),
                )
            ],
            [
                values.arn("sagemaker", f"endpoint-config/{name}-*"),
                values.arn("sagemaker", f"model/{name}-*"),
            ],
        ),
        _allow(
            "Role",
            ["iam:PassRole"],
            [values.role],
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        ),
        _allow("Image", ["ecr:DescribeImages"], [_repository(values, image)]),
    ]
    if values.push is not None:
        found += [
            _allow("Login", ["ecr:GetAuthorizationToken"], ["*"]),
            _allow("Push", [*PULL, *PUSH], [_repository(values, image)]),
        ]
    return found + _watching(values) + _beside(values)


def _watching(values: SageMakerValues) -> list[dict[str, Any]]:
    name = values.name
    found = []
    if values.alarms is not None:
        actions = ["DeleteAlarms", "DescribeAlarms", "PutMetricAlarm", "TagResource"]
        alarms = values.arn("cloudwatch", f"alarm:{name}-*")
        found.append(_allow("Alarms", [f"cloudwatch:{each}" for each in actions], [alarms]))
    if values.scaling is not None:
        service = "sagemaker.application-autoscaling.amazonaws.com"
        linked = (
            f"arn:{values.partition}:iam::{values.account}:role/aws-service-role/{service}/"
            "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
        )
        actions = [
            *("DeleteScalingPolicy", "DeregisterScalableTarget"),
            *("PutScalingPolicy", "RegisterScalableTarget"),
        ]
        tracked = values.arn("cloudwatch", f"alarm:TargetTracking-endpoint/{name}/*")
        found += [
            _allow(
                "Scaling",
                [f"application-autoscaling:{each}" for each in actions],
                [values.arn("application-autoscaling", "scalable-target/*")],
                {"StringEquals": {"application-autoscaling:service-namespace": "sagemaker"}},
            ),
            _allow(
                "ScalingLook",
                [
                    "application-autoscaling:DescribeScalableTargets",
                    "application-autoscaling:DescribeScalingPolicies",
                ],
                ["*"],  # AWS grants these for all or nothing
            ),
            _allow(
                "ScalingAlarms",
                [f"cloudwatch:{each}" for each in ("DeleteAlarms", "PutMetricAlarm")],
                [tracked],
            ),
            _allow(
                "ScalingRole",
                ["iam:CreateServiceLinkedRole"],
                [linked],
                {"StringEquals": {"iam:AWSServiceName": service}},
            ),
        ]
    return found


def _beside(values: SageMakerValues) -> list[dict[str, Any]]:
    found = []
    if values.asynchronous is not None:
        folder = values.asynchronous.output
        found.append(
            _allow(
                "SmokeTest",
                ["s3:GetObject", "s3:PutObject"],
                _objects(values, folder, values.asynchronous.failures),
            )
        )
        # Without it S3 says of an answer that is not there yet that it is forbidden.
        buckets = _buckets(values, folder, values.asynchronous.failures)
        found.append(_allow("SmokeTestList", ["s3:ListBucket"], buckets))
    if values.transform is not None:
        actions = ["AddTags", "CreateTransformJob", "DescribeTransformJob", "StopTransformJob"]
        jobs = values.arn("sagemaker", f"transform-job/{values.name}-*")
        found.append(_allow("Transform", [f"sagemaker:{each}" for each in actions], [jobs]))
    if values.package_group is not None:
        actions = [
            *("AddTags", "CreateModelPackage", "CreateModelPackageGroup"),
            "ListModelPackages",
        ]
        group = values.package_group
        found.append(
            _allow(
                "Packages",
                [f"sagemaker:{each}" for each in actions],
                [
                    values.arn("sagemaker", f"model-package-group/{group}"),
                    values.arn("sagemaker", f"model-package/{group}/*"),
                ],
            )
        )
    return found


def _role(values: SageMakerValues, image: str) -> list[dict[str, Any]]:
    logs = [
        values.arn("logs", f"log-group:/aws/sagemaker/{kind}*")
        for kind in (f"Endpoints/{values.name}", *(["TransformJobs"] if values.transform else []))
    ]
    actions = ["CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"]
    found = [
        _allow("Login", ["ecr:GetAuthorizationToken"], ["*"]),
        _allow("Pull", PULL, [_repository(values, image)]),
        _allow("Logs", [f"logs:{each}" for each in actions], logs),
        _allow(
            "Metrics",
            ["cloudwatch:PutMetricData"],
            ["*"],
            {"StringLike": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/*"]}},
        ),
    ]
    found += _storage(values)
    if values.alarms is not None:  # SageMaker looks at them with this role during an update
        alarms = values.arn("cloudwatch", f"alarm:{values.name}-*")
        found.append(_allow("Alarms", ["cloudwatch:DescribeAlarms"], [alarms]))
    if values.network is not None:
        actions = [
            *("CreateNetworkInterface", "CreateNetworkInterfacePermission"),
            *("DeleteNetworkInterface", "DeleteNetworkInterfacePermission"),
            *("DescribeDhcpOptions", "DescribeNetworkInterfaces", "DescribeSecurityGroups"),
            *("DescribeSubnets", "DescribeVpcs"),
        ]
        found.append(_allow("Network", [f"ec2:{each}" for each in actions], ["*"]))
    topics = values.asynchronous and [
        each
        for each in (values.asynchronous.success_topic, values.asynchronous.error_topic)
        if each is not None
    ]
    if topics:
        found.append(_allow("Topics", ["sns:Publish"], sorted(set(topics))))
    return found


def _storage(values: SageMakerValues) -> list[dict[str, Any]]:
    """Returns the rights to the folders: reading what is asked, writing what is answered."""
    asynchronous, transform = values.asynchronous, values.transform
    log = values.shared.log_store
    store = log if log and log.startswith("s3://") else None
    read, write = [store], [store]
    if asynchronous is not None:
        read.append(asynchronous.output)
        write += [asynchronous.output, asynchronous.failures]
    if transform is not None:
        read.append(transform.input)
        write.append(transform.output)
    if values.capture is not None:
        write.append(values.capture.to)
    found = []
    if any(read):
        found += [
            _allow("Read", ["s3:GetObject"], _objects(values, *read)),
            _allow("List", ["s3:ListBucket"], _buckets(values, *read)),
        ]
    if any(write):
        actions = ["s3:AbortMultipartUpload", "s3:PutObject"]
        found.append(_allow("Write", actions, _objects(values, *write)))
    if store is not None:
        found.append(_allow("Retention", ["s3:DeleteObject"], _objects(values, store)))
    return found


def _objects(values: SageMakerValues, *urls: str | None) -> list[str]:
    paths = {url.removeprefix("s3://").rstrip("/") for url in urls if url}
    return [f"arn:{values.partition}:s3:::{path}/*" for path in sorted(paths)]


def _buckets(values: SageMakerValues, *urls: str | None) -> list[str]:
    names = {url.removeprefix("s3://").partition("/")[0] for url in urls if url}
    return [f"arn:{values.partition}:s3:::{name}" for name in sorted(names)]


def _repository(values: SageMakerValues, image: str) -> str:
    host, _, path = image.partition("/")
    account, region = host.split(".")[0], host.split(".")[3]
    name = path.partition("@")[0].rpartition(":")[0] or path.partition("@")[0]
    return f"arn:{values.partition}:ecr:{region}:{account}:repository/{name}"


def _trust() -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
