"""MLflow models on disk: the forms that an input example comes in, and which file is the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models.bring.mlflow_model import Packed, read
from switchyard.errors import InvalidInput, ModelRefused

ONE_MATRIX = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
ONE_NAMED = [{**ONE_MATRIX[0], "name": "rows"}]


def packed(folder: Path, kind: str, example: Any, inputs: Any = None, **info: Any) -> Packed:
    """A model of the onnx flavour with an example."""
    (folder / "model.onnx").touch()
    (folder / "example.json").write_text(json.dumps(example))
    about: dict[str, Any] = {
        "flavors": {"onnx": {"data": "model.onnx", "code": None}, "python_function": {}},
        "run_id": "r",
        "saved_input_example_info": {"type": kind, "artifact_path": "example.json", **info},
    }
    if inputs is not None:
        about["signature"] = {"inputs": json.dumps(inputs)}
    (folder / "MLmodel").write_text(json.dumps(about))
    return read(folder, "m")


def rows(found: Packed) -> dict[str, list[Any]]:
    assert isinstance(found.example, pd.DataFrame)
    return {
        str(name): [getattr(value, "tolist", lambda v=value: v)() for value in column]
        for name, column in found.example.items()
    }


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        ("dataframe", [1, 2]),
        ("dataframe", {"columns": ["a"], "data": [[1, 2]]}),
        ("ndarray", [["a"]]),
        ("ndarray", 3),
        ("ndarray", [[1], [1, 2]]),
        ("json_object", "text"),
        ("json_object", {"a": [1, 2], "b": [1]}),
        ("sparse_matrix_csc", {}),
    ],
)
def test_examples_that_are_no_rows(kind: str, example: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"input example of the model cannot be read .*--sample"):
        packed(tmp_path, kind, example)


def test_a_description_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("- a list\n")
    with pytest.raises(InvalidInput, match="The file MLmodel of m is not MLflow's"):
        read(tmp_path, "m")
    (tmp_path / "MLmodel").write_text("flavors: [\n")
    with pytest.raises(InvalidInput, match="MLmodel, line 2: this is not YAML"):
        read(tmp_path, "m")


@pytest.mark.parametrize(
    ("kind", "example", "inputs", "expected"),
    [
        (
            "dataframe",
            {"columns": ["a", "b"], "data": [[1, "y"], [2, "x"]]},
            None,
            {"a": [1, 2], "b": ["y", "x"]},
        ),
        ("ndarray", [[1, 2], [3, 4]], ONE_MATRIX, {"x0": [1, 3], "x1": [2, 4]}),
        ("ndarray", [[1, 2], [3, 4]], None, {"x0": [1, 3], "x1": [2, 4]}),
        ("ndarray", [[1, 2], [3, 4]], ONE_NAMED, {"rows": [[1, 2], [3, 4]]}),
        ("ndarray", [[[1], [2]]], None, {"input": [[[1], [2]]]}),
        ("ndarray", {"a": [1, 2], "b": [[1], [2]]}, None, {"a": [1, 2], "b": [[1], [2]]}),
        ("json_object", {"a": 1, "b": "x"}, None, {"a": [1], "b": ["x"]}),
        ("json_object", [{"a": 1}, {"a": 2}], None, {"a": [1, 2]}),
    ],
)
def test_examples(
    kind: str, example: Any, inputs: Any, expected: dict[str, list[Any]], tmp_path: Path
) -> None:
    assert rows(packed(tmp_path, kind, example, inputs)) == expected


def test_an_example_beside_parameters(tmp_path: Path) -> None:
    example = {"inputs": [[1, 2]], "params": {"temperature": 0.5}}
    assert rows(packed(tmp_path, "ndarray", example, params="true")) == {"x0": [1], "x1": [2]}


@pytest.mark.parametrize(
    ("flavour", "about", "files", "chosen"),
    [
        ("sklearn", {"pickled_model": "model.skops"}, ["model.skops"], "model.skops"),
        ("pytorch", {"model_data": "data"}, ["data/model.pth"], "data/model.pth"),
        ("pytorch", {"model_data": "data"}, ["data/model.pt2"], "data/model.pt2"),
        ("keras", {"data": "data"}, ["data/model.keras"], "data/model.keras"),
        ("keras", {"data": "data"}, ["data/model/saved_model.pb"], "data/model"),
        (
            "tensorflow",
            {"data": "data", "model_type": "keras"},
            ["data/model.keras"],
            "data/model.keras",
        ),
        (
            "tensorflow",
            {"saved_model_dir": "tf2model", "model_type": "tf2-module"},
            ["tf2model/saved_model.pb"],
            "tf2model",
        ),
    ],
)
def test_which_file_is_the_model(
    flavour: str, about: dict[str, str], files: list[str], chosen: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    flavours = {"python_function": {"loader_module": "mlflow"}, flavour: {**about, "code": "code"}}
    (tmp_path / "MLmodel").write_text(json.dumps({"flavors": flavours}))
    found = read(tmp_path, "m")
    assert (found.flavour, found.artefact, found.code) == (flavour, tmp_path / chosen, True)
    assert (found.signature, found.example, found.run_id) == (None, None, None)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "model.onnx").touch()
    (tmp_path / "m" / "model.onnx").symlink_to(tmp_path / "model.onnx")
    (tmp_path / "m" / "MLmodel").write_text('{"flavors": {"onnx": {"data": "model.onnx"}}}')
    with pytest.raises(ModelRefused, match=r"the model that it names, model.onnx, is not there"):
        read(tmp_path / "m", "m")
