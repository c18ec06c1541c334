"""How an endpoint stands, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from deploy.target import Seen
from deploy.vertex.sent import Sent, as_json, differences

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import DeployedModel, Endpoint, Model

__all__ = ["seen"]


def seen(
    sent: Sent,
    endpoint: Endpoint,
    version: Model | None,
    mine: DeployedModel | None,
    address: str,
    *,
    busy: bool,
) -> Seen:
    """Returns how an endpoint stands, and where it differs from what was sent.

    Args:
        sent: The release that ought to be there.
        endpoint: The endpoint.
        version: Version of the model that bears the release's alias.
        mine: Deployed model of the release.
        address: Public address.
        busy: Whether an operation on the endpoint has not ended.
    """
    parts = [(f"endpoint {sent.create.endpoint_id}", "there")]
    if version is not None:
        parts.append((f"model {sent.upload.model_id}", f"version {version.version_id}"))
    parts += [(each.display_name, _state(each, endpoint)) for each in endpoint.deployed_models]
    state: Literal["ready", "progressing", "failed"] = "ready"
    if busy or (mine is not None and _has_no_replica(mine)):
        state = "progressing"
    elif mine is None:
        state = "failed"
    return Seen(
        state,
        address,
        tuple(parts),
        tuple(_differences(sent, endpoint, version, mine)),
        mine.status.message if mine is not None else "",
    )


def _state(deployed: DeployedModel, endpoint: Endpoint) -> str:
    resources = deployed.dedicated_resources
    replicas = f"{resources.min_replica_count} to {resources.max_replica_count} replicas"
    if "status" in deployed:
        replicas += f", {deployed.status.available_replica_count} there"
    machine = resources.machine_spec.machine_type
    share = endpoint.traffic_split.get(deployed.id, 0)
    return f"{share}% of the traffic, {machine}, {replicas}"


def _has_no_replica(deployed: DeployedModel) -> bool:
    return "status" in deployed and deployed.status.available_replica_count == 0


def _differences(
    sent: Sent, endpoint: Endpoint, version: Model | None, mine: DeployedModel | None
) -> list[str]:
    found = differences(as_json(sent.create)["endpoint"], as_json(endpoint), "The endpoint")
    if version is None:
        found.append(f"The model {sent.model} has no version with the alias {sent.alias}.")
    else:
        told = as_json(version)
        wanted_model = as_json(sent.upload.model)
        if "containerSpec" not in told:  # the API's pages do not promise it
            del wanted_model["containerSpec"]
        found += differences(wanted_model, told, "The model")
    wanted = sent.deploy.deployed_model
    if mine is None:
        found.append(f"{wanted.display_name} is not deployed.")
        return found
    found += differences(as_json(wanted), as_json(mine), wanted.display_name)
    return found + _traffic(sent, endpoint, mine)


def _traffic(sent: Sent, endpoint: Endpoint, mine: DeployedModel) -> list[str]:
    split = endpoint.traffic_split
    alone = len(endpoint.deployed_models) == 1
    wanted = 100 if alone else sent.share
    if split.get(mine.id, 0) == wanted:
        return []
    others = ", ".join(
        f"{each.display_name} {split[each.id]}%"
        for each in endpoint.deployed_models
        if each.id != mine.id and split.get(each.id)
    )
    return [
        f"{mine.display_name} gets {split.get(mine.id, 0)}% of the traffic, but {wanted}% was sent"
        f"{f'; the others: {others}' if others else ''}."
    ]
