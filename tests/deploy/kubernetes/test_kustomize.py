"""What kustomize reads is what `render` prints."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bentos import made
from kubernetes_tools import kubectl_program
from ruamel.yaml import YAML

from deploy.kubernetes.compare import key_of
from deploy.kubernetes.kustomize import FOLDER, OVERLAYS, example, files, values_of
from deploy.kubernetes.render import objects

Object = dict[str, Any]


@pytest.fixture(scope="module")
def made_now() -> dict[str, str]:
    return files(example())


def test_the_files_are_those_of_the_plan(made_now: dict[str, str]) -> None:
    there = {
        str(path.relative_to(FOLDER))
        for folder in ("base", "overlays")
        for path in (FOLDER / folder).rglob("*.yaml")
        if path.name != "values.yaml"
    }
    again = "`python -m deploy.kubernetes` makes them anew"
    assert there == set(made_now), again
    for name, body in made_now.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == body, again


def test_no_file_holds_a_secret_or_the_name_of_one(made_now: dict[str, str]) -> None:
    for body in made_now.values():
        assert "kind: Secret\n" not in body
        assert "${" not in body.replace("${version", "")


@pytest.mark.slow
@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_kustomize_makes_what_render_makes(overlay: str | None, tmp_path: Path) -> None:
    for name in ("base", "overlays"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    bento = made()
    for name, body in files(bento).items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    folder = tmp_path / ("base" if overlay is None else f"overlays/{overlay}")
    command = [kubectl_program(), "kustomize", folder]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [each for each in YAML(typ="safe", pure=True).load_all(said) if each]
    wanted = json.loads(json.dumps(objects(bento, values_of(overlay))))
    assert {key_of(each): each for each in found} == {key_of(each): each for each in wanted}
