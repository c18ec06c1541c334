"""One deployment on BentoCloud: how a release comes, is looked at, and goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploy.bentocloud import strict
from deploy.bentocloud.client import FAILED, READY, Cloud
from deploy.bentocloud.compare import differences
from deploy.bentocloud.documents import DEPLOYMENT, MADE_BY, SECRET
from deploy.bentocloud.values import BentoCloudValues
from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.smoke import Probe
from deploy.target import Reply, Say, Seen

if TYPE_CHECKING:
    from bentoml._internal.cloud.deployment import Deployment

__all__ = ["BentoCloud"]


class BentoCloud:
    """A deployment, of which BentoCloud keeps the revisions; see `deploy.target.Platform`.

    Args:
        values: Of the deployment.
        cloud: BentoCloud.
    """

    def __init__(self, values: BentoCloudValues, cloud: Cloud) -> None:
        self.facts: dict[str, Any] = {}
        self._values = values
        self._cloud = cloud
        self._found: dict[str, Any] | None = None

    def spare(self, documents: Sequence[Document]) -> None:
        """Notes the deployment, in a form that makes it again."""
        there = self._cloud.get()
        if there is not None:
            self._must_be_ours(there)
            self._found = _again(there)
            if "bento" not in self._found:
                raise DeployFailed(
                    f"BentoCloud does not tell what the deployment {there.name!r} was made of, so "
                    "it could not be brought back; delete it there, or take another 'name'"
                )

    def apply(self, documents: Sequence[Document], bento: str, probe: Probe, say: Say) -> None:
        """Stores the secret, pushes the Bento, deploys it, and waits until all services run."""
        deployment = _content(documents, DEPLOYMENT)
        strict.check(deployment, DEPLOYMENT)
        there = self._cloud.get()
        if there is not None:
            self._must_be_ours(there)
        say("storing the secret")
        self._cloud.put_secret(_content(documents, SECRET))
        status = None if there is None else there.get_status(refetch=False).status
        if there is None or status in FAILED or differences(deployment, _told(there)):
            say(f"pushing {bento}")
            self._cloud.deploy(deployment, None if there is None else there.cluster, say)
        self._cloud.wait(READY, FAILED, say)
        self.facts["address"] = self._address()

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        """Asks `/predict` at the deployment's own address."""
        return self._cloud.ask(self.facts["address"], {"inputs": rows, "endpoint": endpoint})

    def look(self, documents: Sequence[Document]) -> Seen:
        """Returns how the deployment stands, and what was changed by hand."""
        deployment = _content(documents, DEPLOYMENT)
        there = self._cloud.get()
        if there is None:
            return Seen("absent", differences=(f"The deployment {deployment['name']} is gone.",))
        status = there.get_status(refetch=False).status
        state = "ready" if status in READY else "failed" if status in FAILED else "progressing"
        urls = there._urls or [""]
        return Seen(
            state,  # type: ignore[arg-type]
            urls[0] or None,
            ((there.name, status),),
            tuple(differences(deployment, _told(there))),
            f"Its log stands at {there.admin_console}." if state == "failed" else "",
        )

    def delete(self, documents: Sequence[Document], say: Say) -> str:
        """Ends the deployment and takes it away, and its secret; the pushed Bento stays.

        A deployment that is spared is made as it was.
        """
        there = self._cloud.get()
        secret = _content(documents, SECRET)["name"]
        if there is not None:
            self._must_be_ours(there)
        if self._found is not None:
            self._undo(self._found, there, say)
            return (
                f"{self._found['bento']}, which was there before it, is there as it was then. The "
                f"secret {secret} may hold what this release was to get: BentoCloud shows no "
                "values that could be put back."
            )
        if there is not None:
            self._cloud.drop(say)
        say(f"taking away the secret {secret}")
        self._cloud.drop_secret(secret)
        return ""

    def _undo(self, found: dict[str, Any], there: Deployment | None, say: Say) -> None:
        if there is None or _again(there) != found:
            say(f"bringing back {found['bento']}")
            self._cloud.deploy(found, None if there is None else there.cluster, say)
            self._cloud.wait(READY, FAILED, say)

    def _address(self) -> str:
        there = self._cloud.get()
        urls = None if there is None else there._urls
        if not urls:
            raise DeployFailed(
                f"BentoCloud tells no address of the deployment {self._values.name!r}"
            )
        return str(urls[0])

    def _must_be_ours(self, there: Deployment) -> None:
        labels = [(each.key, each.value) for each in there._schema.labels or ()]
        if (MADE_BY["key"], MADE_BY["value"]) not in labels:
            raise DeployFailed(
                f"BentoCloud has a deployment {there.name!r} that was not made by Switchyard, and "
                "is left alone; take another 'name'"
            )


def _content(documents: Sequence[Document], name: str) -> dict[str, Any]:
    return next(
        dict(each.content)  # type: ignore[arg-type]
        for each in documents
        if each.name == name
    )


def _told(there: Deployment) -> dict[str, Any]:
    """Returns what BentoCloud tells of a deployment, in the form of a deployment file."""
    config = there.get_config(refetch=False)
    # BentoML leaves out what is as it is without being said.
    return {} if config is None else {"access_authorization": False} | config.to_dict()


def _again(there: Deployment) -> dict[str, Any]:
    """Returns a deployment file that makes a deployment as it is."""
    return _told(there) | {"labels": [dict(MADE_BY)]}
