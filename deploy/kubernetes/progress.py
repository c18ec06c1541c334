"""How far a rollout is, and why it gets no further: what objects say, in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["Progress", "judge"]

Found = Mapping[str, Any]

PULL: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
BROKEN: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
CRASHES: Final = 3
"""Restarts of a container that is not ready, from which on nothing good is expected."""

REVISION: Final = "deployment.kubernetes.io/revision"
HASH: Final = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        state: Of the whole.
        parts: Name and state of each Deployment.
        why: What keeps it, in the cluster's words; empty if nothing is known to.
    """

    state: Literal["ready", "progressing", "failed", "absent"]
    parts: tuple[tuple[str, str], ...]
    why: str


def judge(names: Sequence[str], found: Iterable[Found], events: Iterable[Found] = ()) -> Progress:
    """Returns how far Deployments are.

    Args:
        names: Of the Deployments that ought to be there.
        found: Deployments, ReplicaSets and Pods that are there.
        events: Events of the namespace, for where the objects themselves say nothing.
    """
    of_kind: dict[str, list[Found]] = {"Deployment": [], "ReplicaSet": [], "Pod": []}
    for each in found:
        of_kind[each["kind"]].append(each)
    deployments = {each["metadata"]["name"]: each for each in of_kind["Deployment"]}
    parts, failures, reasons = [], [], []
    for name in names:
        deployment = deployments.get(name)
        if deployment is None:
            parts.append((name, "missing"))
            continue
        said, is_ready = _state(deployment)
        parts.append((name, said))
        if is_ready:
            continue
        pods = _newest_pods(deployment, of_kind["ReplicaSet"], of_kind["Pod"])
        failure, reason = _failure(deployment, pods), _reason(name, pods, events)
        if failure:
            failures.append(failure)
        elif _is_late(deployment):
            failures.append(reason or f"{name} does not become ready, and nothing says why")
        else:
            reasons.append(reason)
    if not deployments.keys() & set(names):
        return Progress("absent", tuple(parts), "")
    if failures:
        return Progress("failed", tuple(parts), failures[0])
    if reasons or any(said == "missing" for _, said in parts):
        return Progress("progressing", tuple(parts), next(filter(None, reasons), ""))
    return Progress("ready", tuple(parts), "")


def _state(deployment: Found) -> tuple[str, bool]:
    """Returns how a Deployment stands in words, and whether that is all that was asked."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return "just changed", False
    updated = status.get("updatedReplicas", 0)
    available = status.get("availableReplicas", 0)
    old = status.get("replicas", 0) - updated
    if updated < wanted:
        return f"{updated} of {wanted} pods are made anew", False
    if old > 0:
        return f"its new pods are not all ready, {old} of the old ones serve", False
    if available < wanted:
        return f"{available} of {wanted} pods are ready", False
    return f"{available} of {wanted} pods are ready", True


def _newest_pods(
    deployment: Found, replica_sets: Sequence[Found], pods: Sequence[Found]
) -> list[Found]:
    """Returns the pods of a Deployment's newest revision."""
    uid = deployment["metadata"].get("uid")
    own = [each for each in replica_sets if _owner(each) == uid]
    if not own:
        return []
    newest = max(own, key=lambda each: int(each["metadata"]["annotations"].get(REVISION, 0)))
    chosen = newest["metadata"]["labels"].get(HASH)
    return [
        each
        for each in pods
        if _owner(each) == newest["metadata"].get("uid")
        and each["metadata"]["labels"].get(HASH) == chosen
    ]


def _owner(found: Found) -> str | None:
    owners = found["metadata"].get("ownerReferences", [])
    return owners[0]["uid"] if owners else None


def _failure(deployment: Found, pods: Iterable[Found]) -> str:
    """Returns what will not get better by itself."""
    name = deployment["metadata"]["name"]
    for pod in pods:
        for container in _containers(pod):
            waiting = container.get("state", {}).get("waiting", {})
            reason, message = waiting.get("reason", ""), waiting.get("message", "")
            image = container.get("image", "")
            if reason in PULL:
                return f"The image {image} of {name} cannot be pulled ({reason}: {message})"
            if reason in BROKEN:
                return f"A container of {name} cannot be made ({reason}: {message})"
            if container.get("restartCount", 0) >= CRASHES and not container.get("ready"):
                return f"A container of {name} ends again and again ({_end(container)})"
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            said = f"{condition.get('reason')}: {condition.get('message')}"
            return f"The pods of {name} are not allowed ({said})"
    return ""


def _is_late(deployment: Found) -> bool:
    """Returns whether the cluster has given a Deployment up."""
    return any(
        condition["type"] == "Progressing" and condition["status"] == "False"
        for condition in deployment.get("status", {}).get("conditions", [])
    )


def _containers(pod: Found) -> list[Found]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _end(container: Found) -> str:
    """Returns how a container ended the last time."""
    last = container.get("lastState", {}).get("terminated", {})
    reason = last.get("reason", "Error")
    return f"{reason}, exit code {last.get('exitCode', 'unknown')}"


def _reason(name: str, pods: Sequence[Found], events: Iterable[Found]) -> str:
    """Returns what keeps a Deployment for now."""
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", []):
            if condition.get("reason") == "Unschedulable":
                return f"No node takes a pod of {name} ({condition.get('message', '')})"
    names = {pod["metadata"]["name"] for pod in pods}
    told = [
        each
        for each in events
        if each.get("type") == "Warning" and each["involvedObject"].get("name") in names
    ]
    if not told:
        return ""
    last = max(told, key=lambda each: each.get("lastTimestamp") or each.get("eventTime") or "")
    return f"{name} is not ready ({last.get('reason')}: {last.get('message')})"
