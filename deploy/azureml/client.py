"""Azure's own client, as far as endpoints need it; every call blocks and fails in a sentence."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, Final, cast

from deploy.azureml.documents import workspace_id
from deploy.azureml.problems import told
from deploy.azureml.values import AzureMLValues
from deploy.errors import DeployFailed, ExtraMissing
from deploy.target import Reply, Say

if TYPE_CHECKING:
    from azure.ai.ml.entities import OnlineDeployment, OnlineEndpoint
    from azure.core import PipelineClient
    from azure.core.polling import LROPoller

__all__ = ["GOOD", "MOVING", "Azure", "state_of"]

MONITOR_VERSION: Final = "2022-10-01"
"""Version of Azure Monitor's interface for autoscale settings."""

GOOD: Final = "succeeded"
MOVING: Final = ("creating", "updating", "deleting", "scaling")
"""States, in lower case, in which Azure takes no other change."""

LOOK_SECONDS: Final = 5.0
CALL_SECONDS: Final = 60.0
LOG_LINES: Final = 20
SHOWN: Final = 300
"""Characters of a log that an error shows."""


class Azure:
    """One workspace, reached with the credentials of `DefaultAzureCredential`.

    Args:
        values: Name the workspace and the endpoint.

    Raises:
        ExtraMissing: The packages are not installed.
        DeployFailed: The client cannot be made.
    """

    def __init__(self, values: AzureMLValues) -> None:
        try:
            from azure.ai.ml import MLClient
            from azure.identity import DefaultAzureCredential
        except ImportError as error:
            raise ExtraMissing("Azure ML", "azureml") from error
        # Azure's packages log what they also raise, and every class that they call experimental.
        logging.getLogger("azure").addHandler(logging.NullHandler())
        logging.getLogger("azure.ai.ml").setLevel(logging.CRITICAL)
        self._values = values
        self._credential = DefaultAzureCredential()
        with told("looking for the workspace"):
            self._client = MLClient(
                self._credential,
                values.subscription,
                values.resource_group,
                values.workspace,
                show_progress=False,
                enable_telemetry=False,
            )
            # Whoever has no credentials is to know before anything is begun.
            self._credential.get_token(f"{_base()}/.default")

    def endpoint(self) -> OnlineEndpoint | None:
        """Returns the endpoint, None if there is none; deployments without traffic stand at 0."""
        with _or_none(f"looking at the endpoint {self._name!r}"):
            return cast("OnlineEndpoint", self._client.online_endpoints.get(self._name))
        return None

    def deployment(self, name: str) -> OnlineDeployment | None:
        """Returns a deployment of the endpoint, None if there is none of that name."""
        with _or_none(f"looking at the deployment {name!r}"):
            found = self._client.online_deployments.get(name, self._name)
            return cast("OnlineDeployment", found)
        return None

    def deployments(self) -> list[OnlineDeployment]:
        """Returns all deployments of the endpoint."""
        with told(f"listing the deployments of {self._name!r}"):
            return list(self._client.online_deployments.list(self._name))

    def put_endpoint(self, endpoint: OnlineEndpoint, doing: str, say: Say) -> None:
        """Makes the endpoint as given, its traffic too."""
        self._wait(
            lambda: self._client.online_endpoints.begin_create_or_update(endpoint), doing, say
        )

    def put_deployment(self, deployment: OnlineDeployment, say: Say) -> None:
        """Makes a deployment as given; what its log ends with stands in the error if it fails."""
        doing = f"making the deployment {deployment.name!r}"
        begin = self._client.online_deployments.begin_create_or_update
        try:
            self._wait(lambda: begin(deployment, skip_script_validation=True), doing, say)
        except DeployFailed as error:
            log = self.log(str(deployment.name))
            raise DeployFailed(f"{error.message} {log}".rstrip()) from error

    def log(self, deployment: str) -> str:
        """Returns a sentence with the end of a deployment's log, empty where there is none."""
        try:
            with told("reading the log"):
                text = self._client.online_deployments.get_logs(deployment, self._name, LOG_LINES)
        except DeployFailed:
            return ""
        log = " ".join(text.split())
        return f"Its log ends: ...{log[-SHOWN:]}" if log else ""

    def drop_deployment(self, name: str, say: Say) -> None:
        """Takes a deployment away."""
        begin = self._client.online_deployments.begin_delete
        doing = f"taking away the deployment {name!r}"
        self._wait(lambda: begin(name, self._name), doing, say)

    def drop_endpoint(self, say: Say) -> None:
        """Takes the endpoint away, with all its deployments."""
        begin = self._client.online_endpoints.begin_delete
        self._wait(lambda: begin(self._name), f"taking away the endpoint {self._name!r}", say)

    def settle(self, look: Callable[[], Any], say: Say) -> Any:
        """Waits until something that is being changed by somebody has come to rest.

        Args:
            look: Returns it, or None.
            say: Takes progress.

        Returns:
            It, at rest.

        Raises:
            DeployFailed: It did not come to rest in time.
        """
        end = time.monotonic() + self._values.ready_within
        while True:
            found = look()
            state = "" if found is None else state_of(found)
            if state not in MOVING:
                return found
            if time.monotonic() >= end:
                raise DeployFailed(
                    f"{found.name!r} is still {state} after {self._values.ready_within:g} s."
                )
            say(f"{found.name} is {state}")
            time.sleep(LOOK_SECONDS)

    def autoscale(self, name: str) -> dict[str, Any] | None:
        """Returns an autoscale setting of Azure Monitor, None if there is none of that name."""
        with _or_none(f"looking at the autoscale setting {name!r}"):
            return self._monitor("GET", name)
        return None

    def put_autoscale(self, body: dict[str, Any]) -> None:
        """Makes an autoscale setting as given."""
        with told(f"making the autoscale setting {body['name']!r}"):
            self._monitor("PUT", body["name"], body)

    def drop_autoscale(self, name: str) -> None:
        """Takes an autoscale setting away; none is fine."""
        with _or_none(f"taking away the autoscale setting {name!r}"):
            self._monitor("DELETE", name)

    def score(self, uri: str, body: dict[str, Any], deployment: str | None) -> Reply:
        """Sends a scoring request as callers do.

        Args:
            uri: The endpoint's.
            body: The request's.
            deployment: The only one that may answer; None leaves it to the traffic.
        """
        from azure.core import PipelineClient
        from azure.core.rest import HttpRequest

        with told("asking for the key of the endpoint"):
            keys: Any = self._client.online_endpoints.get_keys(self._name)
        key = getattr(keys, "primary_key", None) or getattr(keys, "access_token", "")
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        if deployment is not None:
            headers["azureml-model-deployment"] = deployment
        request = HttpRequest("POST", uri, headers=headers, content=json.dumps(body))
        with told("a scoring request"):
            client: PipelineClient[Any, Any] = PipelineClient(uri, policies=[])
            with client:
                answer = client.send_request(request, read_timeout=CALL_SECONDS)
                return Reply(answer.status_code, answer.content)

    @property
    def _name(self) -> str:
        return self._values.name

    def _wait(self, begin: Callable[[], LROPoller[Any]], doing: str, say: Say) -> None:
        """Begins something long, and waits for its end."""
        end = time.monotonic() + self._values.ready_within
        say(doing)
        # The package prints a dot for every look, also where this command prints JSON.
        with told(doing), redirect_stdout(io.StringIO()):
            poller = begin()
            while not poller.done() and time.monotonic() < end:
                poller.wait(min(LOOK_SECONDS, max(end - time.monotonic(), 0.0)))
            if not poller.done():
                raise DeployFailed(
                    f"Azure has not ended {doing} within {self._values.ready_within:g} s; it says "
                    f"{poller.status()!r}."
                )
            poller.result()

    def _monitor(self, method: str, name: str, body: Any = None) -> dict[str, Any]:
        """Sends a request to Azure Monitor, for which the client of Azure ML has no method."""
        from azure.core.pipeline.policies import RetryPolicy
        from azure.core.rest import HttpRequest
        from azure.mgmt.core import ARMPipelineClient
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

        base = _base()
        group = workspace_id(self._values).partition("/providers/")[0]
        request = HttpRequest(
            method,
            f"{base}{group}/providers/Microsoft.Insights/autoscaleSettings/{name}",
            params={"api-version": MONITOR_VERSION},
            json=body,
        )
        may = ARMChallengeAuthenticationPolicy(self._credential, f"{_base()}/.default")
        client: Any = ARMPipelineClient(base, policies=[RetryPolicy(), may])
        with client:
            answer = client.send_request(request)
            _refuse(answer)
            return cast("dict[str, Any]", answer.json()) if answer.content else {}


