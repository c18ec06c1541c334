"""Values that are wrong are named before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from bentos import made, plan

from deploy.documents import names_of
from deploy.errors import ValuesError
from deploy.kubernetes.kustomize import FOLDER
from deploy.kubernetes.target import TARGET
from deploy.kubernetes.values import KubernetesValues
from deploy.releases import Deployer
from deploy.values import read_values
from switchyard.state import State


def read(*changes: str) -> KubernetesValues:
    return read_values(KubernetesValues, [FOLDER / "values.example.yaml"], changes, None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ingres={}", "'ingress' is meant"),
        ("router={replicas: 3, maximum: 2}", "router.maximum is 2, but must be more than"),
        ("router.memory=2GB", "'2GB', but must look like '512Mi'"),
        ("hosts.torhc={}", "hosts"),
        ("jobs.drift=daily", "must have five fields"),
        ("address=models.example.com", "must look like 'https://models.example.com'"),
        ("ingress.host=Upper", "no name that Kubernetes takes"),
        ("logs=null", "mode is 'live', which needs 'log_store' or 'logs'"),
        ("log_store=s3://bucket", "logs names a volume, but 'log_store'"),
        ("secrets.admin_token=hunter2", "must be the name of an environment variable"),
        ("secrets.more={lower: NAME}", "secrets.more.lower is no name"),
        ("environment={SWITCHYARD_MODE: live}", "is set by the deployment itself"),
        ("environment={SWITCHYARD_ADMIN_TOKEN: x}", "is set by the deployment itself"),
        ("environment={KEY: '${KEY}'}", "environment.KEY may hold no secret; write it into"),
        ("name=Upper", "take lower-case letters"),
        ("name=1st", "begin with a letter, as the names of Services do"),
        (f"namespace={'n' * 64}", "has 64 characters; Kubernetes takes 63"),
        ("namespace=a.b", "namespace is 'a.b'; take lower-case letters, digits"),
        ("callers=[Upper]", "callers"),
        ("scaling.cpu=0", "scaling.cpu"),
        ("hosts={torch: {gpu: 0}}", "hosts.torch.gpu"),
        ("keda={query: x}", "keda needs the key 'prometheus'"),
    ],
)
def test_what_is_wrong_is_named(change: str, problem: str) -> None:
    with pytest.raises(ValuesError) as refused:
        read(change)
    assert problem in refused.value.message


def test_a_namespace_may_be_as_long_as_kubernetes_takes_it() -> None:
    name = "0" + "n" * 62
    assert read(f"namespace='{name}'").namespace == name


def test_a_backup_needs_a_database() -> None:
    with pytest.raises(ValuesError, match="dumps the database"):
        read("mode=static", "jobs={backup: {}}")


def test_a_key_that_is_not_set_is_named_before_anything_is_asked_or_sent(
    records: State, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # so that there is no kubectl
    bento = made(plan=plan().model_copy(update={"auth": "required"}))
    names = names_of(TARGET.render(bento, read("api_key=SMOKE_KEY")))
    place = Deployer(
        TARGET,
        read("api_key=SMOKE_KEY"),
        records,
        environ=dict.fromkeys(names, "secret"),
        who="tests",
        say=said.append,
    )
    with pytest.raises(ValuesError, match="SMOKE_KEY is not set"):
        place.apply(bento)
    assert said == []


def test_the_file_and_the_line_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("image: switchyard:1\nlog_store: s3://bucket/log\nrouter:\n  cpus: 2\n")
    with pytest.raises(ValuesError, match=r"mine\.yaml, line 4: router\.cpus is an unknown key"):
        read_values(KubernetesValues, [path], (), None)


def test_an_image_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("log_store: s3://bucket/log\n")
    with pytest.raises(ValuesError, match="image"):
        read_values(KubernetesValues, [path], (), None)
