"""A deployment in a cluster: sent, watched, asked, compared and taken away."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.kubernetes.address import Door
from deploy.kubernetes.compare import differences, key_of
from deploy.kubernetes.kubectl import Kubectl, Unreachable, insist
from deploy.kubernetes.objects import INSTANCE, MANAGER, Object
from deploy.kubernetes.progress import Progress, judge
from deploy.kubernetes.replicas import KEEPER, SCALERS, kept
from deploy.kubernetes.values import KubernetesValues
from deploy.smoke import Probe
from deploy.target import Reply, Say, Seen

__all__ = ["Cluster"]

LOOK_SECONDS: Final = 1.0
FINAL_SECONDS: Final = 10.0
"""How long a failure must last: a registry or a quota may be busy for a moment."""

KEPT: Final = ("PersistentVolumeClaim", "Secret")
"""What is never deleted: data, and what opens them."""

OURS: Final = (
    ("apps/v1", "Deployment", "deployments.apps"),
    ("v1", "Service", "services"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("batch/v1", "CronJob", "cronjobs.batch"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers.autoscaling"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets.policy"),
    ("networking.k8s.io/v1", "Ingress", "ingresses.networking.k8s.io"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies.networking.k8s.io"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes.gateway.networking.k8s.io"),
    ("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors.monitoring.coreos.com"),
    ("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules.monitoring.coreos.com"),
    ("keda.sh/v1alpha1", "ScaledObject", "scaledobjects.keda.sh"),
)
"""Kinds that `render` makes and that may be deleted, and what kubectl calls them."""


class Cluster:
    """One deployment in one cluster.

    Args:
        values: Its values.
        facts: Recorded with its last release.
        kubectl: Reaches the cluster.
    """

    def __init__(self, values: KubernetesValues, facts: dict[str, Any], kubectl: Kubectl) -> None:
        self.facts = facts
        self._values = values
        self._kubectl = kubectl
        self._door = Door(values, kubectl)
        self._spared: frozenset[tuple[str, str]] = frozenset()

    def spare(self, documents: Sequence[Document]) -> None:
        """Notes which objects of ours are there."""
        self._spared = frozenset(key_of(each) for each in self._ours())

    def apply(self, documents: Sequence[Document], bento: str, probe: Probe, say: Say) -> None:
        """Sends the objects, waits until their pods are ready, and deletes what is left over.

        What is left over goes last: pods of the release before may still use it. Only what scales
        pods goes first, as it would change the number that is sent, or fight with what is to.
        """
        wanted = _objects(documents)
        say(f"sending {len(wanted)} objects of {bento}")
        self._prune(wanted, say, SCALERS)
        self._keep_numbers(wanted, say)
        sent = [_encoded(each) for each in wanted]
        self._kubectl.patiently(*_apply(), stdin=_list(sent), say=say)
        self._wait([key_of(each)[1] for each in wanted if each["kind"] == "Deployment"], say)
        self._prune(wanted, say)
        if not self._door.is_public:
            say("no address, Ingress or Gateway: asking by kubectl port-forward to the router")

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        """Asks for a prediction through the public address."""
        key = self._values.api_key and os.environ.get(self._values.api_key)
        return self._door.call(rows, endpoint, key)

    def look(self, documents: Sequence[Document]) -> Seen:
        """Returns what is there; Secrets are compared by their names only."""
        wanted = _objects(documents)
        names = [key_of(each)[1] for each in wanted if each["kind"] == "Deployment"]
        progress = self._progress(names)
        if progress.state == "absent":
            return Seen("absent", None, progress.parts)
        return Seen(
            progress.state,
            self._door.address(),
            progress.parts,
            tuple(self._differences(wanted)),
            f"{progress.why}." if progress.why else "",
        )

    def delete(self, documents: Sequence[Document], say: Say) -> str:
        """Deletes the objects and waits until they are gone; volumes and Secrets stay.

        Objects that are spared stay, as they are by now: how they were is not known here.
        """
        served = insist(self._kubectl.kinds, say)
        wanted = [each for each in _objects(documents) if each["kind"] not in KEPT]
        named = [
            each
            for each in wanted
            if (each["apiVersion"], each["kind"]) in served and key_of(each) not in self._spared
        ]
        say(f"deleting {len(named)} objects")
        words = ("delete", "--ignore-not-found", "--wait=true", "--timeout=90s", "--filename=-")
        self._kubectl.patiently(*words, stdin=_list(named), say=say)
        stay = sum(key_of(each) in self._spared for each in wanted)
        if not stay:
            return ""
        return (
            f"What it made was taken away. Objects that were there before it stay ({stay}), as it "
            "has sent them: deploy again what they were from."
        )

    def _wait(self, names: Sequence[str], say: Say) -> None:
        """Waits until Deployments are ready.

        Raises:
            DeployFailed: They will not be, or were not in time.
        """
        end = time.monotonic() + self._values.ready_within
        told = ""
        failing: float | None = None
        while True:
            try:
                progress = self._progress(names)
            except Unreachable as error:
                progress = Progress("progressing", (), error.message.rstrip("."))
            if progress.state == "ready":
                return
            now = time.monotonic()
            failing = (failing or now) if progress.state == "failed" else None
            if failing is not None and now - failing >= FINAL_SECONDS:
                raise DeployFailed(f"{progress.why}.")
            if now >= end:
                raise DeployFailed(
                    f"It is not ready after {self._values.ready_within:g} seconds: "
                    f"{progress.why or _in_words(progress)}."
                )
            words = progress.why or _in_words(progress)
            if words != told:
                say(words)
                told = words
            time.sleep(LOOK_SECONDS)

    def _progress(self, names: Sequence[str]) -> Progress:
        kinds = ("deployments", "replicasets", "pods")
        found = self._kubectl.objects(kinds, f"{INSTANCE}={self._values.name}")
        progress = judge(names, found)
        if progress.state in ("ready", "absent"):
            return progress
        try:
            return judge(names, found, self._kubectl.objects(("events",)))
        except DeployFailed:  # not everybody may read events, and they only say more
            return progress

    def _keep_numbers(self, wanted: Sequence[Object], say: Say) -> None:
        """Sees to it that Deployments whose number we say no more keep the one they have."""
        chosen = ("--selector", self._chosen, "--show-managed-fields", "--output=json")
        said = self._kubectl.patiently("get", "deployments", *chosen, say=say)
        numbers = kept(wanted, json.loads(said)["items"])
        if numbers:
            names = ", ".join(key_of(each)[1] for each in numbers)
            say(f"leaving the number of pods of {names} to what scales them")
            partly = (*_apply(KEEPER), "--validate=false")  # each is only a part of its object
            self._kubectl.patiently(*partly, stdin=_list(numbers), say=say)

    def _prune(
        self, wanted: Iterable[Object], say: Say, kinds: Collection[str] | None = None
    ) -> None:
        """Deletes what bears our labels and is not wanted any more, of some kinds or of all."""
        keep = {key_of(each) for each in wanted} | self._spared
        ours = insist(lambda: self._ours(kinds), say)
        left = [each for each in ours if key_of(each) not in keep]
        if left:
            say(f"deleting {', '.join(' '.join(key_of(each)) for each in left)}")
            words = ("delete", "--ignore-not-found", "--wait=false", "--filename=-")
            self._kubectl.patiently(*words, stdin=_list([_named(each) for each in left]), say=say)

    def _ours(self, kinds: Collection[str] | None = None) -> list[Object]:
        """Returns all that bears our labels, but for what is never deleted."""
        served = self._kubectl.kinds()
        asked = [
            name
            for version, kind, name in OURS
            if (version, kind) in served and (kinds is None or kind in kinds)
        ]
        return self._kubectl.objects(asked, self._chosen) if asked else []

    @property
    def _chosen(self) -> str:
        """The labels of all that is ours."""
        return f"{INSTANCE}={self._values.name},app.kubernetes.io/managed-by={MANAGER}"

    def _differences(self, wanted: Sequence[Object]) -> list[str]:
        sent = [each for each in wanted if each["kind"] != "Secret"]
        again = self._read(*_apply(), "--dry-run=server", "--output=json", objects=sent)
        words = ("get", "--ignore-not-found", "--output=json", "--filename=-")
        there = self._read(*words, objects=wanted)
        found = [
            sentence
            for key, each in again.items()
            for sentence in differences(each, there.get(key))
        ]
        gone = [key_of(each) for each in wanted if key_of(each) not in there]
        return found + [f"{kind} {name} is missing." for kind, name in gone if kind == "Secret"]

    def _read(self, *words: str, objects: Sequence[Object]) -> dict[tuple[str, str], Object]:
        """Returns the objects that a command prints, by kind and name."""
        said = self._kubectl.run(*words, stdin=_list(objects))
        if not said.strip():
            return {}
        found = json.loads(said)
        items = found["items"] if found["kind"] == "List" else [found]
        return {key_of(each): each for each in items}


def _objects(documents: Iterable[Document]) -> list[Object]:
    """Returns the objects of documents, all of which are objects here."""
    return [each.content for each in documents if isinstance(each.content, dict)]


def _apply(manager: str = MANAGER) -> tuple[str, ...]:
    """Returns how objects are sent: what was changed by hand is as it was sent again."""
    manager = f"--field-manager={manager}"
    return ("apply", "--server-side", "--force-conflicts", manager, "--filename=-")


def _list(objects: Sequence[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def _encoded(found: Object) -> Object:
    """Returns an object as it is kept: what a Secret is given as text would be new each time."""
    if "stringData" not in found:
        return found
    data = {key: b64encode(text.encode()).decode() for key, text in found["stringData"].items()}
    return {**{key: found[key] for key in found if key != "stringData"}, "data": data}


def _named(found: Object) -> Object:
    metadata = {key: found["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata}


def _in_words(progress: Progress) -> str:
    return ", ".join(f"{name}: {state}" for name, state in progress.parts)
