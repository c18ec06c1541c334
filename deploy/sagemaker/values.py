"""What an endpoint of SageMaker is to be like."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, PositiveInt, model_validator
from pydantic import Field as Setting

from deploy.sagemaker.sections import (
    Alarms,
    Async,
    Capture,
    Instances,
    Network,
    Push,
    Scaling,
    Serverless,
    Transform,
    Update,
)
from deploy.values import ImageValues, Secret, Shared
from switchyard.formats import Duration
from switchyard.plan_problems import wrong

__all__ = ["SageMakerValues"]

_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_ROLE: Final = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/[\w+=,.@/-]+")


def _region(name: str) -> str:
    if not _REGION.fullmatch(name):
        raise wrong(f"is {name!r}, but must be a region like 'eu-central-1'")
    return name


def _role(arn: str) -> str:
    if not _ROLE.fullmatch(arn):
        raise wrong(
            f"is {arn!r}, but must be the role's ARN, like 'arn:aws:iam::123456789012:role/serving'"
        )
    return arn


class SageMakerValues(ImageValues):
    """What SageMaker is asked for.

    Attributes:
        ready_within: Seconds that an update may take; SageMaker needs many minutes for one.
        region: Where the endpoint is.
        role: ARN of the role that its containers run with; it also says which account it is.
        push: How the image gets into the account's registry; left out, `image` is there already.
        form: `realtime`, `async` (requests and answers lie in S3) or `serverless`.
        variants: `router`: every container splits traffic itself; `split`: one production variant
            for each variant of an endpoint of the plan, and SageMaker splits.
        endpoint: That endpoint; left out, the plan's default one.
        instances: Machines, but of a serverless endpoint.
        asynchronous: Where the answers of the form `async` go.
        serverless: Size of the form `serverless`.
        capture: Requests and answers that SageMaker keeps in S3.
        update: How a new release takes over.
        alarms: What takes an update back by itself.
        scaling: Machines that come and go with the load.
        transform: A batch job that each new release starts once.
        package_group: Model package group that each release is registered in.
        network: Private network of the containers.
        shared: What they share.
        log_salt: Variable with the secret that hashes sticky keys in the log.
        generation: Raise it for new models of an unchanged release: where a secret has changed.
        tags: Of all that is made.
    """

    ready_within: Duration = 3600.0
    region: Annotated[str, AfterValidator(_region)]
    role: Annotated[str, AfterValidator(_role)]
    push: Push | None = None
    form: Literal["realtime", "async", "serverless"] = "realtime"
    variants: Literal["router", "split"] = "router"
    endpoint: str | None = None
    instances: Instances | None = None
    asynchronous: Async | None = None
    serverless: Serverless | None = None
    capture: Capture | None = None
    update: Update | None = None
    alarms: Alarms | None = None
    scaling: Scaling | None = None
    transform: Transform | None = None
    package_group: Annotated[str, Setting(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")] | None = (
        None
    )
    network: Network | None = None
    shared: Shared = Setting(default_factory=Shared)
    log_salt: Secret | None = None
    generation: PositiveInt = 1
    tags: dict[str, str] = Setting(default_factory=dict)

    @property
    def account(self) -> str:
        """Number of the account."""
        return self.role.split(":")[4]

    @property
    def partition(self) -> str:
        """Part of AWS: `aws`, `aws-cn` or `aws-us-gov`."""
        return self.role.split(":")[1]

    @property
    def registry(self) -> str:
        """Host of the account's registry in the region."""
        domain = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        return f"{self.account}.dkr.ecr.{self.region}.{domain}"

    def arn(self, service: str, resource: str) -> str:
        """Returns the ARN of something in this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    @model_validator(mode="after")
    def _of_its_form(self) -> SageMakerValues:
        needs = {"realtime": "instances", "async": "instances", "serverless": "serverless"}
        if getattr(self, needs[self.form]) is None:
            raise wrong(f"is {self.form!r}, which needs '{needs[self.form]}'", "form")
        if self.form == "async" and self.asynchronous is None:
            raise wrong("is 'async', which needs 'asynchronous' with the 'output' in S3", "form")
        if self.form != "async" and self.asynchronous is not None:
            raise wrong(f"goes with 'form: async', but the form is {self.form!r}", "asynchronous")
        if self.form != "serverless" and self.serverless is not None:
            raise wrong(f"goes with 'form: serverless', not {self.form!r}", "serverless")
        if self.form != "realtime" and self.variants == "split":
            raise wrong(
                f"is 'split', but a form {self.form!r} takes one variant only; with 'router' the "
                "container splits",
                "variants",
            )
        if self.form == "serverless":
            for key in ("instances", "capture", "update", "alarms", "scaling", "network"):
                if getattr(self, key) is not None:
                    raise wrong("is not to be had on a serverless endpoint; take it out", key)
        return self

    @model_validator(mode="after")
    def _together(self) -> SageMakerValues:
        if self.variants == "split" and self.shared.mode == "live":
            raise wrong(
                "is 'split', which needs 'shared.mode: static': where SageMaker splits, nothing "
                "else may move traffic",
                "variants",
            )
        if self.variants == "router" and self.endpoint is not None:
            raise wrong("goes with 'variants: split'; a router serves all endpoints", "endpoint")
        if self.alarms is not None and self.update is None:
            raise wrong("need 'update', which they take back", "alarms")
        instances = self.scaling.min if self.scaling else self.instances and self.instances.count
        if self.update and self.update.shift != "all_at_once" and (instances or 0) < 2:
            raise wrong(
                f"is {self.update.shift!r}, which needs at least two instances to shift in parts",
                *("update", "shift"),
            )
        if self.scaling is not None and self.scaling.min == 0 and self.form != "async":
            raise wrong("is 0, which only 'form: async' allows", "scaling", "min")
        return self
