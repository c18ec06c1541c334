"""The life of a deployment on a real API server: that of SWITCHYARD_TEST_KUBECONFIG."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bentos import made
from kubelet import Wire, kubectl

from deploy.errors import DeployFailed
from deploy.kubernetes import kubectl as asking
from deploy.releases import Deployer
from switchyard.errors import Conflict
from switchyard.state import State

pytestmark = pytest.mark.slow

Make = Callable[..., Deployer]
NEWER = (
    ("batch/v1", "CronJob"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
)
"""What an old API server has not, or not in these versions."""

ONE = made()
TWO = made(tag="router:def456")


def objects(kubeconfig: Path, namespace: str, kinds: str) -> dict[str, Any]:
    said = kubectl(kubeconfig, "get", kinds, "--namespace", namespace, "--output=json")
    return {f"{o['kind']} {o['metadata']['name']}": o for o in json.loads(said)["items"]}


def versions(kubeconfig: Path, namespace: str, prefix: str) -> dict[str, Any]:
    """What changes when an object is written; a Deployment's status is written by the cluster."""
    found = objects(kubeconfig, namespace, "deployments,services,configmaps,secrets")
    return {
        name: each["metadata"].get("generation") or each["metadata"]["resourceVersion"]
        for name, each in found.items()
        if prefix in name
    }


def test_what_is_applied_is_there_and_ready(
    deployer: Make, kubeconfig: Path, namespace: str, said: list[str]
) -> None:
    place = deployer(name="first")
    release = place.apply(ONE)
    assert (release.number, release.status) == (1, "good")
    assert said[0].startswith("sending ")

    found = objects(kubeconfig, namespace, "deployments,services,networkpolicies,secrets")
    for name in ("router", "sklearn", "torch", "tensorflow"):
        assert found[f"Deployment first-{name}"]["status"]["readyReplicas"] == 1
        assert f"Service first-{name}" in found
        assert f"NetworkPolicy first-{name}" in found
    standing = place.status()
    assert standing.seen.state == "ready"
    assert standing.seen.differences == ()

    before = versions(kubeconfig, namespace, "first-")
    assert place.apply(ONE).status == "good"
    assert versions(kubeconfig, namespace, "first-") == before

    place.delete()
    assert place.status().seen.state == "absent"
    left = objects(kubeconfig, namespace, "deployments,services,configmaps,secrets,serviceaccounts")
    assert [name for name in left if "first" in name] == ["Secret first-secrets"]


def test_all_that_values_can_ask_for_is_taken_as_it_is_sent(
    deployer: Make, kubeconfig: Path, namespace: str, kinds: set[tuple[str, str]]
) -> None:
    part = {"replicas": 2, "maximum": 4}
    scaling = {"cpu": 70, "memory": 85, "active_requests": 20, "queue_ms": 50}
    place = deployer(
        name="whole",
        router=part,
        hosts={"torch": {**part, "gpu": 1, "gpu_type": "NVIDIA-L4"}},
        scaling=scaling,
        ingress={"host": "whole.example", "class_name": "nginx", "tls": "whole-tls"},
        log_store=None,
        logs={},
        models={},
        callers=["ingress"],
        jobs={"drift": "17 3 * * *", "retention": "7 4 * * *", "backup": {}},
    )
    place.apply(ONE)
    assert place.status().seen.differences == ()

    names = {
        "CronJob": ("whole-backup", "whole-drift", "whole-retention"),
        "HorizontalPodAutoscaler": ("whole-router", "whole-torch"),
        "PodDisruptionBudget": ("whole-router", "whole-torch"),
    }
    served = [kind for version, kind in NEWER if (version, kind) in kinds]
    found = objects(kubeconfig, namespace, ",".join(("ingresses", *served)))
    wanted = {f"{kind} {name}" for kind in served for name in names[kind]}
    assert {each for each in found if "whole" in each} == {"Ingress whole-router", *wanted}

    before = {name: each["metadata"].get("generation") for name, each in found.items()}
    place.apply(ONE)
    again = objects(kubeconfig, namespace, ",".join(("ingresses", *served)))
    assert before == {name: each["metadata"].get("generation") for name, each in again.items()}
    place.delete()
    assert place.status().seen.state == "absent"


def test_what_a_release_names_no_more_is_deleted_but_for_volumes(
    deployer: Make, kubeconfig: Path, namespace: str
) -> None:
    claimed = {"log_store": None, "logs": {"size": "1Gi"}}
    deployer(name="pruned", ingress={"host": "a.example"}, **claimed).apply(ONE)
    kinds = "ingresses.networking.k8s.io,persistentvolumeclaims,deployments"
    assert "Ingress pruned-router" in objects(kubeconfig, namespace, kinds)

    smaller = made(services=ONE.services[:3])
    deployer(name="pruned").apply(smaller)
    found = [name for name in objects(kubeconfig, namespace, kinds) if "pruned" in name]
    assert sorted(found) == [
        "Deployment pruned-router",
        "Deployment pruned-sklearn",
        "PersistentVolumeClaim pruned-logs",
    ]


