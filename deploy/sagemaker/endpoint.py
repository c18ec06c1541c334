"""The endpoint itself: made, updated, waited for and deleted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import isclose
from typing import Any, Final

from deploy.errors import DeployFailed
from deploy.sagemaker.aws import Aws, Missing, Unreached
from deploy.target import Say

__all__ = ["MOVING", "Endpoint", "weights"]

POLL_SECONDS: Final = 10.0

MOVING: Final = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
"""Statuses that pass by themselves."""


class Endpoint:
    """One endpoint.

    Args:
        aws: AWS.
        name: Its name.
        seconds: How long a change may take.
    """

    def __init__(self, aws: Aws, name: str, seconds: float) -> None:
        self._aws = aws
        self._name = name
        self._seconds = seconds

    def seen(self) -> dict[str, Any] | None:
        """Returns what SageMaker says of it, None where it is not."""
        return self._aws.find("sagemaker", "describe_endpoint", EndpointName=self._name)

    def ready_to_change(self, say: Say) -> dict[str, Any] | None:
        """Returns what SageMaker says of it once it can be changed, None where it is not.

        One that has failed takes nothing but its deletion, so it goes.

        Raises:
            DeployFailed: It is still in motion.
        """
        seen = self._settled(say)
        if seen is not None and seen["EndpointStatus"] == "Failed":
            say(
                f"deleting {self._name}, which has failed: {seen.get('FailureReason', 'no reason')}"
            )
            self.delete(say)
            return None
        return seen

    def create(self, body: Mapping[str, Any], say: Say) -> None:
        """Makes it, and waits until it is in service.

        Raises:
            DeployFailed: It did not become ready; the sentence has SageMaker's reason.
        """
        say(f"making {self._name}")
        self._aws.call("sagemaker", "create_endpoint", **body)
        self._in_service(body["EndpointConfigName"], say)

    def update(
        self,
        present: Mapping[str, Any],
        body: Mapping[str, Any],
        say: Say,
        *,
        returning: bool = False,
    ) -> None:
        """Updates it, and waits until it is in service.

        Args:
            present: What SageMaker says of it.
            body: Of the request.
            say: Takes progress.
            returning: To what has served before: alarms do not take that back, which what is there
                now may have set off.

        Raises:
            DeployFailed: It did not become ready, or SageMaker took it back; the sentence has
                SageMaker's reason.
        """
        sent = dict(body)
        config = body["EndpointConfigName"]
        if self._names(config) != {each["VariantName"] for each in present["ProductionVariants"]}:
            # SageMaker refuses to shift between variants of other names in parts.
            if sent.pop("DeploymentConfig", None) is not None:
                say("its variants have other names, so all traffic moves at once, without alarms")
            sent.pop("RetainAllVariantProperties", None)
            sent.pop("ExcludeRetainedVariantProperties", None)
        if returning and "AutoRollbackConfiguration" in sent.get("DeploymentConfig", {}):
            say("it has served before, so no alarm takes it back")
            held = sent["DeploymentConfig"]
            sent["DeploymentConfig"] = {
                key: held[key] for key in held if key != "AutoRollbackConfiguration"
            }
        say(f"updating {self._name}")
        self._aws.call("sagemaker", "update_endpoint", **sent)
        self._in_service(config, say)

    def restore(
        self, present: Mapping[str, Any], config: Mapping[str, Any], counts: bool, say: Say
    ) -> None:
        """Takes back what was changed by hand of weights and machines.

        Args:
            present: What SageMaker says of it.
            config: The endpoint configuration as it was sent.
            counts: Whether the numbers of machines are ours to say.
            say: Takes progress.
        """
        wanted = []
        for name, sent, seen in weights(present, config):
            change: dict[str, Any] = {"VariantName": name}
            weight, count = sent["InitialVariantWeight"], sent.get("InitialInstanceCount")
            if not isclose(weight, seen.get("DesiredWeight", weight), abs_tol=1e-6):
                change["DesiredWeight"] = weight
            if counts and count is not None and count != seen.get("DesiredInstanceCount", count):
                change["DesiredInstanceCount"] = count
            if len(change) > 1:
                wanted.append(change)
        if wanted:
            say("putting weights and machines back that were changed by hand")
            self._aws.call(
                "sagemaker",
                "update_endpoint_weights_and_capacities",
                EndpointName=self._name,
                DesiredWeightsAndCapacities=wanted,
            )
        self._in_service(config["EndpointConfigName"], say)

    def delete(self, say: Say) -> None:
        """Deletes it, and waits until it is gone; that it is not there is fine."""
        try:
            self._aws.call("sagemaker", "delete_endpoint", EndpointName=self._name)
        except Missing:
            return
        except DeployFailed:
            # One in motion may refuse; what else it refused it says again.
            self._settled(say)
            say(f"deleting {self._name}, which is at rest")
            self._aws.find("sagemaker", "delete_endpoint", EndpointName=self._name)
        end = time.monotonic() + self._seconds
        while self.seen() is not None:
            if time.monotonic() > end:
                raise DeployFailed(f"{self._name} is still being deleted after {self._for}.")
            time.sleep(POLL_SECONDS)

    @property
    def _for(self) -> str:
        return f"{self._seconds:g} seconds"

    def _settled(self, say: Say) -> dict[str, Any] | None:
        """Waits until nothing moves, and returns what is there then."""
        end = time.monotonic() + self._seconds
        said = ""
        while True:
            try:
                seen = self.seen()
            except Unreached as error:
                if not said or time.monotonic() > end:
                    raise
                say(f"{error.message}; asking again")  # it goes on without us
                time.sleep(POLL_SECONDS)
                continue
            if seen is None or seen["EndpointStatus"] not in MOVING:
                return seen
            if seen["EndpointStatus"] != said:
                said = seen["EndpointStatus"]
                say(f"{self._name} is {said}")
            if time.monotonic() > end:
                raise DeployFailed(f"The endpoint {self._name} is still {said} after {self._for}.")
            time.sleep(POLL_SECONDS)

    def _in_service(self, config: str, say: Say) -> None:
        seen = self._settled(say)
        if seen is None:
            raise DeployFailed(f"The endpoint {self._name} was deleted while it was waited for.")
        status, reason = seen["EndpointStatus"], seen.get("FailureReason", "")
        if status != "InService":
            raise DeployFailed(f"The endpoint {self._name} is {status}. SageMaker says: {reason}")
        if seen["EndpointConfigName"] != config:
            raise DeployFailed(
                f"SageMaker took the update of {self._name} back to {seen['EndpointConfigName']} "
                f"by itself. It says: {reason or 'nothing; look at the alarms'}"
            )

    def _names(self, config: str) -> set[str]:
        found = self._aws.call("sagemaker", "describe_endpoint_config", EndpointConfigName=config)
        return {each["VariantName"] for each in found["ProductionVariants"]}


def weights(
    present: Mapping[str, Any], config: Mapping[str, Any]
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Returns the variants that both have: name, as it was sent and as it is."""
    seen = {each["VariantName"]: each for each in present.get("ProductionVariants", ())}
    return [
        (sent["VariantName"], sent, seen[sent["VariantName"]])
        for sent in config["ProductionVariants"]
        if sent["VariantName"] in seen
    ]
