"""What is sent to AWS, in which order, and what is taken away again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.sagemaker import registry
from deploy.sagemaker.aws import Aws
from deploy.sagemaker.compare import differences
from deploy.sagemaker.endpoint import Endpoint
from deploy.sagemaker.invoke import invoke, invoke_async, request
from deploy.sagemaker.look import already_there, look
from deploy.sagemaker.naming import bodies, operation
from deploy.sagemaker.values import SageMakerValues
from deploy.smoke import Probe
from deploy.target import Reply, Say, Seen

__all__ = ["SageMakerPlatform"]

AGAIN: Final = (
    "cloudwatch.put_metric_alarm",
    "application-autoscaling.register_scalable_target",
    "application-autoscaling.put_scaling_policy",
)
"""Operations that change what has the same name; all others make what is never changed."""

KEPT: Final = 3
"""Endpoint configurations that stay for a rollback, the present one among them."""


class SageMakerPlatform:
    """One endpoint with all that belongs to it.

    Args:
        aws: AWS.
        values: What the endpoint is to be like.
        facts: `configs`, the last endpoint configurations, the present one first; `scaling` and
            `alarms`, what the last release made of those.
    """

    def __init__(self, aws: Aws, values: SageMakerValues, facts: dict[str, Any]) -> None:
        self._aws = aws
        self._values = values
        self._endpoint = Endpoint(aws, values.name, values.ready_within)
        self._answers: str | None = None  # the folder of an asynchronous endpoint's
        self._spared: dict[str, dict[str, Any]] = {}
        self.facts = dict(facts)

    def spare(self, documents: Sequence[Document]) -> None:
        """Notes what is there of all that these documents make, the endpoint first of all."""
        self._spared = already_there(self._aws, documents)

    def apply(self, documents: Sequence[Document], bento: str, probe: Probe, say: Say) -> None:
        """Makes what the documents say, and waits until the endpoint is in service."""
        models = list(bodies(documents, "sagemaker.create_model"))
        registry.bring(self._aws, documents, models[0]["PrimaryContainer"]["Image"], say)
        self._register(documents, say)
        present = self._endpoint.ready_to_change(say)
        (config,) = bodies(documents, "sagemaker.create_endpoint_config")
        asynchronous = config.get("AsyncInferenceConfig")
        self._answers = asynchronous and asynchronous["OutputConfig"]["S3OutputPath"]
        in_use = present is not None and present["EndpointConfigName"] == _name(config)
        for body in models:
            self._make("model", "ModelName", body, in_use, say)
        self._make("endpoint_config", "EndpointConfigName", config, in_use, say)
        for body in bodies(documents, "cloudwatch.put_metric_alarm"):
            say(f"setting the alarm {body['AlarmName']}")
            self._aws.call("cloudwatch", "put_metric_alarm", **body)
        self._bring_endpoint(documents, config, present, say)
        self._let_scale(documents, say)
        for body in bodies(documents, "sagemaker.create_transform_job"):
            say(f"starting the batch job {body['TransformJobName']}, unless it was")
            self._aws.make("sagemaker", "create_transform_job", **body)
        self._forget(_name(config), documents, say)

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        """Asks for a prediction by SageMaker's runtime, in the form of what was applied."""
        body = request(rows, endpoint)
        if self._answers is not None:
            within = self._values.smoke.within
            return invoke_async(self._aws, self._values.name, body, self._answers, within)
        return invoke(self._aws, self._values.name, body)

    def look(self, documents: Sequence[Document]) -> Seen:
        """Returns what is there, compared with what was sent."""
        return look(self._aws, self._values.name, documents)

    def delete(self, documents: Sequence[Document], say: Say) -> str:
        """Takes away all but images, model packages and what lies in S3.

        What is spared stays; an endpoint gets its configuration back, alarms and scaling theirs.
        """
        made = [each for each in documents if each.name not in self._spared]
        say(f"deleting what {self._values.name} needs no more")
        for body in bodies(made, "sagemaker.create_transform_job"):
            self._stop_job(body["TransformJobName"])
        for body in bodies(made, "application-autoscaling.register_scalable_target"):
            self._stop_scaling(body["ResourceId"], body["ScalableDimension"])
        stays = self._take_back(documents, say)
        say("deleting alarms, endpoint configurations and models")
        for body in bodies(made, "cloudwatch.put_metric_alarm"):
            self._aws.find("cloudwatch", "delete_alarms", AlarmNames=[body["AlarmName"]])
        for body in bodies(made, "sagemaker.create_endpoint_config"):
            self._delete_config(_name(body))
        for body in bodies(made, "sagemaker.create_model"):
            self._aws.find("sagemaker", "delete_model", ModelName=body["ModelName"])
        self.facts = {}
        return stays

    def _take_back(self, documents: Sequence[Document], say: Say) -> str:
        """Deletes the endpoint, or makes it as it was found; returns what stays of it."""
        (create,) = bodies(documents, "sagemaker.create_endpoint")
        name = create["EndpointName"]
        found = self._spared.get(f"sagemaker.create_endpoint/{name}")
        if found is None:
            say(f"deleting {name}")
            self._endpoint.delete(say)
            return ""
        before = {"EndpointName": name, "EndpointConfigName": _name(found)}
        now = self._endpoint.ready_to_change(say)
        if now is None:
            self._endpoint.create({**create, **before}, say)
        elif _name(now) != _name(found):
            self._endpoint.update(now, before, say)
        for each in documents:
            seen = self._spared.get(each.name)
            if seen is not None and operation(each) in AGAIN:
                say(f"putting {each.name.partition('/')[2]} back as it was")
                service, _, call = operation(each).partition(".")
                self._aws.again(service, call, seen)
        return (
            f"The endpoint {name} was there before it, and has its configuration {_name(found)} as "
            "it had then; what it made was taken away."
        )

    def _register(self, documents: Sequence[Document], say: Say) -> None:
        for body in bodies(documents, "sagemaker.create_model_package_group"):
            say(f"making the group {body['ModelPackageGroupName']}, unless it is there")
            self._aws.make("sagemaker", "create_model_package_group", **body)
        for body in bodies(documents, "sagemaker.create_model_package"):
            group = body["ModelPackageGroupName"]
            if body["ModelPackageDescription"] not in self._registered(group):
                say(f"registering a version in {group}")
                self._aws.call("sagemaker", "create_model_package", **body)

    def _registered(self, group: str) -> set[str]:
        """Returns the descriptions of a group's versions."""
        found: set[str] = set()
        more: dict[str, str] = {}
        while True:
            page = self._aws.call(
                "sagemaker",
                "list_model_packages",
                ModelPackageGroupName=group,
                MaxResults=100,
                **more,
            )
            listed = page["ModelPackageSummaryList"]
            found.update(each.get("ModelPackageDescription", "") for each in listed)
            if not page.get("NextToken"):
                return found
            more = {"NextToken": page["NextToken"]}

    def _make(self, kind: str, key: str, body: dict[str, Any], in_use: bool, say: Say) -> None:
        """Makes a thing that SageMaker never changes, unless it is there as it is sent.

        Args:
            kind: As the operations name it.
            key: What its name stands under.
            body: Of the request that makes it.
            in_use: Whether the endpoint runs by it.
            say: Takes progress.
        """
        named, what = {key: body[key]}, f"the {kind.replace('_', ' ')} {body[key]}"
        seen = self._aws.find("sagemaker", f"describe_{kind}", **named)
        if seen is not None and not differences("", body, seen):
            return
        say(f"making {what}")
        if seen is not None:
            # Contents give the name, so a secret has changed since, or a hand was at work.
            is_spared = f"sagemaker.create_{kind}/{body[key]}" in self._spared
            self._check_unused(f"T{what[1:]}", in_use or is_spared)
            self._aws.find("sagemaker", f"delete_{kind}", **named)
        self._aws.call("sagemaker", f"create_{kind}", **body)

    def _check_unused(self, what: str, in_use: bool) -> None:
        if in_use:
            raise DeployFailed(
                f"{what} may be in use, and is not as it was sent: a secret in it has changed, "
                "or it was made anew by hand. Raise 'generation' in the values by one, and the "
                "release takes new names."
            )

    def _bring_endpoint(
        self,
        documents: Sequence[Document],
        config: dict[str, Any],
        present: dict[str, Any] | None,
        say: Say,
    ) -> None:
        (create,) = bodies(documents, "sagemaker.create_endpoint")
        (update,) = bodies(documents, "sagemaker.update_endpoint")
        scaled = list(bodies(documents, "application-autoscaling.register_scalable_target"))
        if present is None:
            self._endpoint.create(create, say)
        elif present["EndpointConfigName"] != _name(config):
            stay = {each["ResourceId"] for each in scaled}
            for place, dimension in self.facts.get("scaling", ()):
                if place not in stay:  # a variant that scales cannot be taken away
                    say(f"ending the scaling of {place}")
                    self._stop_scaling(place, dimension)
            returning = _name(config) in self.facts.get("configs", ())
            self._endpoint.update(present, update, say, returning=returning)
        else:
            self._endpoint.restore(present, config, not scaled, say)

    def _let_scale(self, documents: Sequence[Document], say: Say) -> None:
        targets = list(bodies(documents, "application-autoscaling.register_scalable_target"))
        places = [[each["ResourceId"], each["ScalableDimension"]] for each in targets]
        for place in self.facts.get("scaling", ()):
            if place not in places:
                say(f"ending the scaling of {place[0]}")
                self._stop_scaling(*place)
        for body in targets:
            say(f"letting {body['ResourceId']} scale")
            self._aws.call("application-autoscaling", "register_scalable_target", **body)
        for body in bodies(documents, "application-autoscaling.put_scaling_policy"):
            self._aws.call("application-autoscaling", "put_scaling_policy", **body)
        self.facts["scaling"] = places

    def _forget(self, config: str, documents: Sequence[Document], say: Say) -> None:
        """Takes away what only older releases need; the last ones stay for a rollback."""
        alarms = [each["AlarmName"] for each in bodies(documents, "cloudwatch.put_metric_alarm")]
        for name in self.facts.get("alarms", ()):
            if name not in alarms:
                say(f"deleting the alarm {name}")
                self._aws.find("cloudwatch", "delete_alarms", AlarmNames=[name])
        configs = [config, *(each for each in self.facts.get("configs", ()) if each != config)]
        needed = {model for each in configs[:KEPT] for model in self._models(each)}
        for old in configs[KEPT:]:
            say(f"deleting {old}, which is too old to return to")
            models = self._models(old)
            self._delete_config(old)
            for model in models - needed:
                self._aws.find("sagemaker", "delete_model", ModelName=model)
        self.facts |= {"alarms": alarms, "configs": configs[:KEPT]}

    def _models(self, config: str) -> set[str]:
        found = self._aws.find("sagemaker", "describe_endpoint_config", EndpointConfigName=config)
        kinds = ("ProductionVariants", "ShadowProductionVariants")
        return {each["ModelName"] for kind in kinds for each in (found or {}).get(kind, ())}

    def _delete_config(self, name: str) -> None:
        self._aws.find("sagemaker", "delete_endpoint_config", EndpointConfigName=name)

    def _stop_scaling(self, place: str, dimension: str) -> None:
        self._aws.find(
            "application-autoscaling",
            "deregister_scalable_target",
            ServiceNamespace="sagemaker",
            ResourceId=place,
            ScalableDimension=dimension,
        )

    def _stop_job(self, name: str) -> None:
        seen = self._aws.find("sagemaker", "describe_transform_job", TransformJobName=name)
        if seen is not None and seen["TransformJobStatus"] == "InProgress":
            self._aws.find("sagemaker", "stop_transform_job", TransformJobName=name)


def _name(config: dict[str, Any]) -> str:
    return str(config["EndpointConfigName"])
