"""What objects say of a rollout, in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.kubernetes.compare import differences
from deploy.kubernetes.progress import judge

OWNER = "app-router"


def deployment(**status: Any) -> dict[str, Any]:
    counts = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    return {
        "kind": "Deployment",
        "metadata": {"name": OWNER, "uid": "d", "generation": 2},
        "spec": {"replicas": 2},
        "status": {**counts, **status},
    }


def replica_set(revision: int) -> dict[str, Any]:
    metadata = {
        "name": f"{OWNER}-{revision}",
        "uid": f"r{revision}",
        "ownerReferences": [{"uid": "d"}],
        "annotations": {"deployment.kubernetes.io/revision": str(revision)},
        "labels": {"pod-template-hash": f"h{revision}"},
    }
    return {"kind": "ReplicaSet", "metadata": metadata}


def pod(revision: int, **status: Any) -> dict[str, Any]:
    metadata = {
        "name": f"{OWNER}-{revision}-x",
        "ownerReferences": [{"uid": f"r{revision}"}],
        "labels": {"pod-template-hash": f"h{revision}"},
    }
    return {"kind": "Pod", "metadata": metadata, "status": status}


def waiting(reason: str, message: str = "said so") -> list[dict[str, Any]]:
    return [{"image": "a:1", "state": {"waiting": {"reason": reason, "message": message}}}]


def judged(*found: dict[str, Any], events: list[dict[str, Any]] | None = None) -> tuple[str, str]:
    progress = judge([OWNER], found, events or [])
    return progress.state, progress.why


def test_all_pods_ready_is_ready() -> None:
    assert judged(deployment()) == ("ready", "")


def test_nothing_there_is_absent() -> None:
    assert judged() == ("absent", "")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"observedGeneration": 1}, "just changed"),
        ({"updatedReplicas": 1}, "1 of 2 pods are made anew"),
        ({"replicas": 3}, "its new pods are not all ready, 1 of the old ones serve"),
        ({"availableReplicas": 0}, "0 of 2 pods are ready"),
    ],
)
def test_what_is_on_its_way_says_how_far(status: dict[str, Any], words: str) -> None:
    progress = judge([OWNER], [deployment(**status)])
    assert (progress.state, progress.parts) == ("progressing", ((OWNER, words),))


def test_one_that_lacks_among_others_is_on_its_way() -> None:
    progress = judge([OWNER, "app-torch"], [deployment()])
    assert progress.state == "progressing"
    assert progress.parts[1] == ("app-torch", "missing")


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        ("ImagePullBackOff", "The image a:1 of app-router cannot be pulled"),
        ("InvalidImageName", "The image a:1 of app-router cannot be pulled"),
        ("CreateContainerConfigError", "A container of app-router cannot be made"),
    ],
)
def test_a_container_that_cannot_start_is_told(reason: str, problem: str) -> None:
    found = pod(1, containerStatuses=waiting(reason))
    state, why = judged(deployment(availableReplicas=0), replica_set(1), found)
    assert (state, why) == ("failed", f"{problem} ({reason}: said so)")


def test_an_init_container_that_cannot_start_is_told_too() -> None:
    found = pod(1, initContainerStatuses=waiting("ErrImagePull"))
    state, why = judged(deployment(availableReplicas=0), replica_set(1), found)
    assert state == "failed"
    assert "cannot be pulled" in why


def test_pods_of_an_older_revision_do_not_count() -> None:
    found = pod(1, containerStatuses=waiting("ImagePullBackOff"))
    sets = (replica_set(1), replica_set(2))
    assert judged(deployment(availableReplicas=0), *sets, found) == ("progressing", "")


def test_a_container_that_ends_again_and_again_says_how() -> None:
    status = {
        "ready": False,
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
    }
    found = pod(1, containerStatuses=[status])
    assert judged(deployment(availableReplicas=0), replica_set(1), found) == (
        "failed",
        "A container of app-router ends again and again (OOMKilled, exit code 137)",
    )


def test_a_quota_is_told_in_its_own_words() -> None:
    refused = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: small",
    }
    assert judged(deployment(updatedReplicas=0, conditions=[refused])) == (
        "failed",
        "The pods of app-router are not allowed (FailedCreate: exceeded quota: small)",
    )


def test_a_pod_that_no_node_takes_is_told() -> None:
    condition = {"type": "PodScheduled", "reason": "Unschedulable", "message": "Insufficient cpu"}
    found = pod(1, conditions=[condition])
    assert judged(deployment(availableReplicas=0), replica_set(1), found) == (
        "progressing",
        "No node takes a pod of app-router (Insufficient cpu)",
    )


def test_the_last_warning_is_told_where_nothing_else_is_known() -> None:
    events = [
        {"type": "Warning", "reason": "Unhealthy", "message": message, "lastTimestamp": at,
         "involvedObject": {"name": name}}
        for message, at, name in (
            ("old", "2026-01-01T00:00:00Z", f"{OWNER}-1-x"),
            ("HTTP 503", "2026-01-01T00:00:05Z", f"{OWNER}-1-x"),
            ("of another", "2026-01-01T00:00:09Z", "another"),
        )
    ]  # fmt: skip
    found = judged(deployment(availableReplicas=0), replica_set(1), pod(1), events=events)
    assert found == ("progressing", "app-router is not ready (Unhealthy: HTTP 503)")


def test_one_that_the_cluster_has_given_up_has_failed_for_the_reason_its_pods_tell() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    warning = {
        "type": "Warning",
        "reason": "Unhealthy",
        "message": "HTTP 503",
        "involvedObject": {"name": f"{OWNER}-1-x"},
    }
    found = (deployment(availableReplicas=0, conditions=[late]), replica_set(1), pod(1))
    assert judged(*found, events=[warning]) == (
        "failed",
        "app-router is not ready (Unhealthy: HTTP 503)",
    )
    assert judged(*found) == (
        "failed",
        "app-router does not become ready, and nothing says why",
    )


def test_differences_name_place_and_both_values() -> None:
    sent = {
        "kind": "Service",
        "metadata": {"name": "s", "uid": "1"},
        "spec": {"ports": [{"port": 1}]},
    }
    now = {"kind": "Service", "metadata": {"name": "s", "uid": "2", "generation": 4},
           "spec": {"ports": [{"port": 2}], "type": "NodePort"}, "status": {"x": 1}}  # fmt: skip
    assert differences(sent, now) == [
        "Service s: spec.ports[0].port is 2, but was sent as 1.",
        "Service s: spec.type is NodePort, but was sent as absent.",
    ]
    assert differences(sent, {**sent, "status": {"x": 1}}) == []
    assert differences(sent, None) == ["Service s is missing."]
