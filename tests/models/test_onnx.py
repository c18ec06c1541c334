"""ONNX models answer as the models they were made from."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from onnx_files import CUSTOMERS, boosted, doubles, graph, images, pipeline, write

import models.onnx as loader
from models import runtime, store
from models.columns import Columns
from switchyard import settings
from switchyard.errors import InvalidInput, ModelFailed, ModelRefused
from switchyard.plan import load as load_plan

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


@pytest.fixture
def manifest(manifest_of):
    return manifest_of(framework="onnx", format="onnx")


@pytest.fixture
def loaded(tmp_path, manifest):
    """Loads a model; the fields are three floats, or those that are given."""

    def load(model, **changes):
        write(model, tmp_path)
        changed = type(manifest)(**(manifest.model_dump() | changes))
        return loader.load(tmp_path, changed, "cpu")

    return load


def answers(added, rows):
    """What a host would answer for rows of the sample."""
    folder = store.path(added.tag.name, added.tag.version)
    model = runtime.load(folder, added.manifest)
    return model.predict(Columns.from_frame(added.manifest.fields, rows))


# Refusals


def test_a_graph_that_onnxruntime_cannot_run_is_refused(loaded) -> None:
    model = doubles(nodes=[helper.make_node("Relu", ["nowhere"], ["value"])])
    with pytest.raises(ModelRefused, match="passed the safety check, but onnxruntime"):
        loaded(model)


def test_a_refusal_says_all_that_is_said(loaded, capfd) -> None:
    trees = boosted("xgboost", "binary")[0].SerializeToString()
    broken = onnx.load_from_string(trees.replace(b"BRANCH_LT", b"BRANCH_XX"))
    with pytest.raises(ModelRefused, match="Unexpected value for node_mode"):
        loaded(broken)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_several_inputs_need_names(loaded) -> None:
    predict = loaded(pipeline()[0])
    assert predict.inputs == ("plan", "age", "visits")
    with pytest.raises(TypeError, match="by name: plan, age, visits"):
        predict(np.zeros((2, 3)))
    with pytest.raises(KeyError, match="age"):
        predict({"plan": np.array(["pro"], dtype=object)})


@pytest.mark.parametrize("missing", [None, np.nan, 3, b"pro"])
def test_anything_but_strings_is_refused_where_strings_are_taken(loaded, missing) -> None:
    predict = loaded(pipeline()[0])
    rows = {"age": np.zeros(2), "visits": np.zeros(2), "plan": np.array(["pro", missing], object)}
    with pytest.raises(TypeError, match="'plan' takes strings, and ONNX has none for a missing"):
        predict(rows)


@pytest.mark.parametrize("visits", [[np.nan, 1], [0.5, 1], [np.inf, 1]])
def test_what_is_no_whole_number_is_refused_where_one_is_taken(loaded, visits) -> None:
    predict = loaded(pipeline()[0])
    rows = {"age": np.zeros(2), "visits": np.array(visits), "plan": np.array(["pro", "pro"])}
    with pytest.raises(ValueError, match="'visits' takes int64, but a value is missing or is no"):
        predict(rows)


@pytest.mark.parametrize(
    "age", [np.array(["1", "2"]), np.zeros(2, "datetime64[us]"), np.array([1, 2], dtype=object)]
)
def test_what_is_no_number_is_refused_where_one_is_taken(loaded, age) -> None:
    predict = loaded(pipeline()[0])
    rows = {"age": age, "visits": np.zeros(2), "plan": np.array(["pro", "pro"])}
    with pytest.raises(TypeError, match="'age' takes float32, not"):
        predict(rows)


def test_a_sample_without_an_input(refused, tmp_path) -> None:
    rows = CUSTOMERS.drop(columns="age")
    sentence = refused(InvalidInput, "m", write(pipeline()[0], tmp_path / "given"), rows)
    assert "takes an input 'age', which the sample lacks" in sentence


def test_a_sample_of_another_width(refused, tmp_path) -> None:
    path = write(boosted("xgboost", "binary")[0], tmp_path / "given")
    rows = pd.DataFrame(np.zeros((8, 7), dtype=np.float32), columns=list("abcdefg"))
    assert "Got: 7 Expected: 4" in refused(ModelFailed, "m", path, rows)


def test_a_missing_string_in_the_sample(refused, tmp_path) -> None:
    rows = CUSTOMERS.assign(plan=CUSTOMERS["plan"].where(CUSTOMERS["visits"] > 0))
    path = write(pipeline()[0], tmp_path / "given")
    sentence = refused(ModelFailed, "m", path, rows, target="left")
    assert "'plan' takes strings, and ONNX has none for a missing one" in sentence


def test_two_outputs_of_which_none_is_named(refused, house, tmp_path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["size"]),
        helper.make_node("Neg", ["x"], ["kind"]),
    ]
    made = graph(
        nodes, {"x": (FLOAT, ["n", 1])}, {"size": (FLOAT, ["n", 1]), "kind": (FLOAT, ["n", 1])}
    )
    path = write(made, tmp_path / "given")
    rows = pd.DataFrame({"x": np.arange(8, dtype=np.float32), "y": np.arange(8)})
    sentence = refused(ModelRefused, "m", path, rows, target="y")
    assert "has 2 outputs (kind, size)" in sentence
    added = house.add("m", path, rows, target="y", output_name="kind")
    np.testing.assert_array_equal(answers(added, rows)[:, 0], -rows["x"])


def test_a_tampered_file_is_refused(house, tmp_path) -> None:
    model, rows, _ = boosted("xgboost", "binary")
    added = house.add("m", write(model, tmp_path / "given"), rows, target="y")
    folder = store.path("m", added.tag.version)
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content.replace(b"input", b"inpud"))
    with pytest.raises(ModelRefused, match=r"model\.onnx .* was altered"):
        runtime.load(folder, added.manifest)


# From the file to the original's answers


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_trees_with_missing_values(house, tmp_path, library, task) -> None:
    model, rows, expected = boosted(library, task)
    added = house.add("trees", write(model, tmp_path / "given"), rows, target="y")
    manifest = added.manifest
    assert (manifest.framework, manifest.task, manifest.input) == ("onnx", task, "matrix")
    classes = {"binary": (0, 1), "multiclass": (0, 1, 2)}.get(task)
    assert manifest.classes == classes
    assert manifest.libraries.keys() == {"onnx", "onnxruntime", "numpy"}
    got = answers(added, rows)
    np.testing.assert_allclose(got, expected.reshape(got.shape), rtol=1e-5, atol=1e-5)
    endpoint = load_plan(house.plan).endpoints["trees"]
    assert endpoint.variants["onnx"].model == "trees:production"


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_pipeline_with_strings(house, tmp_path, zipmap) -> None:
    model, expected = pipeline(zipmap)
    rows = CUSTOMERS.drop(columns="left").assign(customer=range(120))
    added = house.add("churn", write(model, tmp_path / "given"), rows)
    assert added.manifest.input == "named"
    assert added.manifest.fields.names == ("plan", "age", "visits")
    assert added.manifest.classes == ("no", "yes")
    assert added.unused == ("customer",)
    np.testing.assert_allclose(answers(added, CUSTOMERS), expected, atol=1e-5)


def test_images_of_a_torch_module(house, tmp_path) -> None:
    path, pixels, logits = images(tmp_path)
    rows = pd.DataFrame({"image": list(pixels)})
    added = house.add("images", path, rows)
    assert added.manifest.fields.by_name["image"].shape == (28, 28)
    assert (added.manifest.output, added.manifest.classes) == ("logits", (0, 1, 2, 3))
    powers = np.exp(logits)
    got = answers(added, rows)
    np.testing.assert_allclose(got, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)


def test_a_transform_makes_the_input(house, tmp_path, own_project) -> None:
    (own_project / "bill_features.py").write_text(
        "import numpy as np\n"
        "def table(columns):\n"
        "    age = columns['age']\n"
        "    return np.stack([age, age, columns['visits']], axis=1)\n"
    )
    path = write(doubles(), tmp_path / "given")
    rows = CUSTOMERS[["plan", "age", "visits"]].assign(bill=CUSTOMERS["age"])
    added = house.add("bill", path, rows, target="bill", transform="bill_features:table")
    got = answers(added, rows)[:, 0]
    np.testing.assert_allclose(got, 4 * rows["age"] + 2 * rows["visits"], rtol=1e-6)


# Casts


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8])
def test_numbers_are_cast_and_columns_become_matrices(loaded, dtype) -> None:
    predict = loaded(pipeline()[0])
    plan = np.array(["pro", "team"], dtype=object)
    block = np.array([[40, 1, 9], [50, 2, 9]]).astype(dtype)
    got = predict({"plan": plan, "age": block[:, 0], "visits": block[:, 1]})
    expected = predict(
        {
            "plan": plan[:, None],
            "age": np.array([[40], [50]], dtype=np.float32),
            "visits": np.array([[1], [2]]),
        }
    )
    np.testing.assert_array_equal(got, expected)


def test_read_only_rows_are_taken(loaded) -> None:
    rows = np.frombuffer(np.ones((2, 3), dtype=np.float32).tobytes(), dtype=np.float32)
    np.testing.assert_array_equal(loaded(doubles())(rows.reshape(2, 3)), [6, 6])


def test_a_missing_bool_is_a_missing_number(loaded) -> None:
    nodes = [helper.make_node("IsNaN", ["member"], ["gone"]),
             helper.make_node("Cast", ["gone"], ["value"], to=FLOAT)]  # fmt: skip
    made = graph(nodes, {"member": (FLOAT, ["n", 1])}, {"value": (FLOAT, ["n", 1])})
    fields = [{"name": "member", "type": "bool", "nullable": True}]
    predict = loaded(made, fields=fields)
    member = np.array([1, -1, 0], dtype=np.int8)
    np.testing.assert_array_equal(predict({"member": member})[:, 0], [0, 1, 0])
    as_is = loaded(made, fields=fields, transform="some_features:table")
    np.testing.assert_array_equal(as_is({"member": member})[:, 0], [0, 0, 0])


# The process


def test_threads_are_capped_and_nothing_else_is_imported(tmp_path, manifest) -> None:
    write(boosted("lightgbm", "binary")[0], tmp_path)
    (tmp_path / "manifest").write_text(manifest.model_dump_json())
    script = """
import os, sys
from pathlib import Path
import numpy as np
import onnxruntime
from models import onnx
from models.manifest import Manifest
folder = Path(sys.argv[1])
manifest = Manifest.model_validate_json((folder / "manifest").read_text())
def started(threads):
    before = len(os.listdir("/proc/self/task"))
    onnx.start(threads)
    predict = onnx.load(folder, manifest, "cpu")
    predict(np.zeros((5000, 4), dtype=np.float32))
    return len(os.listdir("/proc/self/task")) - before
heavy = {"sklearn", "torch", "tensorflow", "xgboost", "lightgbm", "pandas"} & set(sys.modules)
print(started(1), started(3), sorted(heavy), onnx.device())
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(settings.ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.split() == ["0", "2", "[]", loader.device()]
    assert run.stderr == ""


def test_the_probe_of_the_device_is_a_model_that_runs() -> None:
    model = onnx.load_from_string(loader._probe())
    onnx.checker.check_model(model)
