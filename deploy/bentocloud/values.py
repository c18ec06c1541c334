"""What a deployment on BentoCloud is to be like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Setting
from pydantic import model_validator

from deploy.values import Secret, Shared, Values
from switchyard.plan_problems import wrong
from switchyard.section import Section

__all__ = ["BentoCloudValues", "Running"]

Speed = Literal["fast", "stable", "slow"]


class Running(Section):
    """How one service runs.

    Attributes:
        instance_type: Kind of the machine, such as `cpu.2` or `gpu.t4.1`; left out, BentoCloud
            chooses by what the service declares to need.
        minimum: Fewest replicas; 0 lets it sleep while nobody asks.
        maximum: Most replicas.
        scale_up: How fast replicas come.
        scale_down: How fast they go.
        strategy: How a new revision takes the place of the old.
    """

    instance_type: Annotated[str, Setting(pattern=r"^[a-z0-9.-]+$")] | None = None
    minimum: Annotated[int, Setting(ge=0)] = 1
    maximum: Annotated[int, Setting(ge=1)] = 1
    scale_up: Speed | None = None
    scale_down: Speed | None = None
    strategy: Literal[
        "RollingUpdate", "Recreate", "RampedSlowRollout", "BestEffortControlledRollout"
    ] = "RollingUpdate"

    @model_validator(mode="after")
    def _in_order(self) -> Running:
        if self.minimum > self.maximum:
            raise wrong(f"is {self.minimum}, but 'maximum' is {self.maximum}", "minimum")
        return self


class BentoCloudValues(Values):
    """What `switchyard deploy bentocloud` asks for.

    Attributes:
        cluster: Cluster of the organisation; left out, its first one.
        protected: Whether callers must show a token of BentoCloud.
        services: How services run, by name; those left out run once, where BentoCloud chooses.
        shared: What the replicas share.
        hop_token: Variable with the token that the router shows to the hosts, which run apart.
        admin_token: Variable with the token of the admin routes; left out, each replica makes one.
        log_salt: Variable with the secret that logged keys are hashed with.
        secrets: Names of secrets of BentoCloud whose variables the services get too.
    """

    cluster: str | None = None
    protected: bool = True
    services: dict[str, Running] = Setting(default_factory=dict)
    shared: Shared = Setting(default_factory=Shared)
    hop_token: Secret
    admin_token: Secret | None = None
    log_salt: Secret | None = None
    secrets: tuple[str, ...] = Setting(default=(), strict=False)

    def environ(self) -> tuple[dict[str, str], dict[str, str]]:
        """Returns the variables that anybody may read, and those that nobody is to."""
        named = {
            "SWITCHYARD_HOP_TOKEN": self.hop_token,
            "SWITCHYARD_ADMIN_TOKEN": self.admin_token,
            "SWITCHYARD_LOG_SALT": self.log_salt,
        }
        secret = {key: f"${{{name}}}" for key, name in named.items() if name is not None}
        plain = self.shared.environ()
        if (url := plain.pop("SWITCHYARD_DATABASE_URL", None)) is not None:
            secret["SWITCHYARD_DATABASE_URL"] = url
        return plain, secret
