"""One endpoint of Vertex AI: made as the documents say, asked, looked at, and taken away.

A new release stands beside the old one before it gets any traffic: it is deployed without a share,
and only when its machines are ready is the split changed, in one call. So a deployment that fails
or hangs changes nothing for callers, and the way back is another change of the split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.smoke import Probe
from deploy.target import Reply, Say, Seen
from deploy.vertex.actions import Actions, get, scaling
from deploy.vertex.client import CALL_SECONDS, Client, pending, told
from deploy.vertex.looks import seen
from deploy.vertex.push import push
from deploy.vertex.requests import MADE_BY
from deploy.vertex.sent import Sent, as_json, parsed
from deploy.vertex.traffic import asks, shifted, without
from deploy.vertex.values import VertexValues

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import DeployedModel, Endpoint, Model

__all__ = ["VertexPlatform"]

MIXED: Final = 2
"""From so many on it takes all of them to get back to how the traffic was shared."""


class VertexPlatform:
    """See `deploy.target.Platform`.

    Args:
        client: The services.
        values: Of the deployment.
        facts: Recorded with the last release.
    """

    def __init__(self, client: Client, values: VertexValues, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)
        self._client = client
        self._values = values
        self._tried: list[str] = []
        self._found: Endpoint | None = None
        self._version: Model | None = None
        self._has_model = False

    def spare(self, documents: Sequence[Document]) -> None:
        """Notes the endpoint with its split, whether there is the model, and its version."""
        sent = Sent.of(documents)
        self._found, model = self._endpoint(sent.endpoint), self._model(sent.model)
        for each in (self._found, model):
            if each is not None and not _is_ours(each):
                raise _foreign(each.name)
        self._has_model = model is not None
        self._version = self._model(f"{sent.model}@{sent.alias}")

    def apply(self, documents: Sequence[Document], bento: str, probe: Probe, say: Say) -> None:
        """Makes model version, endpoint and deployed model, then shifts the traffic."""
        sent = Sent.of(documents)
        act = self._actions(say)
        version = self._uploaded(sent, act, say)
        endpoint, mine = self._deployed(sent, version, act)
        before = dict(endpoint.traffic_split)
        older = self._older(endpoint, mine)
        split = shifted(before, mine.id, sent.share, [each.id for each in older])
        act.shift(endpoint, split)
        self._tried.append(mine.id)
        self.facts = {"endpoint": sent.endpoint, "deployed": mine.id, "share": split[mine.id]}
        kept = {each.id for each in (mine, *self._kept(older, before, split))} | self._spared
        for each in endpoint.deployed_models:
            if self._made_here(each) and each.id not in kept and not split.get(each.id):
                act.undeploy(sent.endpoint, each)

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        """Asks for predictions until the release itself has answered, as the split sends them."""
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud.aiplatform_v1 import PredictRequest

        asked = {"endpoint": self.facts["endpoint"], "instances": rows}
        request = parsed(PredictRequest, asked | {"parameters": {"endpoint": endpoint}})
        for _ in range(asks(self.facts["share"])):
            try:
                with told("send a prediction"):
                    found = self._client.predictions.predict(request, timeout=CALL_SECONDS)
            except DeployFailed as error:
                cause = error.__cause__
                status = cause.code if isinstance(cause, GoogleAPICallError) else None
                return Reply(int(status or 502), error.message.encode())
            if found.deployed_model_id == self.facts["deployed"]:
                predictions = as_json(found).get("predictions", [])
                return Reply(200, orjson.dumps({"predictions": predictions}))
        return Reply(503, b"the new release has not answered yet, only those beside it")

    def look(self, documents: Sequence[Document]) -> Seen:
        """Returns the endpoint as it is, compared with what was sent."""
        sent = Sent.of(documents)
        endpoint = self._endpoint(sent.endpoint)
        if endpoint is None:
            return Seen("absent")
        version = self._model(f"{sent.model}@{sent.alias}")
        busy = bool(pending(self._client.endpoints, sent.endpoint))
        address = f"https://{self._values.host}/v1/{sent.endpoint}:predict"
        mine = None if version is None else _found(endpoint, sent, version)
        return seen(sent, endpoint, version, mine, address, busy=busy)

    def delete(self, documents: Sequence[Document], say: Say) -> str:
        """Takes away deployed models, endpoint and model, as far as they were made from here.

        What is spared stays, and an endpoint gets its split back.
        """
        sent = Sent.of(documents)
        act = self._actions(say)
        act.settle_endpoint(sent.endpoint, stop=True)
        endpoint = self._endpoint(sent.endpoint)
        if endpoint is not None and _is_ours(endpoint):
            self._clear_endpoint(endpoint, sent.endpoint, act, say)
        act.settle_model(sent.model, stop=True)
        model = self._model(sent.model)
        if model is not None and _is_ours(model):
            if self._has_model:
                self._clear_version(sent, act)
            else:
                act.delete_model(sent.model)
        return self._stays(sent)

    def _clear_endpoint(self, endpoint: Endpoint, name: str, act: Actions, say: Say) -> None:
        made = [each for each in endpoint.deployed_models if self._made_here(each)]
        mine = [each for each in made if each.id not in self._spared]
        found = self._found
        split = without(endpoint.traffic_split, [each.id for each in mine])
        act.shift(endpoint, split if found is None else _shares(found))
        for each in mine:
            act.undeploy(name, each)
        if found is None and len(mine) == len(endpoint.deployed_models):
            act.delete_endpoint(name)
        elif found is None:
            say(f"{name} stays: others have deployed models to it")

    def _clear_version(self, sent: Sent, act: Actions) -> None:
        """Takes the release's version away, and gives its alias back to the one that had it."""
        before = self._version and self._version.version_id
        version = self._model(f"{sent.model}@{sent.alias}")
        if version is not None and version.version_id != before:
            act.delete_version(sent.model, version.version_id)
            version = None
        if version is None and before is not None:
            act.give_alias(sent.model, before, sent.alias)

    def _stays(self, sent: Sent) -> str:
        found = self._found
        if found is None:
            return ""
        names = {each.id: each.display_name for each in found.deployed_models}
        split = ", ".join(f"{share}% to {names[id_]}" for id_, share in _shares(found).items())
        return (
            f"What it made was taken away; {sent.endpoint} was there before it, and has its "
            f"traffic as it was then: {split or 'none'}."
        )

    def _uploaded(self, sent: Sent, act: Actions, say: Say) -> Model:
        """Returns the version of the model, which is uploaded if it is not there."""
        if not act.settle_model(sent.model):
            raise _unended(sent.model)
        present = self._model(sent.model)
        if present is not None and not _is_ours(present):
            raise _foreign(sent.model)
        name = f"{sent.model}@{sent.alias}"
        version = self._model(name)
        if version is not None and _has_other_variables(version, sent):
            # Variables of a version cannot be changed, so another one takes its alias.
            act.free_alias(sent.model, version.version_id, sent.alias)
            version = None
        if version is not None:
            return version
        if sent.push is not None:
            push(*sent.push, say=say)
        request = type(sent.upload)(sent.upload)
        if present is not None:
            request.model_id, request.parent_model = "", sent.model
        act.upload(request, name)
        version = self._model(name)
        if version is None:
            raise DeployFailed(f"Vertex AI has uploaded {name}, but does not find it.")
        return version

    def _deployed(self, sent: Sent, version: Model, act: Actions) -> tuple[Endpoint, DeployedModel]:
        """Returns endpoint and deployed model, which are made if they are not there."""
        settled = act.settle_endpoint(sent.endpoint)
        endpoint = self._endpoint(sent.endpoint)
        if endpoint is not None and not _is_ours(endpoint):
            raise _foreign(sent.endpoint)
        if endpoint is None:
            act.create(sent.create, sent.endpoint)
            endpoint = self._endpoint(sent.endpoint)
        mine = endpoint and _found(endpoint, sent, version)
        wanted = sent.deploy.deployed_model
        if mine is not None:
            if scaling(wanted) != scaling(mine):
                act.scale(sent.endpoint, mine.id, wanted)
        elif settled:
            act.deploy(sent.deploy)
        else:  # what has not ended may be this very deployment, which must not be made twice
            raise _unended(sent.endpoint)
        endpoint = self._endpoint(sent.endpoint)  # for its etag, and what is deployed now
        mine = endpoint and _found(endpoint, sent, version)
        if endpoint is None or mine is None:
            raise DeployFailed(
                f"Vertex AI has deployed {wanted.display_name} to {sent.endpoint}, but does not "
                "find it there."
            )
        return endpoint, mine

    @property
    def _spared(self) -> set[str]:
        """Ids of the deployed models that stay."""
        return set() if self._found is None else {each.id for each in self._found.deployed_models}

    def _older(self, endpoint: Endpoint, mine: DeployedModel) -> list[DeployedModel]:
        """Returns what was there before a release, the newest first.

        Only these share the traffic with it: what came after it, or was tried in vain just now, is
        what it takes over from.
        """
        found = [
            each
            for each in endpoint.deployed_models
            if each.create_time < mine.create_time and each.id not in self._tried
        ]
        return sorted(found, key=lambda each: each.create_time, reverse=True)

    def _kept(
        self, older: Sequence[DeployedModel], before: Mapping[str, int], split: Mapping[str, int]
    ) -> list[DeployedModel]:
        """Returns what stays without traffic: what had some until now is the way back."""
        had = [each for each in older if before.get(each.id)]
        if not self._values.standby and len(had) < MIXED:
            return []
        moved = before != split
        return had if moved else list(older)

    def _actions(self, say: Say) -> Actions:
        return Actions(self._client, self._values.ready_within, say)

    def _made_here(self, deployed: DeployedModel) -> bool:
        return bool(re.fullmatch(rf"{self._values.name}-[0-9a-f]{{12}}", deployed.display_name))

    def _endpoint(self, name: str) -> Endpoint | None:
        return cast("Endpoint | None", get(self._client.endpoints.get_endpoint, name))

    def _model(self, name: str) -> Model | None:
        return cast("Model | None", get(self._client.models.get_model, name))


