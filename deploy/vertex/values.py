"""What a Vertex AI endpoint is to be like."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, field_validator, model_validator
from pydantic import Field as Setting

from deploy.values import ImageValues, Secret, Shared
from deploy.vertex.machines import Kind
from switchyard.formats import Name
from switchyard.plan_problems import wrong
from switchyard.section import Section

__all__ = ["Accelerator", "Batch", "Push", "Replicas", "VertexValues"]

_PROJECT: Final = re.compile(r"[a-z][-a-z0-9]{4,28}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z]+-[a-z]+[0-9]+")
_MACHINE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_ACCOUNT: Final = re.compile(r"[a-z0-9][-a-z0-9]*@[-a-z0-9.]+\.gserviceaccount\.com")
_BUCKET: Final = re.compile(r"gs://[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9](/[^\s]*)?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST: Final = re.compile(r"[a-z0-9][-.a-z0-9]*(:\d+)?")
_ARTIFACT_REGISTRY: Final = re.compile(
    r"[a-z]+(-[a-z]+\d+)?-docker\.pkg\.dev/[^/]+/[^/]+/[^:@]+(:[^:@]+)?(@sha256:[0-9a-f]{64})?"
)

RESERVED: Final = ("AIP_", "SWITCHYARD_MODE", "SWITCHYARD_DATABASE_URL", "SWITCHYARD_LOG_STORE")
"""Variables that Vertex AI or other values set."""


def _like(pattern: re.Pattern[str], example: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise wrong(f"is {text!r}, but must look like {example!r}")
        return text

    return AfterValidator(check)


Bucket = Annotated[str, _like(_BUCKET, "gs://bucket/folder")]
Percent = Annotated[int, Setting(ge=1, le=100)]
Replica = Annotated[int, Setting(ge=1)]


class Push(Section):
    """The image on this machine that is brought to Artifact Registry before it is used.

    Attributes:
        image: Its name here.
        tool: What it lies in; its login at Artifact Registry is the one that is used.
    """

    image: str
    tool: Literal["docker", "podman"] = "docker"


class Accelerator(Section):
    """GPUs of one machine.

    Attributes:
        type: Their kind.
        count: How many.
    """

    type: Kind
    count: Replica = 1


class Replicas(Section):
    """How many machines answer.

    Attributes:
        minimum: Always.
        maximum: At most; left out, the minimum.
        cpu: Use of the processors in percent, above which there are more.
        accelerator: The same of the GPUs.
    """

    minimum: Replica = 1
    maximum: Replica | None = None
    cpu: Percent = 60
    accelerator: Percent = 60

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.maximum is not None and self.maximum < self.minimum:
            raise wrong(f"is {self.maximum}, but 'minimum' is {self.minimum}", "maximum")
        return self


class Batch(Section):
    """A batch prediction: reads instances from Cloud Storage and writes predictions there.

    Attributes:
        input: Files of JSON lines, an instance each; `*` stands for any part of a name.
        output: Folder that the predictions are put below.
        endpoint: Endpoint of the plan that is asked; left out, the default one.
        batch_size: Instances of one request.
        replicas: Machines at the start, and at most.
    """

    input: Annotated[list[Bucket], Setting(min_length=1)]
    output: Bucket
    endpoint: Name | None = None
    batch_size: Annotated[int, Setting(ge=1)] = 64
    replicas: Replicas = Setting(default_factory=Replicas)


class VertexValues(ImageValues):
    """What deploying to Vertex AI asks for.

    Attributes:
        project: Id of the project.
        region: Where model and endpoint are.
        push: A local image to push to `image`, once for each version of the model.
        machine: Type of the machines; left out, one that the Bento's services fit on.
        accelerator: Their GPUs; left out, those that the Bento declares.
        replicas: How many of them.
        traffic: Percent of the requests that a release gets; those before it share the rest as
            they did. Alone it gets all.
        standby: Whether what the release takes over from stays deployed without traffic until the
            next one, so that the way back takes seconds; its machines cost as before.
        service_account: The containers run as.
        shared: What the instances share.
        env: Further variables of the containers.
        secrets: The same, whose values are secrets: variable there to variable here.
        batch: The batch prediction that `python -m deploy.vertex.batch` starts.
        api: Host that the API is called at; left out, the region's public one.
    """

    project: Annotated[str, _like(_PROJECT, "my-project-1")]
    region: Annotated[str, _like(_REGION, "europe-west4")]
    push: Push | None = None
    machine: Annotated[str, _like(_MACHINE, "n1-standard-4")] | None = None
    accelerator: Accelerator | None = None
    replicas: Replicas = Setting(default_factory=Replicas)
    traffic: Percent = 100
    standby: bool = True
    service_account: (
        Annotated[str, _like(_ACCOUNT, "serving@my-project-1.iam.gserviceaccount.com")] | None
    ) = None
    shared: Shared = Setting(default_factory=Shared)
    env: dict[str, str] = Setting(default_factory=dict)
    secrets: dict[str, Secret] = Setting(default_factory=dict)
    batch: Batch | None = None
    api: Annotated[str, _like(_HOST, "europe-west4-aiplatform.googleapis.com")] | None = None

    @field_validator("image")
    @classmethod
    def _in_artifact_registry(cls, image: str) -> str:
        found = _ARTIFACT_REGISTRY.fullmatch(image)
        if not found:
            raise wrong(
                f"is {image!r}, but Vertex AI runs images from Artifact Registry, such as "
                "'europe-west4-docker.pkg.dev/my-project-1/my-repository/switchyard:1.0'"
            )
        if found[2] is None and found[3] is None:
            raise wrong(f"is {image!r}; name its tag or digest, so that it is known what runs")
        return image

    @field_validator("env", "secrets")
    @classmethod
    def _free(cls, variables: dict[str, str]) -> dict[str, str]:
        for name in variables:
            if not _VARIABLE.fullmatch(name):
                raise wrong("is no name of an environment variable", name)
            if name.startswith(RESERVED):
                raise wrong("is set by Vertex AI, or by 'shared'; take it out", name)
        return variables

    @property
    def parent(self) -> str:
        """Resource name of project and region."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def host(self) -> str:
        """Host of the API."""
        return self.api or f"{self.region}-aiplatform.googleapis.com"

    def environ(self) -> dict[str, str]:
        """Returns the variables of a container; secrets by name."""
        secrets = {name: f"${{{variable}}}" for name, variable in self.secrets.items()}
        return self.shared.environ() | self.env | secrets
