"""Whole pickled modules of torch: trusted or not run, and then the same module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import torch

from models import runtime, store
from models.bring.add import Added
from models.columns import Columns
from models.nn import Mlp
from switchyard.errors import ModelRefused

MLP: dict[str, Any] = {"inputs": 3, "hidden": 4, "outputs": 2}
ROWS = pd.DataFrame(
    np.random.default_rng(0).normal(size=(20, 3)).astype("float32"), columns=["a", "b", "c"]
)


class Touches:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, Any]:
    """A pickled module of a class that no one can import, and the module."""

    class Wide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(3, 2)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.net(rows), dim=1)

    made = Wide().eval()
    torch.save(made, tmp_path / "m.pth", pickle_module=cloudpickle)
    return tmp_path / "m.pth", made


def check(added: Added, expected: torch.nn.Module) -> None:
    loaded = runtime.load(store.path(added.tag.name, added.tag.version), added.manifest)
    with torch.inference_mode():
        wanted = expected(torch.tensor(ROWS.to_numpy())).numpy()
    if added.manifest.output == "logits":
        wanted = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    found = loaded.predict(Columns.from_frame(added.manifest.fields, ROWS))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_without_trust_nothing_runs(refused: Callable[..., str], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save(Touches(marker), tmp_path / "m.pth")
    kwargs = {"model_class": "models.nn:Mlp", "model_kwargs": MLP}
    refused(ModelRefused, "m", tmp_path / "m.pth", ROWS, **kwargs)
    assert not marker.exists()


def test_a_trusted_pickle_that_is_no_module(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save(Touches(tmp_path / "ran"), tmp_path / "m.pth")
    sentence = refused(ModelRefused, "m", tmp_path / "m.pth", ROWS, trust_pickle=True)
    assert sentence == "m.pth holds a NoneType, which is no torch module."


@pytest.mark.parametrize("wrap", [dict, lambda state: {"epoch": 3, "state_dict": state}])
def test_a_state_dict_needs_no_trust(
    refused: Callable[..., str], wrap: Callable[..., Any], tmp_path: Path
) -> None:
    torch.save(wrap(Mlp(**MLP).state_dict()), tmp_path / "m.pth")
    sentence = refused(ModelRefused, "m", tmp_path / "m.pth", ROWS, trust_pickle=True)
    assert sentence.startswith("m.pth holds a state dict, which needs no trust")
    assert "leave --trust-pickle out" in sentence
    assert "--class module:Class" in sentence


def test_torchscript_needs_no_trust(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.jit.script(Mlp(**MLP)).save(tmp_path / "m.pt")
    sentence = refused(ModelRefused, "m", tmp_path / "m.pt", ROWS, trust_pickle=True)
    assert sentence.startswith("m.pt holds TorchScript, which needs no trust")


def test_weights_of_another_class(refused: Callable[..., str], whole: tuple[Path, Any]) -> None:
    kwargs = {"model_class": "models.nn:Mlp", "model_kwargs": MLP}
    sentence = refused(ModelRefused, "m", whole[0], ROWS, trust_pickle=True, **kwargs)
    assert "The weights of m.pth do not fit models.nn:Mlp" in sentence


def test_a_module_is_exported(house, whole: tuple[Path, Any], monkeypatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # as after the load of a .pt2 file
    added = house.add("m", whole[0], ROWS, trust_pickle=True)
    assert added.manifest.format == "pt2"
    check(added, whole[1])


def test_the_whole_sample_says_what_the_fields_are(house, tmp_path: Path) -> None:
    """Its first rows have no value of `b`, and `c` holds strings that the owner calls numbers."""

    class Filled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(3, 2)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.net(torch.nan_to_num(rows))

    torch.save(Filled().eval(), tmp_path / "m.pth", pickle_module=cloudpickle)
    rows = pd.DataFrame(
        {
            "a": np.linspace(0, 1, 40),
            "b": pd.array([None] * 20 + list(range(20)), dtype="Int64"),
            "c": [str(number) for number in range(40)],
        }
    )
    said = {"c": {"type": "float"}}
    added = house.add("m", tmp_path / "m.pth", rows, trust_pickle=True, schema=said)
    assert [field.type for field in added.manifest.fields] == ["float", "int", "float"]
    assert added.manifest.fields.by_name["b"].nullable


def test_a_module_of_the_project_gives_its_weights(house, tmp_path: Path) -> None:
    made = Mlp(**MLP).eval()
    torch.save(made, tmp_path / "m.pth")
    kwargs = {"model_class": "models.nn:Mlp", "model_kwargs": MLP}
    added = house.add("m", tmp_path / "m.pth", ROWS, trust_pickle=True, **kwargs)
    assert added.manifest.format == "safetensors"
    check(added, made)


def test_a_module_of_images(house, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((6, 2, 2)).astype(np.float32)
    made = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
    torch.save(made, tmp_path / "m.pth")
    sample = pd.DataFrame({"input": list(images)})
    added = house.add("m", tmp_path / "m.pth", sample, trust_pickle=True)
    assert added.manifest.fields.by_name["input"].shape == (2, 2)
