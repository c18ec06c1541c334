from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from services.image import SwitchyardImage, chosen_extras, for_gpu, requirements
from switchyard.errors import InvalidInput, NotFound
from switchyard.plan import load
from switchyard.state import State

PROJECT = """
[project]
name = "p"
dependencies = ["Fast_JSON", "some.frame[fast]<3.1", "plain>=2"]
[project.optional-dependencies]
sklearn = ["Learning"]
torch = ["torch==2.13.0"]
"""
CONSTRAINTS = """
# pinned
fast-json==1.2.3
Some_Frame==3.0.6
learning==1.9.1
torch==2.13.0
unused==9
"""
PLAN = """
endpoints:
  e:
    stable: v
    variants:
      v: {model: "m:production"}
      w: {model: "m:%s"}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "constraints.txt").write_text(CONSTRAINTS)
    monkeypatch.setattr("switchyard.settings.ROOT", folder)
    return folder


def test_names_are_pinned_however_they_are_written(project: Path) -> None:
    assert requirements([]) == ["Fast_JSON==1.2.3", "some.frame[fast]==3.0.6", "plain>=2"]


def test_only_the_extras_that_the_plan_needs(project: Path) -> None:
    assert requirements(["torch"])[3:] == ["torch==2.13.0"]
    assert requirements(["sklearn", "torch"])[3:] == ["Learning==1.9.1", "torch==2.13.0"]
    with pytest.raises(KeyError):
        requirements(["onnx"])


@pytest.mark.parametrize("framework", ["sklearn", "torch", "tensorflow", "onnx"])
def test_all_that_a_bento_of_ours_needs_is_pinned(framework: str) -> None:
    lines = requirements([framework])
    assert [line for line in lines if "==" not in line] == []
    assert any(line.startswith("bentoml==") for line in lines)
    assert requirements([framework])[: len(requirements([]))] == requirements([])


def test_a_bento_brings_what_the_places_it_may_come_to_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SWITCHYARD_EXTRAS", "")
    assert chosen_extras() == ["drift", "postgresql", "tracing"]


def test_the_environment_chooses_the_extras(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHYARD_EXTRAS", "sklearn, torch")
    assert chosen_extras() == ["sklearn", "torch"]
    monkeypatch.setenv("SWITCHYARD_EXTRAS", "sklearm")
    with pytest.raises(InvalidInput, match=r"'sklearm', .* it has sklearn, torch"):
        chosen_extras()


def test_where_a_host_has_a_gpu_packages_are_built_for_it() -> None:
    given = ["numpy==2", "tensorflow-cpu==2.21.0", "onnxruntime==1.2", "torch==2.13.0"]
    assert for_gpu(given, ["sklearn", "torch"]) == given
    assert for_gpu(given, ["tensorflow"]) == [given[0], "tensorflow[and-cuda]==2.21.0", *given[2:]]
    assert for_gpu(given, ["onnx"]) == [*given[:2], "onnxruntime-gpu==1.2", given[3]]
    lines = requirements(["tensorflow", "onnx"])
    built = for_gpu(lines, ["tensorflow", "onnx"])
    assert len([line for line in built if line not in lines]) == 2


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    """A Bento whose code has been copied, with a plan and a lock that are out of date."""
    code = tmp_path / "bento" / "src"
    code.mkdir(parents=True)
    (code / "switchyard.yaml").write_text("old")
    (code / "switchyard.lock").write_text("old")
    return code.parent


@pytest.fixture
def plan(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    register: Callable[..., str],
    state: State,
) -> Path:
    """A plan elsewhere than beside the code, and the state database that it goes with."""
    version = register("m", alias=None)
    path = tmp_path / "mine.yaml"
    path.write_text(PLAN % version)
    monkeypatch.setenv("SWITCHYARD_PLAN", str(path))
    monkeypatch.setenv("SWITCHYARD_DATABASE_URL", f"sqlite:///{tmp_path / 'state.db'}")
    return path


def image() -> SwitchyardImage:
    made = SwitchyardImage(plan=load())
    made.lock_python_packages = False
    return made


def test_a_build_takes_along_the_plan_in_force_and_the_aliases_of_today(
    plan: Path, bento: Path, register: Callable[..., str]
) -> None:
    version = register("m")
    image().freeze(bento, envs=[])
    code = bento / "src"
    assert (code / "switchyard.yaml").read_text() == plan.read_text()
    lock = orjson.loads((code / "switchyard.lock").read_bytes())
    assert lock["aliases"] == {"m": {"production": version}}
    assert (bento / "env" / "docker" / "Dockerfile").is_file()  # BentoML's own part is done too


def test_an_alias_that_is_not_set_stops_the_build(plan: Path, bento: Path) -> None:
    with pytest.raises(NotFound, match="production"):
        image().freeze(bento, envs=[])
