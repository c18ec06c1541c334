"""Deploys an image to SageMaker's local mode and asks it once: for the Python that has its SDK.

Arguments: the image, a free port, an empty folder for the model, the body. Prints the answer.
"""

from __future__ import annotations

import sys

import boto3
from sagemaker.core.local import LocalSession, entities

IMAGE, PORT, MODEL, BODY = sys.argv[1:]

entities.HEALTH_CHECK_TIMEOUT_LIMIT = 300
keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "of the tests"}
session = LocalSession(boto_session=boto3.Session(region_name="us-east-1", **keys))
session.config = {"local": {"local_code": True, "serving_port": int(PORT)}}
client = session.sagemaker_client
client.create_model(
    ModelName="switchyard",
    PrimaryContainer={
        "Image": IMAGE,
        "ModelDataUrl": f"file://{MODEL}",
        "Environment": {"SWITCHYARD_MODE": "static"},
    },
)
variant = {"VariantName": "AllTraffic", "ModelName": "switchyard", "InstanceType": "local"}
client.create_endpoint_config(
    EndpointConfigName="switchyard", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
)
client.create_endpoint(EndpointName="switchyard", EndpointConfigName="switchyard")
answer = session.sagemaker_runtime_client.invoke_endpoint(
    EndpointName="switchyard",
    Body=BODY,
    ContentType="application/json",
    CustomAttributes="variant=torch",
)
print(f"answer: {answer['Body'].read().decode()}")
client.delete_endpoint("switchyard")
