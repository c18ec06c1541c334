"""MLflow's `.pt2` files: what inference does not need is left out, and nothing is loaded."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bring.mlflow_pt2 import without_pickles
from models.formats import pt2
from switchyard.errors import ModelRefused


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as `torch.export.save` writes it, sample inputs included."""
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    batch = torch.export.Dim("batch", min=1, max=64)
    module = torch.nn.Linear(3, 2).eval()
    program = torch.export.export(module, (torch.ones(4, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


def rewritten(path: Path, target: Path, **changes: str) -> Path:
    """Copies an archive with other keys in its program."""
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(target, "w") as made:
        for name in given.namelist():
            content = given.read(name)
            if name.endswith("models/model.json"):
                content = json.dumps(json.loads(content) | changes).encode()
            made.writestr(name, content)
    return target


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04}."])
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(content)
    with pytest.raises(ModelRefused, match=r"m.pt2 is damaged, or no .pt2 file"):
        without_pickles(tmp_path / "m.pt2", tmp_path / "made.pt2")


def test_compressed_members(exported: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("model/models/model.json", "{}" * 1000)
    with pytest.raises(ModelRefused, match="compressed members"):
        without_pickles(tmp_path / "m.pt2", tmp_path / "made.pt2")


def test_a_program_that_is_no_object(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as made:
        made.writestr("model/models/model.json", "[]")
    with pytest.raises(ModelRefused, match="its program is no object"):
        without_pickles(tmp_path / "m.pt2", tmp_path / "made.pt2")


def test_sample_inputs_and_guards_are_left_out(exported: Path, tmp_path: Path) -> None:
    guarded = rewritten(exported, tmp_path / "guarded.pt2", guards_code=["evil()"])
    with pytest.raises(ModelRefused, match="pickled sample inputs"):
        pt2.scan(guarded)
    bare = without_pickles(guarded, tmp_path / "bare.pt2")
    assert b"evil" not in bare.read_bytes()
    rows = torch.tensor(np.random.default_rng(0).random((5, 3)).astype(np.float32))
    expected = torch.export.load(exported).module()(rows)
    torch.testing.assert_close(pt2.load(bare).module()(rows), expected)


def test_what_else_is_wrong_stays_for_the_scan(exported: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported) as given:
        root = given.namelist()[0].partition("/")[0]
    hostile = rewritten(exported, tmp_path / "hostile.pt2")
    with zipfile.ZipFile(hostile, "a") as made:
        made.writestr(f"{root}/data/constants/opaque_obj_0", b"cos\nsystem\n")
    with pytest.raises(ModelRefused, match="pickled constant"):
        pt2.scan(without_pickles(hostile, tmp_path / "bare.pt2"))
