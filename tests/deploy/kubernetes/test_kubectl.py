"""What kubectl says, as sentences."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deploy.errors import DeployFailed, LeaseLost
from deploy.kubernetes.kubectl import Kubectl, Unreachable, current_context, insist, problem
from deploy.kubernetes.target import TARGET
from deploy.kubernetes.values import KubernetesValues

FORBIDDEN = (
    'Error from server (Forbidden): deployments.apps "a" is forbidden: User "intern" cannot patch '
    'resource "deployments" in API group "apps" in the namespace "n"\n'
)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (FORBIDDEN, 'The cluster does not allow it: deployments.apps "a" is forbidden: User'),
        ("error: You must be logged in to the server (Unauthorized)\n", "does not accept the cred"),
        ('Error from server (NotFound): namespaces "n" not found\n', "`kubectl create namespace`"),
        (
            'error: resource mapping not found: no matches for kind "Scaled" in version "x"\n',
            "Install what brings it",
        ),
        ("Error from server (Invalid): spec.x: wrong\n", "The cluster refused: spec.x: wrong."),
    ],
)
def test_a_refusal_is_one_sentence_with_its_own_words(said: str, sentence: str) -> None:
    error = problem(said)
    assert sentence in error.message
    assert not isinstance(error, Unreachable)


@pytest.mark.parametrize(
    "said",
    [
        "The connection to the server 127.0.0.1:1 was refused - did you specify the right host?",
        "Unable to connect to the server: dial tcp 127.0.0.1:1: connect: connection refused",
        "error: unexpected EOF",
        "Error from server: etcdserver: request timed out",
    ],
)
def test_a_cluster_that_is_away_is_asked_again(said: str) -> None:
    assert isinstance(problem(said), Unreachable)


def test_it_is_not_asked_again_where_the_place_was_lost_while_it_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def ask() -> None:
        done.append("asked")
        raise Unreachable("The cluster does not answer.")

    def say(_: str) -> None:
        assert done[-1] == "slept"
        raise LeaseLost("Somebody else has taken over.")

    monkeypatch.setattr(time, "sleep", lambda _: done.append("slept"))
    with pytest.raises(LeaseLost):
        insist(ask, say)
    assert done == ["asked", "slept"]


def test_many_errors_are_cut_short() -> None:
    said = "".join(f"Error from server (Invalid): {n}\n" for n in range(5))
    assert problem(said).message == "The cluster refused: 0; 1; 2; and 2 more."


@pytest.mark.parametrize("day", ["0131", "0930", "1122"])
def test_lines_of_a_log_are_no_errors(day: str) -> None:
    line = f"E{day} 21:00:00.000000   12345 memcache.go:265] couldn't get resource list"
    said = f"{line}\nError from server (Invalid): spec.x: wrong\n"
    assert problem(said).message == "The cluster refused: spec.x: wrong."


def script(folder: Path, body: str) -> None:
    path = folder / "kubectl"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is searched for kubectl."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return tmp_path


def test_context_and_namespace_are_said(kubectl: Path) -> None:
    script(kubectl, 'echo "$@"')
    assert Kubectl("c", "n").run("get", "pods") == "--context c --namespace n get pods\n"
    assert Kubectl(None, "n").run("get", "pods") == "--namespace n get pods\n"


def test_a_group_whose_server_is_down_hides_no_other_kind(kubectl: Path) -> None:
    script(kubectl, "echo 'deployments deploy apps/v1 true Deployment'; echo away >&2; exit 1")
    assert Kubectl(None, "n").kinds() == {("apps/v1", "Deployment")}


def test_a_kubeconfig_without_context_is_told(kubectl: Path) -> None:
    script(kubectl, "echo 'error: current-context is not set' >&2; exit 1")
    with pytest.raises(DeployFailed, match="current-context is not set"):
        current_context()


def test_a_place_stays_in_the_context_of_its_first_release(kubectl: Path) -> None:
    script(kubectl, "echo today")
    values = KubernetesValues.model_validate({"image": "a:1", "mode": "static"})
    assert TARGET.connect(values, {}).facts == {"context": "today"}
    assert TARGET.connect(values, {"context": "first"}).facts == {"context": "first"}


def test_no_kubectl_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployFailed, match="kubectl is not installed here"):
        Kubectl(None, "n").run("get", "pods")
