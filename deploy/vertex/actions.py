"""Single steps on Vertex AI: each one call that is waited for, and refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from deploy.errors import DeployFailed
from deploy.target import Say
from deploy.vertex.client import (
    CALL_SECONDS,
    Client,
    cancel,
    finish,
    patient,
    pending,
    told,
)

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import (
        CreateEndpointRequest,
        DeployedModel,
        DeployModelRequest,
        Endpoint,
        Model,
        UploadModelRequest,
    )

__all__ = ["Actions", "get", "scaling"]

SCALING: Final = ("min_replica_count", "max_replica_count", "autoscaling_metric_specs")
"""All of a deployed model's resources that can be changed."""


class Actions:
    """Changes what is there, and waits until it is so.

    Args:
        client: The services.
        within: Seconds that an operation may take.
        say: Takes progress.
    """

    def __init__(self, client: Client, within: float, say: Say) -> None:
        self._models: Any = client.models
        self._endpoints: Any = client.endpoints
        self._within = within
        self._say = say

    def upload(self, request: UploadModelRequest, name: str) -> None:
        """Makes a version of a model."""
        self._do(self._models, self._models.upload_model, f"upload {name}", request=request)

    def free_alias(self, model: str, version: str, alias: str) -> None:
        """Takes an alias from a version."""
        self._alias(f"take the alias {alias} from", f"{model}@{version}", f"-{alias}")

    def give_alias(self, model: str, version: str, alias: str) -> None:
        """Gives an alias to a version."""
        self._alias(f"give the alias {alias} to", f"{model}@{version}", alias)

    def create(self, request: CreateEndpointRequest, name: str) -> None:
        """Makes an endpoint."""
        create = self._endpoints.create_endpoint
        self._do(self._endpoints, create, f"create {name}", request=request)

    def deploy(self, request: DeployModelRequest) -> None:
        """Deploys a version, without any traffic."""
        deployed = request.deployed_model
        doing = f"deploy {deployed.display_name} ({deployed.model})"
        self._do(self._endpoints, self._endpoints.deploy_model, doing, request=request)

    def scale(self, endpoint: str, id_: str, wanted: DeployedModel) -> None:
        """Changes how many machines a deployed model may have."""
        change = {"id": id_, "dedicated_resources": wanted.dedicated_resources}
        self._do(
            self._endpoints,
            self._endpoints.mutate_deployed_model,
            f"change the replicas of {wanted.display_name}",
            endpoint=endpoint,
            deployed_model=change,
            update_mask={"paths": [f"dedicated_resources.{each}" for each in SCALING]},
        )

    def shift(self, endpoint: Endpoint, split: Mapping[str, int]) -> None:
        """Changes the traffic split, unless it has been changed since it was seen."""
        if {each: share for each, share in endpoint.traffic_split.items() if share} == split:
            return
        shown = ", ".join(f"{share}% to {each}" for each, share in split.items())
        self._say(f"traffic: {shown or 'none'}")
        changed = {"name": endpoint.name, "traffic_split": split, "etag": endpoint.etag}
        with told(f"change the traffic split of {endpoint.name}"):
            self._endpoints.update_endpoint(
                {"endpoint": changed, "update_mask": {"paths": ["traffic_split"]}},
                timeout=CALL_SECONDS,
            )

    def undeploy(self, endpoint: str, deployed: DeployedModel) -> None:
        """Takes a deployed model without traffic away."""
        self._do(
            self._endpoints,
            self._endpoints.undeploy_model,
            f"undeploy {deployed.display_name}",
            endpoint=endpoint,
            deployed_model_id=deployed.id,
        )

    def delete_endpoint(self, name: str) -> None:
        """Takes an endpoint away that nothing is deployed to."""
        self._do(self._endpoints, self._endpoints.delete_endpoint, f"delete {name}", name=name)

    def delete_model(self, name: str) -> None:
        """Takes a model away with all its versions."""
        self._do(self._models, self._models.delete_model, f"delete {name}", name=name)

    def delete_version(self, model: str, version: str) -> None:
        """Takes one version of a model away."""
        name = f"{model}@{version}"
        delete = self._models.delete_model_version
        self._do(self._models, delete, f"delete {name}", name=name)

    def settle_model(self, name: str, *, stop: bool = False) -> bool:
        """Waits for what an interrupted run has left under way, and tells whether it has ended."""
        return self._settle(self._models, name, stop)

    def settle_endpoint(self, name: str, *, stop: bool = False) -> bool:
        """Waits for what an interrupted run has left under way, and tells whether it has ended."""
        return self._settle(self._endpoints, name, stop)

    def _alias(self, doing: str, name: str, change: str) -> None:
        doing = f"{doing} {name}"
        self._say(doing)
        with told(doing):
            self._models.merge_version_aliases(
                name=name, version_aliases=[change], timeout=CALL_SECONDS
            )

    def _do(self, service: Any, call: Any, doing: str, **given: Any) -> None:
        self._say(doing)
        with told(doing):
            begun = call(**given, timeout=CALL_SECONDS)
        finish(service, begun.operation.name, self._within, doing, self._say)

    def _settle(self, service: Any, name: str, stop: bool) -> bool:
        for operation in pending(service, name):
            if stop:
                self._say(f"stopping an earlier operation on {name}")
                cancel(service, operation)
            try:
                doing = f"end an earlier operation on {name}"
                finish(service, operation, self._within, doing, self._say)
            except DeployFailed as error:
                self._say(error.message)  # how it ended counts for nothing: what is there is seen
        return not pending(service, name)


def scaling(deployed: DeployedModel) -> list[Any]:
    """Returns how many machines a deployed model may have, and when."""
    return [getattr(deployed.dedicated_resources, each) for each in SCALING]


def get(look: Any, name: str) -> Model | Endpoint | None:
    """Returns a resource, or None where it is not there.

    Args:
        look: Method of a service.
        name: Of the resource.

    Raises:
        DeployFailed: The platform does not tell.
    """
    from google.api_core.exceptions import NotFound

    with told(f"look at {name}"):
        try:
            return look(name=name, retry=patient(), timeout=CALL_SECONDS)  # type: ignore[no-any-return]
        except NotFound:
            return None