def _base() -> str:
    """Returns the address of Azure's Resource Manager, which is another in each of its clouds."""
    from azure.ai.ml._azure_environments import _get_base_url_from_metadata

    return _get_base_url_from_metadata()


def state_of(held: Any) -> str:
    """Returns the state of an endpoint or a deployment, in lower case."""
    state = held.provisioning_state
    return str(getattr(state, "value", state)).lower()


@contextmanager
def _or_none(doing: str) -> Iterator[None]:
    """Lets pass that something is not there."""
    from azure.core.exceptions import ResourceNotFoundError

    with told(doing):
        try:
            yield
        except ResourceNotFoundError as error:
            # A workspace or a resource group that is not there is not the same as nothing in it.
            code = getattr(error.error, "code", "")
            if code in ("ResourceGroupNotFound", "SubscriptionNotFound", "ParentResourceNotFound"):
                raise
            if code == "ResourceNotFound" and _is_about_workspace(error):
                raise


def _is_about_workspace(error: Any) -> bool:
    """Returns whether the workspace itself is what is not there, by how Azure writes its names."""
    message = str(error.error.message)
    return "/workspaces/" in message and "/onlineEndpoints/" not in message


def _refuse(answer: Any) -> None:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
    from azure.mgmt.core.exceptions import ARMErrorFormat

    if answer.status_code >= 400:
        kind = ResourceNotFoundError if answer.status_code == 404 else HttpResponseError
        raise kind(response=answer, error_format=ARMErrorFormat)