def test_what_was_changed_by_hand_is_told_and_put_right(
    deployer: Make, kubeconfig: Path, namespace: str
) -> None:
    place = deployer(name="hand")
    place.apply(ONE)
    own = ("--namespace", namespace)
    kubectl(kubeconfig, "scale", "deployment/hand-torch", "--replicas=0", *own)
    kubectl(kubeconfig, "delete", "service/hand-sklearn", *own)
    kubectl(kubeconfig, "set", "env", "deployment/hand-router", "SWITCHYARD_MODE=static", *own)

    differences = place.status().seen.differences
    assert "Deployment hand-torch: spec.replicas is 0, but was sent as 1." in differences
    assert "Service hand-sklearn is missing." in differences
    assert any("env[1].value is static, but was sent as live" in each for each in differences)

    place.apply(ONE)
    assert place.status().seen.differences == ()


def test_an_image_that_cannot_be_pulled_makes_way_for_the_release_before(
    deployer: Make, kubeconfig: Path, namespace: str
) -> None:
    deployer(name="pull").apply(ONE)
    with pytest.raises(DeployFailed) as failed:
        deployer(name="pull", image="registry.example.com/missing:2").apply(TWO)
    sentence = failed.value.message
    assert "The image registry.example.com/missing:2 of pull-" in sentence
    assert 'ImagePullBackOff: Back-off pulling image "registry.example.com/missing:2"' in sentence
    assert "Release 1 (router:abc123) is back, and answers." in sentence

    standing = deployer(name="pull").status()
    assert standing.release.status == "failed"
    assert (standing.seen.state, standing.seen.differences) == ("ready", ())
    router = objects(kubeconfig, namespace, "deployments")["Deployment pull-router"]
    assert router["spec"]["template"]["spec"]["containers"][0]["image"] == "switchyard:1"


def test_a_first_release_that_fails_leaves_nothing_that_runs(
    deployer: Make, kubeconfig: Path, namespace: str
) -> None:
    with pytest.raises(DeployFailed, match=r"ends again and again .OOMKilled, exit code 137"):
        deployer(name="alone", image="crash:1").apply(ONE)
    assert not [name for name in objects(kubeconfig, namespace, "deployments") if "alone" in name]


