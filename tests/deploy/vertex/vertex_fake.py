"""A loopback Vertex AI: the published gRPC services as far as endpoints need them, over TLS.

It keeps the rules that the API's own pages state: aliases name one version, a split sums to 100 and
names what is deployed, nothing with traffic is undeployed, nothing in use is deleted, a stale etag
is refused. What it does takes a poll or two, as operations do. It misbehaves when told to.
"""

from __future__ import annotations

import itertools
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.cloud import aiplatform_v1 as api
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import status_pb2

PARENT = re.compile(r"projects/[a-z][-a-z0-9]+/locations/[a-z]+-[a-z]+\d")
MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
ENDPOINT_ID = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
PROJECT = ("projects/my-project-1/", "projects/123456789/")
"""Vertex AI takes ids and numbers of projects, and answers with numbers."""
ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")

Refusal = tuple[grpc.StatusCode, str]

PAGE = 2
"""Operations on a page, few so that there are several pages."""


def by_id(name: str) -> str:
    return name.replace(PROJECT[1], PROJECT[0])


def by_number(name: str) -> str:
    return name.replace(PROJECT[0], PROJECT[1])


class Refused(Exception):
    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def bad(message: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)


@dataclass
class Operation:
    name: str
    method: str
    effect: Callable[[], Any]
    polls: int
    done: bool = False
    error: Refusal | None = None
    result: Any = None

    @property
    def message(self) -> operations_pb2.Operation:
        found = operations_pb2.Operation(name=self.name, done=self.done)
        if self.done and self.error:
            code, message = self.error
            found.error.CopyFrom(status_pb2.Status(code=code.value[0], message=message))
        elif self.done:
            found.response.Pack(self.result)
        return found


