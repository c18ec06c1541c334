"""BentoML's own client of BentoCloud, as far as deployments need it."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from deploy.bentocloud.problems import told
from deploy.bentocloud.values import BentoCloudValues
from deploy.errors import DeployFailed
from deploy.target import Reply, Say

if TYPE_CHECKING:
    from bentoml._internal.cloud.deployment import Deployment

__all__ = ["FAILED", "READY", "Cloud"]

READY: Final = ("running", "scaled-to-zero")
FAILED: Final = ("failed", "image-build-failed", "unhealthy", "terminated", "terminating")

LOOK_SECONDS: Final = 5.0
CALL_SECONDS: Final = 60.0
NOT_FOUND: Final = 404


class Cloud:
    """One deployment on BentoCloud, reached with the credentials that `bentoml` finds.

    Those are `BENTO_CLOUD_API_KEY` and `BENTO_CLOUD_API_ENDPOINT`, or what `bentoml cloud login`
    has stored.

    Args:
        values: Name the deployment and its cluster.

    Raises:
        DeployFailed: There are no credentials.
    """

    def __init__(self, values: BentoCloudValues) -> None:
        from bentoml.cloud import BentoCloudClient
        from bentoml.exceptions import BentoMLException

        self._values = values
        try:
            self._client = BentoCloudClient.for_context(os.environ.get("BENTOML_CLOUD_CONTEXT"))
        except BentoMLException as error:
            raise DeployFailed(
                "There are no credentials for BentoCloud; run `bentoml cloud login`, or set "
                f"BENTO_CLOUD_API_KEY ({error.message})"
            ) from error

    def get(self) -> Deployment | None:
        """Returns the deployment, None if there is none."""
        from bentoml.exceptions import NotFound

        with told(f"looking at the deployment {self._values.name!r}"):
            try:
                return self._client.deployment.get(self._values.name, self._values.cluster)
            except NotFound:
                return None

    def deploy(self, content: dict[str, Any], cluster: str | None, say: Say) -> None:
        """Pushes the Bento if it is not there yet, and makes the deployment as given.

        Args:
            content: Of the deployment file.
            cluster: Where the deployment is already, which BentoML wants to be told again.
            say: Takes progress.
        """
        from bentoml._internal.cloud.deployment import DeploymentConfigParameters

        self._push(content["bento"])
        content = deepcopy(content)
        if cluster is not None:
            content["cluster"] = cluster
        # Without `verify`, which builds a Bento of the folder it runs in where it finds none.
        wanted = DeploymentConfigParameters(cfg_dict=content, service_name="")
        say(f"making the deployment {self._values.name}")  # after what may have taken minutes
        with told(f"making the deployment {self._values.name!r}"), _quiet():
            self._client.deployment.apply(wanted)

    def put_secret(self, secret: dict[str, Any]) -> None:
        """Makes a secret as given, or gives it these values."""
        pairs = [(each["key"], each["value"]) for each in secret["items"]]
        name, cluster = secret["name"], self._values.cluster
        with told(f"storing the secret {name!r}"):
            change = self._client.secret.update if self._has(name) else self._client.secret.create
            change(name=name, type=secret["type"], cluster=cluster, key_vals=pairs, stage="runtime")

    def drop_secret(self, name: str) -> None:
        """Takes a secret away; none is fine."""
        with told(f"taking away the secret {name!r}"):
            if self._has(name):
                self._client.secret.delete(name, self._values.cluster)

    def drop(self, say: Say) -> None:
        """Ends the deployment, then takes it away."""
        name, cluster = self._values.name, self._values.cluster
        say(f"ending the deployment {name}")
        with told(f"ending the deployment {name!r}"):
            self._client.deployment.terminate(name, cluster)
        self.wait(("terminated",), (), say)
        say(f"taking away the deployment {name}")
        with told(f"taking away the deployment {name!r}"):
            self._client.deployment.delete(name, cluster)

    def wait(self, wanted: tuple[str, ...], bad: tuple[str, ...], say: Say) -> None:
        """Waits until the deployment is in one of some states.

        Args:
            wanted: The states.
            bad: States that end the waiting too, with an error.
            say: Takes progress.

        Raises:
            DeployFailed: It came into a bad one, or into none in time.
        """
        end = time.monotonic() + self._values.ready_within
        while True:
            there = self.get()
            if there is None:
                raise DeployFailed(f"The deployment {self._values.name!r} is not there any more")
            status = there.get_status(refetch=False).status
            if status in wanted:
                return
            if status in bad:
                raise DeployFailed(
                    f"BentoCloud says that the deployment {there.name!r} is {status!r}; what its "
                    f"log says stands at {there.admin_console}"
                )
            if time.monotonic() >= end:
                raise DeployFailed(
                    f"The deployment {there.name!r} is still {status!r} after "
                    f"{self._values.ready_within:g} s; its log stands at {there.admin_console}"
                )
            say(f"{there.name} is {status}")
            time.sleep(LOOK_SECONDS)

    def ask(self, address: str, body: dict[str, Any]) -> Reply:
        """Asks `/predict` of the deployment, with a token that is good there."""
        import httpx

        admin = None if self._values.protected else self._values.admin_token
        token = self._client.client.session.headers["X-YATAI-API-TOKEN"]
        if admin is not None:
            token = os.environ[admin]
        with told("a request for a prediction"):
            answer = httpx.post(
                f"{address.rstrip('/')}/predict",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=CALL_SECONDS,
            )
            return Reply(answer.status_code, answer.content)

    def _push(self, tag: str) -> None:
        """Pushes a Bento of the local store, or sees that BentoCloud has it."""
        import bentoml
        from bentoml.exceptions import NotFound

        name, _, version = tag.partition(":")
        with told(f"pushing the Bento {tag}"), _quiet():
            try:
                bento = bentoml.bentos.get(tag)
            except NotFound:
                self._client.bento.get(name, version)
            else:
                self._client.bento.push(bento)

    def _has(self, secret: str) -> bool:
        from bentoml.exceptions import CloudRESTApiClientError

        try:
            self._client.client.v1.get_secret(secret, self._values.cluster)
        except CloudRESTApiClientError as error:
            if int(error.error_code) == NOT_FOUND:
                return False
            raise
        return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the client from drawing where this command prints its result."""
    with redirect_stdout(io.StringIO()):
        yield
