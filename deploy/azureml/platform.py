"""One endpoint on Azure ML: how a release comes, is looked at, and goes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from deploy.azureml import compare
from deploy.azureml.client import GOOD, MOVING, Azure, state_of
from deploy.azureml.documents import (
    AUTOSCALE,
    DEPLOYMENT,
    ENDPOINT,
    MADE_BY,
    SCALES,
    TRAFFIC,
    autoscale_name,
)
from deploy.azureml.problems import told
from deploy.azureml.traffic import Split, shown, steps
from deploy.azureml.values import AzureMLValues
from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.smoke import Probe, smoke_test
from deploy.target import Reply, Say, Seen

if TYPE_CHECKING:
    from azure.ai.ml.entities import OnlineDeployment, OnlineEndpoint

__all__ = ["AzureML"]

WHOLE: Final = "whole"
BEFORE: Final = "before"
"""Tags of the endpoint: which deployment had all of the traffic last, and which one before it."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What documents say, as Azure's own loaders read it."""

    endpoint: OnlineEndpoint
    deployment: OnlineDeployment
    autoscale: dict[str, Any] | None
    traffic: dict[str, Any]

    @classmethod
    def read(cls, documents: Sequence[Document]) -> _Sent:
        from azure.ai.ml import load_online_deployment, load_online_endpoint

        by_name = {each.name: each for each in documents}
        autoscale = by_name.get(AUTOSCALE)
        with told("reading the documents"):
            return cls(
                load_online_endpoint(_file(by_name[ENDPOINT])),
                load_online_deployment(_file(by_name[DEPLOYMENT])),
                None if autoscale is None else dict(autoscale.content),  # type: ignore[arg-type]
                dict(by_name[TRAFFIC].content),  # type: ignore[arg-type]
            )

    @property
    def name(self) -> str:
        """Name of the deployment."""
        return str(self.deployment.name)


