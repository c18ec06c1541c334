"""Sections of the values: machines, forms, updates, scaling and what goes to S3."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, PositiveFloat, PositiveInt, model_validator
from pydantic import Field as Setting

from switchyard.formats import Duration
from switchyard.plan_problems import wrong
from switchyard.section import Section

__all__ = [
    "Alarms",
    "Async",
    "Capture",
    "Instances",
    "Network",
    "Push",
    "Scaling",
    "Serverless",
    "Transform",
    "Update",
]

_INSTANCE: Final = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+")
_BUCKET: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?")
_TOPIC: Final = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+")


def _instance(name: str) -> str:
    if not _INSTANCE.fullmatch(name):
        raise wrong(f"is {name!r}, but must be a machine of SageMaker, like 'ml.c7i.xlarge'")
    return name


def _s3(url: str) -> str:
    if not _BUCKET.fullmatch(url):
        raise wrong(f"is {url!r}, but must look like 's3://bucket/folder'")
    return url.rstrip("/")


def _topic(arn: str) -> str:
    if not _TOPIC.fullmatch(arn):
        raise wrong(f"is {arn!r}, but must be the ARN of an SNS topic")
    return arn


InstanceType = Annotated[str, AfterValidator(_instance)]
S3Url = Annotated[str, AfterValidator(_s3)]
Topic = Annotated[str, AfterValidator(_topic)]
Wait = Annotated[Duration, Setting(ge=0, le=3600)]


class Push(Section):
    """How an image gets into the account's registry.

    Attributes:
        repository: Repository there; it is made if it is not.
        by: `docker` or `podman`, which hold the image; or `skopeo`, which copies it from another
            registry.
    """

    repository: Annotated[str, Setting(pattern=r"^[a-z0-9]+([._/-][a-z0-9]+)*$")]
    by: Literal["docker", "podman", "skopeo"] = "docker"


class Instances(Section):
    """Machines.

    Attributes:
        type: Their kind.
        count: How many; with `scaling`, at first. With `variants: split`, for each variant.
        start_within: Seconds that a container may take until it answers.
    """

    type: InstanceType
    count: PositiveInt = 1
    start_within: Annotated[Duration, Setting(ge=60, le=3600)] = 600.0


class Async(Section):
    """The form `async`.

    Attributes:
        output: Folder of the answers.
        failures: Folder of what was answered with an error; left out, the one of the answers.
        concurrent: Requests at once on one machine; left out, SageMaker decides.
        success_topic: Told of every answer.
        error_topic: Told of every failure.
    """

    output: S3Url
    failures: S3Url | None = None
    concurrent: Annotated[int, Setting(ge=1, le=1000)] | None = None
    success_topic: Topic | None = None
    error_topic: Topic | None = None


class Serverless(Section):
    """The form `serverless`.

    Attributes:
        memory_mb: Memory; cores come with it.
        max_concurrency: Containers at once, one request each.
        provisioned: Containers that are kept warm.
    """

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 6144
    max_concurrency: Annotated[int, Setting(ge=1, le=200)] = 20
    provisioned: Annotated[int, Setting(ge=1, le=200)] | None = None

    @model_validator(mode="after")
    def _provisioned_fits(self) -> Serverless:
        if self.provisioned is not None and self.provisioned > self.max_concurrency:
            raise wrong(f"is more than max_concurrency, {self.max_concurrency}", "provisioned")
        return self


class Capture(Section):
    """Requests and answers that SageMaker keeps.

    Attributes:
        to: Folder.
        percent: How many of a hundred.
    """

    to: S3Url
    percent: Annotated[int, Setting(ge=1, le=100)] = 100


class Update(Section):
    """How a new release takes over: on new machines, beside the old ones.

    Attributes:
        shift: Traffic moves `all_at_once`, as a `canary` of some percent, or in `linear` steps.
        percent: Of the canary, or of one step.
        wait: Seconds after the canary, a step or the whole, in which the alarms are watched.
        keep_old: Seconds for which the old machines are kept then.
    """

    shift: Literal["all_at_once", "canary", "linear"] = "all_at_once"
    percent: Annotated[int, Setting(ge=10, le=50)] = 10
    wait: Wait = 300.0
    keep_old: Wait = 60.0


class Alarms(Section):
    """Alarms of CloudWatch; one that goes off during an update takes it back.

    Attributes:
        server_errors: Answers of 5XX in a minute; null for no such alarm.
        latency_ms: Mean time of the model's answers in a minute; null for no such alarm.
        minutes: Minutes in a row that must be as bad.
        topic: Told when one goes off.
    """

    server_errors: PositiveInt | None = 5
    latency_ms: PositiveFloat | None = 1000.0
    minutes: Annotated[int, Setting(ge=1, le=60)] = 1
    topic: Topic | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Alarms:
        if self.server_errors is None and self.latency_ms is None:
            raise wrong("is null, and so is latency_ms: there is no alarm then", "server_errors")
        return self


class Scaling(Section):
    """Machines that come and go with the load.

    Attributes:
        min: Fewest; 0 only for the form `async`.
        max: Most.
        target: Load that each is to have: requests in a minute; for the form `async`, requests
            that wait.
        out_after: Seconds between two steps up.
        in_after: Seconds between two steps down.
    """

    min: Annotated[int, Setting(ge=0)] = 1
    max: PositiveInt
    target: PositiveFloat
    out_after: Wait = 60.0
    in_after: Wait = 300.0

    @model_validator(mode="after")
    def _in_order(self) -> Scaling:
        if self.max < max(self.min, 1):
            raise wrong(f"is {self.max}, but 'min' is {self.min}", "max")
        return self


class Transform(Section):
    """A batch job: every file of a folder is predicted into a file of another folder.

    Attributes:
        input: Folder of the files.
        output: Folder of the answers; each job makes one of its own in it.
        type: Kind of the machines.
        count: How many.
        content_type: Of the files.
        accept: Of the answers.
        payload_mb: Most of a file that goes into one request.
        concurrent: Requests at once on one machine.
    """

    input: S3Url
    output: S3Url
    type: InstanceType
    count: PositiveInt = 1
    content_type: Literal["text/csv", "application/jsonlines", "application/json"] = "text/csv"
    accept: Literal["text/csv", "application/jsonlines", "application/json"] = "application/json"
    payload_mb: Annotated[int, Setting(ge=1, le=100)] = 6
    concurrent: PositiveInt = 1


class Network(Section):
    """A private network, such as the one of the shared database.

    Attributes:
        subnets: Their ids.
        security_groups: Their ids.
    """

    subnets: Annotated[list[str], Setting(min_length=1, max_length=16)]
    security_groups: Annotated[list[str], Setting(min_length=1, max_length=5)]
