from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.targets import MODELS, TARGETS
from switchyard import plan

VERSIONS = {name: f"version{index}" for index, name in enumerate(MODELS)}
TARGET = {target.key: target for target in TARGETS}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def test_every_target_has_a_home_of_its_own_over_the_same_store(
    tmp_path: Path, store: Path
) -> None:
    homes = set()
    for target in TARGETS:
        folder = tmp_path / target.key
        folder.mkdir()
        env = target.command(folder, store, VERSIONS).env
        home = Path(env["BENTOML_HOME"])
        assert (home / "models").resolve() == store
        homes.add(home)
    assert len(homes) == len(TARGETS)


def test_settings_of_the_caller_do_not_reach_a_server(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_DATABASE_URL", "postgresql://production/state")
    monkeypatch.setenv("SWITCHYARD_HOME", "/var/lib/switchyard")
    env = TARGET["e"].command(tmp_path, store, VERSIONS).env
    assert "SWITCHYARD_DATABASE_URL" not in env
    assert Path(env["SWITCHYARD_HOME"]).is_relative_to(tmp_path)


@pytest.mark.parametrize("key", ["d", "e", "f"])
def test_plans_are_valid_and_name_fixed_versions(tmp_path: Path, store: Path, key: str) -> None:
    env = TARGET[key].command(tmp_path, store, VERSIONS).env
    loaded = plan.load(Path(env["SWITCHYARD_PLAN"]))
    assert loaded.default_endpoint == TARGET[key].rows
    for endpoint in loaded.endpoints.values():
        for variant in endpoint.variants.values():
            name, version = variant.model.split(":")
            assert VERSIONS[name] == version


def test_the_shadow_of_f_sees_every_request_and_answers_none(tmp_path: Path, store: Path) -> None:
    env = TARGET["f"].command(tmp_path, store, VERSIONS).env
    traffic = plan.load(Path(env["SWITCHYARD_PLAN"])).endpoints["flights"].traffic
    assert traffic.shadow == {"candidate": 1.0}
    assert traffic.split == {"sklearn": 0.5, "torch": 0.3, "tensorflow": 0.2, "candidate": 0.0}