def _found(endpoint: Endpoint, sent: Sent, version: Model) -> DeployedModel | None:
    """Returns the deployed model of a release: the same name, and the same version in it."""
    wanted = sent.deploy.deployed_model.display_name
    for each in endpoint.deployed_models:
        if each.display_name == wanted and each.model_version_id == version.version_id:
            return each
    return None


def _shares(endpoint: Endpoint) -> dict[str, int]:
    """Returns the split of an endpoint, without those that get nothing."""
    return {each: share for each, share in endpoint.traffic_split.items() if share}


def _is_ours(resource: Model | Endpoint) -> bool:
    return all(resource.labels.get(key) == value for key, value in MADE_BY.items())


def _has_other_variables(version: Model, sent: Sent) -> bool:
    """Tells whether a version was made with other secrets; all else is in its alias."""
    there = {each.name: each.value for each in version.container_spec.env}
    wanted = {each.name: each.value for each in sent.upload.model.container_spec.env}
    return bool(there) and there != wanted


def _unended(name: str) -> DeployFailed:
    return DeployFailed(
        f"Vertex AI has not ended an earlier operation on {name} yet; try again when it has."
    )


def _foreign(name: str) -> DeployFailed:
    label = ", ".join(f"{key}={value}" for key, value in MADE_BY.items())
    return DeployFailed(
        f"{name} is there already, but was not made from here (it lacks the label {label}); take "
        "another 'name'."
    )
