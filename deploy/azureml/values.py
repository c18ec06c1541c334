"""What an Azure ML endpoint is to be like."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, model_validator
from pydantic import Field as Setting

from deploy.values import ImageValues, Secret, Shared
from switchyard.formats import Duration
from switchyard.plan_problems import wrong
from switchyard.section import Section

__all__ = ["Autoscale", "AzureMLValues", "Collect", "Traffic"]

LONGEST_NAME: Final = 32
SHORTEST_NAME: Final = 3

_SUBSCRIPTION: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAMED: Final = re.compile(r"[\w().-]{1,90}", re.ASCII)
_INSTANCE: Final = re.compile(r"Standard_[A-Za-z0-9_]+")
_IDENTITY: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/"
    r"Microsoft\.ManagedIdentity/userAssignedIdentities/[^/]+",
    re.IGNORECASE,
)


def _subscription(text: str) -> str:
    if not _SUBSCRIPTION.fullmatch(text):
        raise wrong(
            f"is {text!r}, but must be the id of a subscription, such as "
            "'00000000-0000-0000-0000-000000000000' (`az account show` prints it)"
        )
    return text


def _named(text: str) -> str:
    if not _NAMED.fullmatch(text) or text.endswith("."):
        raise wrong(f"is {text!r}; Azure takes letters, digits and ._()-, at most 90")
    return text


def _instance(text: str) -> str:
    if not _INSTANCE.fullmatch(text):
        raise wrong(f"is {text!r}, but must be a size of Azure's machines, like 'Standard_DS3_v2'")
    return text


def _identity(text: str) -> str:
    if not _IDENTITY.fullmatch(text):
        raise wrong(
            f"is {text!r}, but must be the resource id of a user-assigned identity, "
            "'/subscriptions/.../userAssignedIdentities/NAME'"
        )
    return text


AzureName = Annotated[str, AfterValidator(_named)]
Percent = Annotated[int, Setting(ge=0, le=100)]


class Traffic(Section):
    """How a release takes the place of the one before.

    Attributes:
        mirror: Percent of the live requests that are copied to it first; their answers are thrown
            away. Azure copies at most 50.
        share: Percent of the live requests that it answers next; 100 gives it all at once.
        hold: Seconds that each of these two lasts, before it gets all.
        keep: Whether the release before keeps its instances, so that a rollback only moves traffic
            back; they cost what they cost.
    """

    mirror: Annotated[int, Setting(ge=0, le=50)] = 0
    share: Annotated[int, Setting(ge=1, le=100)] = 100
    hold: Duration = 300.0
    keep: bool = True


class Autoscale(Section):
    """Rules of Azure Monitor that add and remove instances.

    Attributes:
        minimum: Fewest instances.
        maximum: Most instances.
        above: Utilisation in percent, over five minutes, from which one is added: of the GPU where
            the Bento needs one, else of the CPU.
        below: Utilisation in percent below which one is removed.
        latency_ms: Mean latency of the endpoint from which one is added; left out, none is asked.
    """

    minimum: Annotated[int, Setting(ge=1)] = 1
    maximum: Annotated[int, Setting(ge=1)]
    above: Annotated[int, Setting(ge=1, le=100)] = 70
    below: Percent = 30
    latency_ms: Annotated[int, Setting(ge=1)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Autoscale:
        if self.maximum < self.minimum:
            raise wrong(f"is {self.maximum}, but 'minimum' is {self.minimum}", "maximum")
        if self.below >= self.above:
            raise wrong(f"is {self.below}, but must be less than 'above' ({self.above})", "below")
        return self


class Collect(Section):
    """Azure's own record of requests and answers, beside the prediction log.

    Attributes:
        share: Share of the requests that is stored, 0 to 1.
        roll: How often it begins a new file.
        headers: Headers that are stored with them.
    """

    share: Annotated[float, Setting(gt=0, le=1)] = 1.0
    roll: Literal["minute", "hour", "day"] = "hour"
    headers: tuple[str, ...] = Setting(default=(), strict=False)


class AzureMLValues(ImageValues):
    """What `switchyard deploy azureml` asks for.

    Attributes:
        subscription: Id of the subscription.
        resource_group: Name of the resource group.
        workspace: Name of the workspace; of these three and `name`, which must be free in the
            region, the place is made.
        location: Region of the workspace, as Azure writes it, such as `westeurope`.
        auth: What callers show: a key, a token of the workspace, or one of Microsoft Entra.
        public: Whether the endpoint can be reached from outside the workspace's network.
        identity: Resource id of a user-assigned identity that pulls the image; left out, the
            endpoint gets one of its own.
        instance_type: Size of the machines.
        instances: How many; with `autoscale` only at first.
        concurrency: Requests at a time that Azure hands to one instance.
        autoscale: Rules that change the number of instances.
        collect: Azure's record of requests and answers.
        traffic: How a release takes the place of the one before.
        shared: What the instances share.
        admin_token: Variable with the token of the admin routes; left out, each instance makes one.
        log_salt: Variable with the secret that logged keys are hashed with.
    """

    subscription: Annotated[str, AfterValidator(_subscription)]
    resource_group: AzureName
    workspace: AzureName
    location: Annotated[str, Setting(pattern="^[a-z0-9]+$")]
    auth: Literal["key", "aml_token", "aad_token"] = "key"
    public: bool = True
    identity: Annotated[str, AfterValidator(_identity)] | None = None
    instance_type: Annotated[str, AfterValidator(_instance)]
    instances: Annotated[int, Setting(ge=1)] = 1
    concurrency: Annotated[int, Setting(ge=1)] = 64
    autoscale: Autoscale | None = None
    collect: Collect | None = None
    traffic: Traffic = Setting(default_factory=Traffic)
    shared: Shared = Setting(default_factory=Shared)
    admin_token: Secret | None = None
    log_salt: Secret | None = None

    @model_validator(mode="after")
    def _azure_takes_it(self) -> AzureMLValues:
        if not SHORTEST_NAME <= len(self.name) <= LONGEST_NAME:
            raise wrong(
                f"is {self.name!r}; Azure takes {SHORTEST_NAME} to {LONGEST_NAME} characters",
                "name",
            )
        scale = self.autoscale
        if scale is not None and not scale.minimum <= self.instances <= scale.maximum:
            raise wrong(
                f"is {self.instances}, but 'autoscale' goes from {scale.minimum} to "
                f"{scale.maximum}",
                "instances",
            )
        return self

    def environ(self) -> dict[str, str]:
        """Returns the variables of a container; secrets by name."""
        named = {
            "SWITCHYARD_ADMIN_TOKEN": self.admin_token,
            "SWITCHYARD_LOG_SALT": self.log_salt,
        }
        return self.shared.environ() | {
            key: f"${{{name}}}" for key, name in named.items() if name is not None
        }