def test_what_somebody_else_has_deployed_is_not_taken_away(
    deployer: Make, kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    deployer(name="theirs").apply(ONE)
    before = set(objects(kubeconfig, namespace, "deployments,services,configmaps"))
    with closing(State.open(f"sqlite:///{tmp_path / 'other.db'}")) as other:
        place = deployer(name="theirs", image="crash:1", state=other)
        with pytest.raises(DeployFailed, match="Objects that were there before it stay"):
            place.apply(TWO)
    assert set(objects(kubeconfig, namespace, "deployments,services,configmaps")) >= before
    deployer(name="theirs").apply(ONE)
    assert deployer(name="theirs").status().seen.differences == ()


def test_what_never_becomes_ready_is_given_up(deployer: Make) -> None:
    deployer(name="late").apply(ONE)
    with pytest.raises(DeployFailed, match="Release 2 failed: ") as failed:
        deployer(name="late", image="unready:1", ready_within=6.0).apply(TWO)
    assert "is not ready (Unhealthy: Readiness probe failed: HTTP 503)" in failed.value.message
    assert "Release 1 (router:abc123) is back" in failed.value.message


def test_rollback_returns_to_the_release_before(
    deployer: Make, kubeconfig: Path, namespace: str
) -> None:
    deployer(name="back").apply(ONE)
    deployer(name="back", image="switchyard:2").apply(TWO)
    again = deployer(name="back").rollback()
    assert (again.bento, again.status) == ("router:abc123", "good")
    router = objects(kubeconfig, namespace, "deployments")["Deployment back-router"]
    assert router["spec"]["template"]["spec"]["containers"][0]["image"] == "switchyard:1"
    assert router["metadata"]["labels"]["app.kubernetes.io/version"] == "abc123"


def test_a_smoke_test_that_fails_takes_the_release_back(deployer: Make, router: Any) -> None:
    deployer(name="smoke").apply(ONE)
    router.status = 500

    def say(words: str) -> None:
        if words.startswith("returning"):
            router.status = 200

    with pytest.raises(DeployFailed, match="HTTP 500") as failed:
        deployer(name="smoke", image="switchyard:2", say=say).apply(TWO)
    assert "Release 1 (router:abc123) is back, and answers." in failed.value.message


def pods_of(kubeconfig: Path, namespace: str, name: str) -> int:
    """How many pods a Deployment is to have."""
    number: int = objects(kubeconfig, namespace, "deployments")[f"Deployment {name}"]["spec"][
        "replicas"
    ]
    return number


def test_pods_stay_when_their_number_is_left_to_what_scales_them(
    deployer: Make,
    kubeconfig: Path,
    namespace: str,
    kinds: set[tuple[str, str]],
    said: list[str],
) -> None:
    own = ("--namespace", namespace)
    deployer(name="grow", router={"replicas": 3}).apply(ONE)
    scaled = deployer(name="grow", router={"replicas": 2, "maximum": 6})
    scaled.apply(ONE)
    assert pods_of(kubeconfig, namespace, "grow-router") == 3
    assert scaled.status().seen.differences == ()

    kubectl(kubeconfig, "scale", "deployment/grow-router", "--replicas=5", *own)
    scaled.apply(TWO)
    assert pods_of(kubeconfig, namespace, "grow-router") == 5
    assert scaled.status().seen.differences == ()

    said.clear()
    fixed = deployer(name="grow", router={"replicas": 2})
    fixed.apply(ONE)
    assert pods_of(kubeconfig, namespace, "grow-router") == 2
    if ("autoscaling/v2", "HorizontalPodAutoscaler") in kinds:
        # At once: what scales pods would change the number that is sent.
        assert said[1] == "deleting HorizontalPodAutoscaler grow-router"
    assert fixed.status().seen.differences == ()

    fixed.rollback()
    assert pods_of(kubeconfig, namespace, "grow-router") == 2


def as_somebody(own_config: Path, name: str) -> None:
    """Makes the kubeconfig one of somebody with few rights."""
    held = json.loads(own_config.read_text())
    held["users"][0]["user"]["as"] = name
    own_config.write_text(json.dumps(held))


def test_an_account_without_rights_is_told_which_ones(
    deployer: Make, own_config: Path, kubeconfig: Path, namespace: str
) -> None:
    as_somebody(own_config, "intern")
    with pytest.raises(DeployFailed) as failed:
        deployer(name="rights").apply(ONE)
    assert "The cluster does not allow it: " in failed.value.message
    assert 'User "intern" cannot list resource' in failed.value.message

    api, metadata = "rbac.authorization.k8s.io", {"name": "reader", "namespace": namespace}
    role = {
        "apiVersion": f"{api}/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}],
    }
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": api, "kind": "User", "name": "intern"}],
    }
    for each in (role, binding):
        kubectl(kubeconfig, "apply", "-f", "-", stdin=json.dumps(each))
    with pytest.raises(DeployFailed) as failed:
        deployer(name="rights").apply(ONE)
    assert 'User "intern" cannot patch resource' in failed.value.message
    assert "Secret" not in failed.value.message or "sesame" not in failed.value.message


def test_a_namespace_that_is_not_there(deployer: Make) -> None:
    with pytest.raises(DeployFailed, match='namespaces "nowhere" not found'):
        deployer(name="place", namespace="nowhere").apply(ONE)


def test_a_quota_refuses_in_its_own_words(deployer: Make, kubeconfig: Path, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": namespace},
        "spec": {"hard": {"requests.memory": "1Mi"}},
    }
    deployer(name="quota").apply(ONE)
    kubectl(kubeconfig, "apply", "-f", "-", stdin=json.dumps(quota))
    try:
        with pytest.raises(DeployFailed, match="exceeded quota: small") as failed:
            deployer(name="quota", image="switchyard:2").apply(TWO)
        # Release 1 still runs, so going back needs no new pods.
        assert "Release 1 (router:abc123) is back" in failed.value.message
    finally:
        kubectl(kubeconfig, "delete", "resourcequota", "small", "--namespace", namespace)


def test_a_network_that_breaks_is_waited_for(deployer: Make, wire: Wire, said: list[str]) -> None:
    def say(words: str) -> None:
        said.append(words)
        if words.startswith("sending"):
            wire.cut()
        elif words.startswith("waiting for the cluster"):
            wire.mend()

    assert deployer(name="wire", say=say).apply(ONE).status == "good"
    assert any("waiting for the cluster: The cluster does not answer" in each for each in said)


def test_a_network_that_stays_away_is_told(
    deployer: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = deployer(name="away")
    place.apply(ONE)
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 2.0)
    wire.cut()
    with pytest.raises(DeployFailed, match="The cluster does not answer") as failed:
        deployer(name="away", image="switchyard:2").apply(TWO)
    assert "Going back failed too" in failed.value.message
    wire.mend()
    assert place.rollback().bento == "router:abc123"
    seen = place.status().seen
    assert seen.state == "ready", seen


def test_of_two_at_once_one_is_refused(deployer: Make) -> None:
    found: list[BaseException | None] = [None, None]
    places = [deployer(name="twice"), deployer(name="twice")]

    def run(number: int) -> None:
        try:
            places[number].apply(ONE)
        except BaseException as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(each).__name__ for each in found) == ["Conflict", "NoneType"]
    assert any(isinstance(each, Conflict) for each in found)
    assert deployer(name="twice").status().seen.state == "ready"
