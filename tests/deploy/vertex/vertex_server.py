"""Serves the fake Vertex AI: its methods as gRPC services, over TLS."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.cloud import aiplatform_v1 as api
from google.longrunning import operations_pb2
from vertex.vertex_fake import Refused, Vertex

METHODS: dict[str, dict[str, Any]] = {
    "google.cloud.aiplatform.v1.ModelService": {
        "UploadModel": api.UploadModelRequest,
        "GetModel": api.GetModelRequest,
        "DeleteModel": api.DeleteModelRequest,
        "DeleteModelVersion": api.DeleteModelVersionRequest,
        "MergeVersionAliases": api.MergeVersionAliasesRequest,
    },
    "google.cloud.aiplatform.v1.EndpointService": {
        "CreateEndpoint": api.CreateEndpointRequest,
        "GetEndpoint": api.GetEndpointRequest,
        "UpdateEndpoint": api.UpdateEndpointRequest,
        "DeployModel": api.DeployModelRequest,
        "MutateDeployedModel": api.MutateDeployedModelRequest,
        "UndeployModel": api.UndeployModelRequest,
        "DeleteEndpoint": api.DeleteEndpointRequest,
    },
    "google.cloud.aiplatform.v1.PredictionService": {"Predict": api.PredictRequest},
    "google.cloud.aiplatform.v1.JobService": {
        "CreateBatchPredictionJob": api.CreateBatchPredictionJobRequest,
        "GetBatchPredictionJob": api.GetBatchPredictionJobRequest,
    },
    "google.longrunning.Operations": {
        "GetOperation": operations_pb2.GetOperationRequest,
        "ListOperations": operations_pb2.ListOperationsRequest,
        "CancelOperation": operations_pb2.CancelOperationRequest,
    },
}

LOOKS = ("GetModel", "GetEndpoint", "GetOperation", "ListOperations", "GetBatchPredictionJob")


class Server:
    """Serves a fake on loopback, with a certificate of the tests."""

    def __init__(self, vertex: Vertex, key: bytes, certificate: bytes) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4))
        for service, methods in METHODS.items():
            handlers = {name: _handler(vertex, name, kind) for name, kind in methods.items()}
            generic = grpc.method_handlers_generic_handler(service, handlers)
            self._server.add_generic_rpc_handlers((generic,))
        secret = grpc.ssl_server_credentials([(key, certificate)])
        self.port = self._server.add_secure_port("127.0.0.1:0", secret)
        self._server.start()

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def stop(self) -> None:
        self._server.stop(None)


def _handler(vertex: Vertex, method: str, kind: Any) -> grpc.RpcMethodHandler:
    act = getattr(vertex, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", method).lower())

    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        token = dict(context.invocation_metadata()).get("authorization", "")
        if not token.startswith("Bearer "):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "No access token.")
        vertex.tokens.add(token)
        if method in LOOKS and vertex.unreachable:
            vertex.unreachable -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if vertex.refused.get(method):
            context.abort(*vertex.refused[method].pop(0))
        if method not in LOOKS:
            vertex.calls.append(method)
            vertex.requests.append(request)
        try:
            answer = act(request)
        except Refused as error:
            context.abort(error.code, error.message)
        if method in vertex.lost:
            vertex.lost.remove(method)
            context.abort(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")
        return answer

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=kind.deserialize if hasattr(kind, "deserialize") else kind.FromString,
        response_serializer=_bytes,
    )


def _bytes(message: Any) -> bytes:
    serialize = getattr(type(message), "serialize", None)
    found: bytes = serialize(message) if serialize else message.SerializeToString()
    return found
