"""SageMaker as a target of `switchyard deploy`."""

from __future__ import annotations

from typing import Any

from deploy.bento import Bento
from deploy.documents import Document
from deploy.sagemaker import extras, policy, requests, watching
from deploy.sagemaker.naming import resource
from deploy.sagemaker.values import SageMakerValues
from deploy.target import Platform, refuse_keys

__all__ = ["TARGET", "SageMaker"]


class SageMaker:
    """One endpoint in one account and region."""

    name = "sagemaker"
    values = SageMakerValues

    def place(self, values: SageMakerValues) -> str:
        """Returns account, region and name of the endpoint."""
        return f"{values.account}/{values.region}/{values.name}"

    def render(self, bento: Bento, values: SageMakerValues) -> list[Document]:
        """Returns the policies, and the bodies of the calls to AWS in their order.

        Raises:
            ValuesError: The values do not go together with the Bento or its plan.
        """
        refuse_keys(bento, "SageMaker, where IAM says who may call, hands no key on to containers")
        image = extras.image(bento, values)
        variants = requests.hosted(bento, values, image)
        busiest = max(variants, key=lambda each: (not each.shadow, each.weight))
        configuration = requests.configuration(bento, values, variants)
        alarms = watching.alarm_calls(values, variants)
        names = [resource(each) for each in alarms]
        return [
            *policy.policies(values, image),
            *extras.image_calls(bento, values, image),
            *extras.package_calls(bento, values, image),
            *requests.model_calls(variants),
            configuration,
            *alarms,
            *requests.endpoint_calls(values, resource(configuration), names),
            *watching.scaling_calls(values, variants),
            *extras.transform_calls(bento, values, busiest.model_name),
        ]

    def connect(self, values: SageMakerValues, facts: dict[str, Any]) -> Platform:
        """Returns the endpoint, by the credentials in AWS's usual places.

        Raises:
            ExtraMissing: boto3 is not installed.
            DeployFailed: There are no credentials.
        """
        from deploy.sagemaker.aws import Aws
        from deploy.sagemaker.platform import SageMakerPlatform

        return SageMakerPlatform(Aws.connect(values.region, values.account), values, facts)


TARGET = SageMaker()