@dataclass
class Vertex:
    """What is there, and what goes wrong next.

    Attributes:
        host: Where it is served.
        versions: Versions of models by the resource name of the model.
        endpoints: Endpoints by resource name.
        jobs: Batch predictions by resource name.
        calls: Methods that were called, in order, without those that only look.
        requests: What they were called with.
        tokens: What came with all calls as authorization.
        server: Address of what answers predictions; None for an answer of the fake's own.
        refused: What the next calls of a method answer instead, one each.
        broken: With which error operations of a method end.
        hanging: Methods whose operations never end by themselves.
        stubborn: Whether operations cannot be cancelled.
        discreet: Whether models are told without their containers.
        lost: Methods whose answer is lost on its way once: they are carried out nevertheless.
        unreachable: How many of the next looks fail for the network.
        answers: Makes predictions of version and body; None for those of `server`, or zeros.
        operations: Operations by name.
    """

    host: str = ""
    versions: dict[str, list[api.Model]] = field(default_factory=dict)
    endpoints: dict[str, api.Endpoint] = field(default_factory=dict)
    jobs: dict[str, api.BatchPredictionJob] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    server: str | None = None
    refused: dict[str, list[Refusal]] = field(default_factory=dict)
    broken: dict[str, Refusal] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    stubborn: bool = False
    discreet: bool = False
    lost: set[str] = field(default_factory=set)
    unreachable: int = 0
    answers: Callable[[str, dict[str, Any]], list[Any]] | None = None
    operations: dict[str, Operation] = field(default_factory=dict)
    _ids: Any = field(default_factory=lambda: itertools.count(1001))
    _turns: dict[str, int] = field(default_factory=dict)

    # What a person does by hand, past every rule.

    def endpoint(self, name: str = "switchyard") -> api.Endpoint:
        return next(each for key, each in self.endpoints.items() if key.endswith(f"/{name}"))

    def deployed(self) -> list[str]:
        return [each.display_name for each in self.endpoint().deployed_models]

    def split(self) -> dict[str, int]:
        """Shares by version of the model."""
        endpoint = self.endpoint()
        return {
            each.model_version_id: endpoint.traffic_split.get(each.id, 0)
            for each in endpoint.deployed_models
        }

    def version(self, number: str) -> api.Model:
        return next(e for made in self.versions.values() for e in made if e.version_id == number)

    def deploy_by_hand(self, name: str, share: int) -> None:
        """Deploys another model beside the one that has all traffic, and gives it some."""
        endpoint = self.endpoint()
        (mine,) = endpoint.deployed_models
        other = api.DeployedModel(
            id="999", display_name=name, model="models/theirs", create_time={"seconds": 999}
        )
        endpoint.deployed_models.append(other)
        self._set_split(endpoint, {mine.id: 100 - share, other.id: share})

    def make_by_hand(self, kind: str) -> None:
        name = f"projects/my-project-1/locations/europe-west4/{kind}/switchyard"
        if kind == "models":
            self.versions[name] = [
                api.Model(name=name, version_id="1", version_aliases=["default"])
            ]
        else:
            self.endpoints[name] = api.Endpoint(name=name, display_name="theirs", etag="1")

    def refusal(self, message: str) -> Exception:
        """What `answers` raises so that the container's error comes back, as Vertex AI wraps it."""
        return Refused(grpc.StatusCode.FAILED_PRECONDITION, message)

    @property
    def is_empty(self) -> bool:
        return not self.versions and not self.endpoints

    # ModelService

    def upload_model(self, request: api.UploadModelRequest) -> Any:
        if not PARENT.fullmatch(request.parent):
            raise bad(f"Invalid parent {request.parent!r}.")
        if bool(request.model_id) == bool(request.parent_model):
            raise bad("Exactly one of model_id and parent_model must be set.")
        model, spec = request.model, request.model.container_spec
        if not spec.image_uri or not spec.ports or not model.display_name:
            raise bad("display_name, container_spec.image_uri and ports are required.")
        for probe in (spec.startup_probe, spec.liveness_probe):
            if not probe.period_seconds < probe.timeout_seconds:
                raise bad("period_seconds must be less than timeout_seconds.")
        name = request.parent_model or f"{request.parent}/models/{request.model_id}"
        if request.parent_model and name not in self.versions:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"The Model {name} does not exist.")
        if request.model_id and (not MODEL_ID.fullmatch(request.model_id) or name in self.versions):
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"The Model {name} exists, or bad id.")
        for alias in model.version_aliases:
            if not ALIAS.fullmatch(alias) or self._found(name, alias):
                raise bad(f"The alias {alias!r} is not usable, or taken.")

        def effect() -> Any:
            made = self.versions.setdefault(name, [])
            number = str(max((int(each.version_id) for each in made), default=0) + 1)
            version = api.Model(model)
            version.name, version.version_id = by_number(name), number
            if not made:
                version.version_aliases.append("default")
            kinds = api.Model.DeploymentResourcesType
            version.supported_deployment_resources_types = [kinds.DEDICATED_RESOURCES]
            made.append(version)
            return api.UploadModelResponse.pb(
                api.UploadModelResponse(model=name, model_version_id=number)
            )

        return self._begin("UploadModel", name, effect)

    def get_model(self, request: api.GetModelRequest) -> api.Model:
        name, _, version = by_id(request.name).partition("@")
        found = self._found(name, version or "default")
        if found is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"The Model does not exist: {request.name}.")
        if self.discreet:
            found = api.Model(found)
            found.container_spec = None
        return found

    def delete_model(self, request: api.DeleteModelRequest) -> Any:
        if request.name not in self.versions:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"The Model {request.name} does not exist.")
        used = [
            each
            for endpoint in self.endpoints.values()
            for each in endpoint.deployed_models
            if by_id(each.model) == request.name
        ]
        if used:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "The Model is deployed.")

        def effect() -> Any:
            del self.versions[request.name]
            return empty_pb2.Empty()

        return self._begin("DeleteModel", request.name, effect)

    def delete_model_version(self, request: api.DeleteModelVersionRequest) -> Any:
        name, _, version = request.name.partition("@")
        found = self._found(name, version)
        if found is None or not version.isdigit():
            raise Refused(grpc.StatusCode.NOT_FOUND, f"There is no version {request.name}.")
        if len(self.versions[name]) == 1 or "default" in found.version_aliases:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "It is the default version.")
        if any(
            (by_id(each.model), each.model_version_id) == (name, version)
            for endpoint in self.endpoints.values()
            for each in endpoint.deployed_models
        ):
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "The version is deployed.")

        def effect() -> Any:
            self.versions[name].remove(found)
            return empty_pb2.Empty()

        return self._begin("DeleteModelVersion", name, effect)

    def merge_version_aliases(self, request: api.MergeVersionAliasesRequest) -> api.Model:
        name, _, version = by_id(request.name).partition("@")
        found = self._found(name, version)
        assert found is not None
        assert version.isdigit(), "a version id must be named"
        for alias in request.version_aliases:
            if alias.startswith("-"):
                found.version_aliases.remove(alias[1:])
            else:
                found.version_aliases.append(alias)
        return found

    # EndpointService

    def create_endpoint(self, request: api.CreateEndpointRequest) -> Any:
        name = f"{request.parent}/endpoints/{request.endpoint_id}"
        if not ENDPOINT_ID.fullmatch(request.endpoint_id) or not request.endpoint.display_name:
            raise bad("endpoint_id and display_name are required.")
        if name in self.endpoints:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"The Endpoint {name} exists.")

        def effect() -> Any:
            made = api.Endpoint(request.endpoint)
            made.name, made.etag = by_number(name), "1"
            self.endpoints[name] = made
            return api.Endpoint.pb(made)

        return self._begin("CreateEndpoint", name, effect)

    def get_endpoint(self, request: api.GetEndpointRequest) -> api.Endpoint:
        if by_id(request.name) not in self.endpoints:
            raise Refused(
                grpc.StatusCode.NOT_FOUND, f"The Endpoint does not exist: {request.name}."
            )
        return self.endpoints[by_id(request.name)]

    def update_endpoint(self, request: api.UpdateEndpointRequest) -> api.Endpoint:
        endpoint = self.get_endpoint(api.GetEndpointRequest(name=request.endpoint.name))
        if list(request.update_mask.paths) != ["traffic_split"]:
            raise bad("This fake only knows how to change the traffic split.")
        if request.endpoint.etag and request.endpoint.etag != endpoint.etag:
            raise Refused(grpc.StatusCode.ABORTED, "The etag is stale.")
        self._set_split(endpoint, dict(request.endpoint.traffic_split))
        return endpoint

    def deploy_model(self, request: api.DeployModelRequest) -> Any:
        endpoint = self.get_endpoint(api.GetEndpointRequest(name=request.endpoint))
        version = self.get_model(api.GetModelRequest(name=request.deployed_model.model))
        if not request.deployed_model.dedicated_resources.machine_spec.machine_type:
            raise bad("machine_type is required.")

        def effect() -> Any:
            made = api.DeployedModel(request.deployed_model)
            made.id = str(next(self._ids))
            made.model, made.model_version_id = version.name, version.version_id
            made.create_time = {"seconds": int(made.id)}
            replicas = made.dedicated_resources.min_replica_count
            made.status = {"available_replica_count": replicas}
            endpoint.deployed_models.append(made)
            if request.traffic_split:
                split = {made.id if k == "0" else k: v for k, v in request.traffic_split.items()}
                self._set_split(endpoint, split)
            self._changed(endpoint)
            return api.DeployModelResponse.pb(api.DeployModelResponse(deployed_model=made))

        return self._begin("DeployModel", request.endpoint, effect)

    def mutate_deployed_model(self, request: api.MutateDeployedModelRequest) -> Any:
        endpoint = self.get_endpoint(api.GetEndpointRequest(name=request.endpoint))
        (found,) = [e for e in endpoint.deployed_models if e.id == request.deployed_model.id]
        masks = [each.split(".") for each in request.update_mask.paths]
        scaling = ("min_replica_count", "max_replica_count", "autoscaling_metric_specs")
        if any(first != "dedicated_resources" or key not in scaling for first, key in masks):
            raise bad(f"Only the replicas can be mutated, not {request.update_mask.paths}.")

        def effect() -> Any:
            for _, key in masks:
                wanted = getattr(request.deployed_model.dedicated_resources, key)
                setattr(found.dedicated_resources, key, wanted)
            self._changed(endpoint)
            return api.MutateDeployedModelResponse.pb(api.MutateDeployedModelResponse())

        return self._begin("MutateDeployedModel", request.endpoint, effect)

    def undeploy_model(self, request: api.UndeployModelRequest) -> Any:
        endpoint = self.get_endpoint(api.GetEndpointRequest(name=request.endpoint))
        if endpoint.traffic_split.get(request.deployed_model_id):
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "It has traffic.")

        def effect() -> Any:
            left = [e for e in endpoint.deployed_models if e.id != request.deployed_model_id]
            assert len(left) == len(endpoint.deployed_models) - 1
            endpoint.deployed_models = left
            self._changed(endpoint)
            return api.UndeployModelResponse.pb(api.UndeployModelResponse())

        return self._begin("UndeployModel", request.endpoint, effect)

    def delete_endpoint(self, request: api.DeleteEndpointRequest) -> Any:
        endpoint = self.get_endpoint(api.GetEndpointRequest(name=request.name))
        if endpoint.deployed_models:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "The Endpoint has deployed models.")

        def effect() -> Any:
            del self.endpoints[request.name]
            return empty_pb2.Empty()

        return self._begin("DeleteEndpoint", request.name, effect)

    # PredictionService

    def predict(self, request: api.PredictRequest) -> api.PredictResponse:
        endpoint = self.get_endpoint(api.GetEndpointRequest(name=request.endpoint))
        if not endpoint.traffic_split:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "The Endpoint takes no traffic.")
        chosen = self._next(endpoint)
        body = MessageToDict(api.PredictRequest.pb(request))
        del body["endpoint"]
        if self.answers is not None:
            predictions = self.answers(chosen.model_version_id, body)
        elif self.server is not None:
            predictions = self._forwarded(body, self.get_model(_version_of(chosen)))
        else:
            predictions = [0.0] * len(request.instances)
        answer = {
            "predictions": predictions,
            "deployedModelId": chosen.id,
            "model": chosen.model,
            "modelVersionId": chosen.model_version_id,
        }
        return api.PredictResponse.from_json(json.dumps(answer))

    # JobService

    def create_batch_prediction_job(
        self, request: api.CreateBatchPredictionJobRequest
    ) -> api.BatchPredictionJob:
        job = api.BatchPredictionJob(request.batch_prediction_job)
        self.get_model(api.GetModelRequest(name=job.model))
        if not (job.display_name and job.input_config.gcs_source.uris):
            raise bad("display_name and input_config are required.")
        job.name = f"{request.parent}/batchPredictionJobs/{next(self._ids)}"
        job.state = api.JobState.JOB_STATE_RUNNING
        self.jobs[job.name] = job
        return job

    def get_batch_prediction_job(
        self, request: api.GetBatchPredictionJobRequest
    ) -> api.BatchPredictionJob:
        job = self.jobs[request.name]
        found = api.BatchPredictionJob(job)
        if "CreateBatchPredictionJob" in self.broken:
            code, message = self.broken["CreateBatchPredictionJob"]
            job.state = api.JobState.JOB_STATE_FAILED
            job.error = {"code": code.value[0], "message": message}
        else:
            job.state = api.JobState.JOB_STATE_SUCCEEDED
            job.completion_stats = {"successful_count": 3}
            prefix = job.output_config.gcs_destination.output_uri_prefix
            job.output_info = {"gcs_output_directory": f"{prefix}/prediction-switchyard"}
        return found

    # Operations

    def get_operation(self, request: operations_pb2.GetOperationRequest) -> Any:
        found = self.operations[request.name]
        if not found.done and found.method not in self.hanging:
            found.polls -= 1
            if found.polls < 0:
                self._end(found)
        return found.message

    def list_operations(self, request: operations_pb2.ListOperationsRequest) -> Any:
        known = self.operations.values()
        prefix = f"{by_number(request.name)}/"
        mine = [each.message for each in known if each.name.startswith(prefix)]
        at = int(request.page_token or 0)
        more = str(at + PAGE) if at + PAGE < len(mine) else ""
        return operations_pb2.ListOperationsResponse(
            operations=mine[at : at + PAGE], next_page_token=more
        )

    def cancel_operation(self, request: operations_pb2.CancelOperationRequest) -> Any:
        found = self.operations[request.name]
        if self.stubborn:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "It cannot be cancelled.")
        if not found.done:
            found.done, found.error = True, (grpc.StatusCode.CANCELLED, "It was cancelled.")
        return empty_pb2.Empty()

    def _begin(self, method: str, resource: str, effect: Callable[[], Any]) -> Any:
        name = by_number(f"{resource}/operations/{next(self._ids)}")
        self.operations[name] = Operation(name, method, effect, polls=1)
        return self.operations[name].message

    def _end(self, operation: Operation) -> None:
        operation.done = True
        operation.error = self.broken.get(operation.method)
        if operation.error is None:
            operation.result = operation.effect()

    def _found(self, name: str, version: str) -> api.Model | None:
        for each in self.versions.get(name, []):
            if version in (each.version_id, *each.version_aliases):
                return each
        return None

    def _set_split(self, endpoint: api.Endpoint, split: dict[str, int]) -> None:
        known = {each.id for each in endpoint.deployed_models}
        if split and (sum(split.values()) != 100 or not known >= set(split)):
            raise bad(f"The traffic split {split} does not sum to 100 or names unknown ids.")
        endpoint.traffic_split = split
        self._changed(endpoint)

    def _changed(self, endpoint: api.Endpoint) -> None:
        endpoint.etag = str(int(endpoint.etag) + 1)

    def _next(self, endpoint: api.Endpoint) -> api.DeployedModel:
        """Spreads requests in turn, each share evenly over a hundred."""
        turn = self._turns[endpoint.name] = (self._turns.get(endpoint.name, 0) + 37) % 100
        for each in endpoint.deployed_models:
            turn -= endpoint.traffic_split.get(each.id, 0)
            if turn < 0:
                return each
        raise AssertionError("the split does not sum to 100")

    def _forwarded(self, body: dict[str, Any], model: api.Model) -> list[Any]:
        asked = urllib.request.Request(
            f"{self.server}{model.container_spec.predict_route}",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                found: list[Any] = json.load(answer)["predictions"]
                return found
        except urllib.error.HTTPError as error:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, error.read().decode()) from error


def _version_of(deployed: api.DeployedModel) -> api.GetModelRequest:
    return api.GetModelRequest(name=f"{deployed.model}@{deployed.model_version_id}")