class AzureML:
    """An endpoint, and one deployment in it for each release; see `deploy.target.Platform`.

    Args:
        values: Of the deployment.
        azure: The workspace.
    """

    def __init__(self, values: AzureMLValues, azure: Azure) -> None:
        self.facts: dict[str, Any] = {}
        self._values = values
        self._azure = azure
        self._only: str | None = None
        self._found: OnlineEndpoint | None = None
        self._spared: frozenset[str] = frozenset()

    def spare(self, documents: Sequence[Document]) -> None:
        """Notes the endpoint with its traffic, and the deployments in it."""
        self._found = self._azure.endpoint()
        if self._found is not None:
            self._must_be_ours(self._found)
            self._spared = frozenset(str(each.name) for each in self._azure.deployments())

    def apply(self, documents: Sequence[Document], bento: str, probe: Probe, say: Say) -> None:
        """Makes a deployment beside the present one, asks it alone, then gives it the traffic."""
        sent = _Sent.read(documents)
        endpoint = self._make_endpoint(sent, say)
        self.facts["scoring_uri"] = endpoint.scoring_uri
        self._make_deployment(sent, say)
        if sent.autoscale is not None:
            self._make_autoscale(sent.autoscale, say)
        now = _split(endpoint)
        last = [_tags(endpoint).get(key) for key in (WHOLE, BEFORE)]
        way = steps(now, sent.name, self._values.traffic)
        if not way and sent.name != last[0]:
            way = [now]  # somebody gave it all of the traffic by hand, which is to be noted
        proven = sent.name in last
        for split in way[-1:] if proven else way:
            # A share of the live requests is for what has shown that it answers.
            with self._alone(sent.name):
                smoke_test(self, probe, say)
            self._move(split, sent.name if split is way[-1] else None, say)
            if split is not way[-1]:
                self._hold(split, say)
        self._clear(sent.name, say)

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        """Asks the scoring address with the endpoint's key."""
        body = {"inputs": rows, "endpoint": endpoint}
        return self._azure.score(str(self.facts["scoring_uri"]), body, self._only)

    def look(self, documents: Sequence[Document]) -> Seen:
        """Returns how endpoint and deployment stand, and what was changed by hand."""
        sent = _Sent.read(documents)
        there = self._azure.endpoint()
        if there is None:
            return Seen("absent", differences=(f"The endpoint {sent.endpoint.name} is gone.",))
        now = _split(there)
        states = [state_of(there)]
        parts = [("endpoint", states[0])]
        differences = [*compare.endpoint(sent.endpoint, there), *compare.traffic(sent.traffic, now)]
        for each in sorted(self._azure.deployments(), key=lambda found: str(found.name)):
            share = now.traffic.get(str(each.name), 0)
            state = f"{state_of(each)}, {each.instance_count} x {each.instance_type}"
            parts.append((str(each.name), f"{state}, {share} % of the traffic"))
            if each.name == sent.name:
                states.append(state_of(each))
                scales = sent.autoscale is not None
                differences += compare.deployment(sent.deployment, each, scales)
        if len(states) == 1:
            differences.append(f"The deployment {sent.name} is gone.")
            states.append("failed")
        if sent.autoscale is not None:
            autoscale = self._azure.autoscale(sent.autoscale["name"])
            differences += compare.autoscale(sent.autoscale, autoscale)
        bad = [each for each in states if each in ("failed", "canceled")]
        rest = all(each == GOOD for each in states)
        return Seen(
            "failed" if bad else "ready" if rest else "progressing",
            there.scoring_uri,
            tuple(parts),
            tuple(differences),
            self._azure.log(sent.name) if bad else "",
        )

    def delete(self, documents: Sequence[Document], say: Say) -> str:
        """Takes the endpoint away with all its deployments, and their autoscale settings.

        An endpoint that is spared stays, with its deployments; it gets its traffic back.
        """
        there = self._azure.settle(self._azure.endpoint, say)
        if there is None:
            return ""
        self._must_be_ours(there)
        if self._found is not None:
            return self._undo(self._found, there, _Sent.read(documents).name, say)
        for each in self._azure.deployments():
            self._drop_autoscale(each, say)
        self._azure.drop_endpoint(say)
        return ""

    def _undo(self, found: OnlineEndpoint, there: OnlineEndpoint, name: str, say: Say) -> str:
        split = _split(found)
        changed = (_split(there), _tags(there)) != (split, _tags(found))
        if changed or compare.endpoint(found, there):
            self._azure.put_endpoint(found, f"moving the traffic: {shown(split)}", say)
        stays = (
            f"The endpoint {found.name} was there before it, and has its traffic as it was then: "
            f"{shown(split)}."
        )
        if name in self._spared:
            return f"{stays} So was its deployment {name}, which stays as it was sent now."
        made = self._azure.deployment(name)
        if made is not None:
            if state_of(made) in MOVING:
                return f"{stays} Its own deployment {name} is still {state_of(made)}, and stays."
            self._drop(made, say)
        return f"{stays} What it made was taken away."

    def _make_endpoint(self, sent: _Sent, say: Say) -> Any:
        there = self._azure.settle(self._azure.endpoint, say)
        doing = f"making the endpoint {sent.endpoint.name!r}"
        if there is not None:
            self._must_be_ours(there)
            if not compare.endpoint(sent.endpoint, there) and state_of(there) == GOOD:
                return there
            sent.endpoint.tags = _tags(there)
            sent.endpoint.traffic = dict(there.traffic)
            sent.endpoint.mirror_traffic = dict(there.mirror_traffic)
            doing = f"changing the endpoint {sent.endpoint.name!r}"
        self._azure.put_endpoint(sent.endpoint, doing, say)
        return self._there()

    def _make_deployment(self, sent: _Sent, say: Say) -> None:
        """Makes the deployment if it is not there as sent."""
        name = sent.name
        there = self._azure.settle(lambda: self._azure.deployment(name), say)
        if there is not None:
            scales = sent.autoscale is not None
            good = state_of(there) == GOOD
            if good and not compare.deployment(sent.deployment, there, scales):
                return
            if good and scales:
                # How many there are now is what the load asks for.
                sent.deployment.instance_count = there.instance_count
            if not good and not self._there().traffic.get(name):
                # Azure does not bring a failed deployment back to life.
                self._drop(there, say)
        self._azure.put_deployment(sent.deployment, say)

    def _make_autoscale(self, body: dict[str, Any], say: Say) -> None:
        if compare.autoscale(body, self._azure.autoscale(body["name"])):
            say("setting the rules of autoscaling")
            self._azure.put_autoscale(body)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Asks this deployment, whatever the traffic is."""
        self._only = name
        try:
            yield
        finally:
            self._only = None

    def _move(self, split: Split, whole: str | None, say: Say) -> None:
        endpoint = self._there()
        endpoint.traffic, endpoint.mirror_traffic = dict(split.traffic), dict(split.mirror)
        tags = _tags(endpoint)
        if whole is not None and tags.get(WHOLE) != whole:
            tags[BEFORE], tags[WHOLE] = tags.get(WHOLE, ""), whole
            endpoint.tags = tags
        self._azure.put_endpoint(endpoint, f"moving the traffic: {shown(split)}", say)

    def _hold(self, split: Split, say: Say) -> None:
        """Waits, and stops the release where somebody else has moved the traffic meanwhile."""
        say(f"holding for {self._values.traffic.hold:g} s: {shown(split)}")
        time.sleep(self._values.traffic.hold)
        there = self._there()
        now = _split(there)
        if now != split:
            raise DeployFailed(
                f"Somebody else moved the traffic of {there.name} meanwhile: it is {shown(now)}"
            )

    def _clear(self, name: str, say: Say) -> None:
        """Takes away what earlier releases made, but for the one before where that is kept."""
        endpoint = self._there()
        kept = {name, *self._spared}
        if self._values.traffic.keep:
            kept.add(_tags(endpoint).get(BEFORE, ""))
        for each in self._azure.deployments():
            ours = MADE_BY.items() <= _tags(each).items()
            if not ours or each.name in kept or endpoint.traffic.get(each.name):
                continue
            if state_of(each) in MOVING:
                say(f"{each.name} is still {state_of(each)}; the next release takes it away")
            else:
                self._drop(each, say)

    def _drop(self, deployment: OnlineDeployment, say: Say) -> None:
        self._drop_autoscale(deployment, say)
        self._azure.drop_deployment(str(deployment.name), say)

    def _drop_autoscale(self, deployment: OnlineDeployment, say: Say) -> None:
        # Who never scales needs no rights on Azure Monitor.
        if SCALES.items() <= _tags(deployment).items():
            say(f"taking away the rules of autoscaling of {deployment.name}")
            self._azure.drop_autoscale(autoscale_name(self._values.name, str(deployment.name)))

    def _there(self) -> Any:
        found = self._azure.endpoint()
        if found is None:
            raise DeployFailed(f"The endpoint {self._values.name!r} is not there any more")
        return found

    def _must_be_ours(self, endpoint: Any) -> None:
        if not MADE_BY.items() <= _tags(endpoint).items():
            raise DeployFailed(
                f"The workspace {self._values.workspace} has an endpoint {endpoint.name!r} that "
                "was not made by Switchyard, and is left alone; take another 'name'"
            )


def _split(endpoint: Any) -> Split:
    """Returns the traffic of an endpoint; of none there is none."""
    return Split.of(getattr(endpoint, "traffic", None), getattr(endpoint, "mirror_traffic", None))


def _file(document: Document) -> StringIO:
    """Returns a document as a file; JSON is YAML in which no text reads as anything else."""
    return StringIO(json.dumps(document.content))


def _tags(held: Any) -> dict[str, str]:
    return dict(held.tags or {})
