"""What is known of a Bento from its files alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from bentoml._internal.bento.bento import BentoStore
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from deploy.bento import Service, find
from switchyard.errors import ModelRefused, NotFound, PlanError

PLAN = """\
endpoints:
  flights:
    default: true
    stable: sklearn
    variants:
      sklearn: {model: "flights-sklearn:production"}
      torch: {model: "flights-torch:t1"}
hosts:
  torch: {workers: 2, resources: {cpu: 2, gpu: 1, gpu_type: nvidia-t4}}
"""

BENTO = """\
service: services:Router
name: router
version: v1
bentoml_version: 1.4.39
creation_time: '2026-11-22T20:29:44.631831+00:00'
labels: {project: switchyard}
models: []
entry_service: Router
services:
- name: Controller
  service: ''
  models: []
  dependencies: []
  config: {workers: 1}
- name: TorchHost
  service: ''
  models:
  - {tag: 'flights-torch:t1', module: switchyard, creation_time: '2026-11-22T14:06:46+00:00'}
  dependencies: []
  config: {workers: 2, resources: {cpu: 2.0, gpu: 1, gpu_type: nvidia-t4}}
- name: Router
  service: ''
  models: []
  dependencies: [{service: Controller}, {service: SklearnHost}, {service: TorchHost}]
  config: {workers: cpu_count}
- name: SklearnHost
  service: ''
  models:
  - {tag: 'flights-sklearn:s1', module: switchyard, creation_time: '2026-11-22T14:06:46+00:00'}
  dependencies: []
  config: {}
envs: []
schema: {}
spec: 2
"""

LOCK = {"lock_version": 1, "aliases": {"flights-sklearn": {"production": "s1"}}}


@pytest.fixture
def bentos(tmp_path: Path) -> Iterator[Path]:
    """An empty store of Bentos."""
    folder = tmp_path / "bentos"
    folder.mkdir()
    BentoMLContainer.bento_store.set(BentoStore(folder))
    yield folder
    BentoMLContainer.bento_store.reset()


def put(
    bentos: Path, version: str = "v1", plan: str | None = PLAN, lock: bytes | None = None
) -> Path:
    """Puts a Bento into the store and returns its folder."""
    folder = bentos / "router" / version
    (folder / "src").mkdir(parents=True)
    (folder / "bento.yaml").write_text(BENTO.replace("version: v1", f"version: {version}"))
    if plan is not None:
        (folder / "src" / "switchyard.yaml").write_text(plan)
    (folder / "src" / "switchyard.lock").write_bytes(lock or orjson.dumps(LOCK))
    (bentos / "router" / "latest").write_text(version)
    return folder


def test_services_models_plan_and_aliases_are_read(bentos: Path) -> None:
    folder = put(bentos)
    bento = find("router:v1")
    assert (bento.tag, bento.version, bento.path) == ("router:v1", "v1", folder)
    assert bento.services == (
        Service("Router", None, 1, None, 0, None),
        Service("Controller", None, 1, None, 0, None),
        Service("SklearnHost", "sklearn", 1, None, 0, None),
        Service("TorchHost", "torch", 2, 2.0, 1, "nvidia-t4"),
    )
    assert [each.framework for each in bento.hosts] == ["sklearn", "torch"]
    assert bento.models == ("flights-sklearn:s1", "flights-torch:t1")
    assert bento.plan.endpoint("flights").stable == "sklearn"


def test_the_stable_model_is_an_alias_or_a_version(bentos: Path) -> None:
    put(bentos)
    assert find().stable_model("flights") == ("flights-sklearn", "s1")
    put(bentos, "v2", PLAN.replace("stable: sklearn", "stable: torch"))
    assert find().stable_model("flights") == ("flights-torch", "t1")
    with pytest.raises(NotFound, match="no endpoint 'digits'"):
        find().stable_model("digits")


def test_the_newest_is_found_without_a_tag(bentos: Path) -> None:
    put(bentos)
    put(bentos, "v2")
    assert find().tag == find("router").tag == "router:v2"
    assert find("router:v1").tag == "router:v1"


@pytest.mark.parametrize("tag", [None, "router:v9", "other", "A b:c!", "", ":", "router:"])
def test_a_bento_that_is_not_there_is_one_sentence(bentos: Path, tag: str | None) -> None:
    with pytest.raises(
        NotFound, match=r"There is no Bento '.*' in the store; `bentoml list` shows"
    ):
        find(tag)


def test_the_environment_of_whoever_deploys_does_not_change_the_plan(
    bentos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bentos)
    monkeypatch.setenv("SWITCHYARD_MODE", "static")
    monkeypatch.setenv("SWITCHYARD_PLAN", "/elsewhere.yaml")
    assert find().plan.mode == "live"


def test_a_bento_of_another_project_is_one_sentence(bentos: Path) -> None:
    put(bentos, plan=None)
    with pytest.raises(
        PlanError, match=r"The Bento router:v1 cannot be deployed: .*cannot be read"
    ):
        find()


def test_a_plan_that_is_wrong_names_its_line(bentos: Path) -> None:
    put(bentos, plan=PLAN + "autth: open\n")
    with pytest.raises(PlanError, match=r"router:v1 cannot be deployed: .* line 10: autth is an"):
        find()


def test_a_lock_that_is_none_is_refused(bentos: Path) -> None:
    put(bentos, lock=b"{}")
    with pytest.raises(ModelRefused, match="is not a lock of Switchyard"):
        find()


@pytest.mark.parametrize("text", ["", "just text", "name: router\n", "a: [\n"])
def test_a_damaged_bento_is_one_sentence(bentos: Path, text: str) -> None:
    (put(bentos) / "bento.yaml").write_text(text)
    with pytest.raises(NotFound, match="Bento"):
        find("router:v1")


def test_a_model_that_the_store_does_not_hold_is_one_sentence(bentos: Path, tmp_path: Path) -> None:
    put(bentos)
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    try:
        with pytest.raises(NotFound, match="'flights-sklearn' has no version 's1'"):
            find().sample("flights")
    finally:
        BentoMLContainer.model_store.reset()


@pytest.mark.parametrize("endpoint", ["flights", "digits"])
def test_a_sample_is_what_requests_take(endpoint: str, store: Path, bentos: Path) -> None:
    """A row of the reference data of a trained example model passes the check at the door."""
    from models.schema import Schema
    from models.store import manifest
    from services.wire.encode import Encoder

    name = f"{endpoint}-sklearn"
    version = (store / "models" / name / "latest").read_text().strip()
    plan = (
        f"endpoints: {{{endpoint}: {{stable: a, variants: {{a: {{model: '{name}:{version}'}}}}}}}}"
    )
    put(bentos, plan=plan)
    BentoMLContainer.model_store.set(ModelStore(store / "models"))
    try:
        rows = find().sample(endpoint, 3)
        schema = manifest(name, version).fields
    finally:
        BentoMLContainer.model_store.reset()
    assert len(rows) == 3
    assert [list(row) for row in rows] == [[field.name for field in schema]] * 3
    assert orjson.loads(orjson.dumps(rows)) == rows
    assert Encoder(Schema.of(schema), 3).encode(rows).rows == 3
