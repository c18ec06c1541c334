import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_info

import models.sklearn as sklearn_loader
from models import runtime
from models.columns import Columns
from models.manifest import Manifest
from models.schema import Schema
from switchyard.errors import ModelFailed, ModelRefused


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("version")
    model = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=5)
    sklearn_loader.save(model.fit(rows, rows[:, 0] > 0), path)
    return path


@pytest.fixture(scope="module")
def manifest(folder, manifest_of):
    return manifest_of(folder, trusted=sorted(sklearn_loader.TRUSTED))


@pytest.fixture(scope="module")
def columns(rows, manifest):
    return Columns(manifest.fields, {"f4": rows}, len(rows))


def model_of(manifest, predictor, prepare=lambda columns: columns.blocks["f4"]):
    return runtime.Model(manifest, predictor, prepare, "cpu")


# Loading


def test_a_version_answers_probabilities(folder, manifest, columns):
    model = runtime.load(folder, manifest, threads=1)
    model.warm_up(columns)
    answer = model.predict(columns)
    assert (model.manifest, model.device) == (manifest, "cpu")
    assert answer.shape == (len(columns), 2)
    np.testing.assert_allclose(answer.sum(axis=1), 1)


def test_an_altered_file_is_refused_before_it_is_opened(folder, manifest, tmp_path):
    (tmp_path / "model.skops").write_bytes(b"not even a zip")
    with pytest.raises(ModelRefused, match="was altered"):
        runtime.load(tmp_path, manifest)


def test_a_format_of_another_framework_is_refused(folder, manifest):
    with pytest.raises(ModelRefused, match="pt2 does not belong to sklearn"):
        runtime.load(folder, manifest.model_copy(update={"format": "pt2"}))


@pytest.mark.parametrize("transform", ["os:system", "subprocess:run", "numpy:asarray"])
def test_a_transform_that_is_not_of_the_project_is_refused(transform, folder, manifest):
    with pytest.raises(ModelRefused, match="not code of this project"):
        runtime.load(folder, manifest.model_copy(update={"transform": transform}))


def test_a_matrix_of_words_is_refused(folder, manifest, mixed_fields):
    fields = Schema.model_validate(mixed_fields)
    with pytest.raises(ModelRefused, match="fields that are not numbers"):
        runtime.load(folder, manifest.model_copy(update={"fields": fields}))


def test_a_transform_of_the_project_prepares_the_rows(
    folder, manifest, columns, own_project, project_module
):
    source = (
        "import numpy as np\ndef flip(columns):\n    return -columns.blocks['f4']\nnumber = 3\n"
    )
    name = project_module(own_project, source)
    flipped = runtime.load(folder, manifest.model_copy(update={"transform": f"{name}:flip"}))
    plain = runtime.load(folder, manifest)
    negative = Columns(columns.schema, {"f4": -columns.blocks["f4"]}, len(columns))
    np.testing.assert_array_equal(flipped.predict(columns), plain.predict(negative))
    with pytest.raises(ModelRefused, match="does not define"):
        runtime.load(folder, manifest.model_copy(update={"transform": f"{name}:number"}))


def test_a_pipeline_gets_a_frame_with_strings(people, tmp_path, manifest_of, mixed_fields):
    pipeline = make_pipeline(
        ColumnTransformer(
            [("n", SimpleImputer(), ["age", "member"]), ("w", OneHotEncoder(), ["city"])]
        ),
        LogisticRegression(),
    )
    frame = people.replace({"city": {"Kyiv": "other"}})
    pipeline.fit(frame, people.member)
    trusted = sklearn_loader.save(pipeline, tmp_path)
    manifest = manifest_of(tmp_path, fields=mixed_fields, input="frame", trusted=trusted)
    model = runtime.load(tmp_path, manifest)
    columns = Columns.from_frame(manifest.fields, people)
    model.warm_up(columns)
    np.testing.assert_allclose(model.predict(columns), pipeline.predict_proba(frame))


def test_regression_answers_one_column(rows, tmp_path, manifest_of, columns):
    sklearn_loader.save(LinearRegression().fit(rows, rows @ [1, 2, 3]), tmp_path)
    manifest = manifest_of(tmp_path, task="regression", output="values", classes=None)
    answer = runtime.load(tmp_path, manifest).predict(columns)
    np.testing.assert_allclose(answer, rows @ [[1], [2], [3]], rtol=1e-4, atol=1e-5)


IMPORTS = """
import sys
from pathlib import Path
from models import runtime
from models.manifest import Manifest
heavy = {"sklearn", "skops", "torch", "tensorflow", "keras", "pandas"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
manifest = Manifest.model_validate_json(Path(sys.argv[2]).read_text())
runtime.load(Path(sys.argv[1]), manifest)
loaded = heavy & set(sys.modules)
assert "sklearn" in loaded and not {"torch", "tensorflow", "keras"} & loaded, loaded
"""


def test_only_the_framework_of_the_version_is_imported(folder, manifest, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(manifest.model_dump_json())
    subprocess.run([sys.executable, "-c", IMPORTS, str(folder), str(path)], check=True)


def test_every_thread_that_predicts_is_capped(folder, manifest, columns):
    model = runtime.load(folder, manifest, threads=1)
    found = []

    def work():
        model.predict(columns)
        found.extend(pool["num_threads"] for pool in threadpool_info())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert set(found) == {1}


# What the predictor gets


def test_a_block_of_floats_is_passed_without_a_copy(manifest, columns):
    seen = []
    model = runtime.Model(
        manifest,
        lambda inputs: seen.append(inputs) or np.full((len(inputs), 2), 0.5),
        runtime.prepare(manifest),
        "cpu",
    )
    model.predict(columns)
    assert seen[0] is columns.blocks["f4"]


def test_a_matrix_of_mixed_numbers_is_in_schema_order(manifest):
    fields = Schema.model_validate(
        [
            {"name": "flag", "type": "bool", "nullable": True},
            {"name": "count", "type": "int"},
            {"name": "part", "type": "float"},
            {"name": "wide", "type": "float", "dtype": "float64", "nullable": True},
        ]
    )
    columns = Columns(
        fields,
        {
            "b1": np.array([[1], [-1]], dtype=np.int8),
            "i8": np.array([[7], [8]]),
            "f4": np.array([[0.5], [1.5]], dtype=np.float32),
            "f8": np.array([[np.nan], [2.0]]),
        },
        2,
    )
    matrix = runtime.prepare(manifest.model_copy(update={"fields": fields}))(columns)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, [[1, 7, 0.5, np.nan], [np.nan, 8, 1.5, 2]])


def test_named_arrays_hold_words_for_categories(manifest, mixed_fields, people):
    fields = Schema.model_validate(mixed_fields)
    changed = manifest.model_copy(update={"fields": fields, "input": "named"})
    arrays = runtime.prepare(changed)(Columns.from_frame(fields, people))
    assert list(arrays) == ["age", "city", "member"]
    assert arrays["city"].tolist() == people.city.replace("Kyiv", "other").tolist()


def test_a_single_tensor_is_passed_as_it_is(manifest):
    fields = Schema.model_validate([{"name": "image", "type": "tensor", "shape": [2, 2]}])
    image = np.zeros((3, 2, 2), dtype=np.float32)
    columns = Columns(fields, {"t:image": image}, 3)
    prepare = runtime.prepare(manifest.model_copy(update={"fields": fields}))
    assert prepare(columns) is image


# What the predictor answers


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (np.full((40, 3), 1 / 3), r"shape \(40, 3\) instead of \(40, 2\)"),
        (np.full((39, 2), 0.5), r"shape \(39, 2\) instead of \(40, 2\)"),
        (np.full(40, 0.5), r"shape \(40, 1\) instead of \(40, 2\)"),
        (np.full((40, 2, 1), 0.5), r"shape \(40, 2, 1\)"),
        (np.full((40, 2), np.nan), "NaN or infinity"),
        (np.full((40, 2), np.inf), "NaN or infinity"),
        (np.full((40, 2), 1.5), "outside 0 to 1"),
        (np.full((40, 2), -0.5), "outside 0 to 1"),
        (np.full((40, 2), "no"), "instead of numbers"),
        (np.full((40, 2), None), "object instead of numbers"),
    ],
)
def test_an_answer_that_cannot_be_is_a_failure(output, reason, manifest, columns):
    with pytest.raises(ModelFailed, match=reason):
        model_of(manifest, lambda inputs: output).predict(columns)


def test_a_model_that_raises_says_so_in_one_line(manifest, columns):
    def predictor(inputs):
        raise ValueError("first line\nsecond line")

    with pytest.raises(ModelFailed, match=r"ValueError: first line$") as caught:
        model_of(manifest, predictor).predict(columns)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_transform_that_raises_is_named(manifest, columns):
    def transform(columns):
        raise KeyError("temp")

    changed = manifest.model_copy(update={"transform": "models.x:features"})
    with pytest.raises(ModelFailed, match=r"models\.x:features failed on a batch: KeyError"):
        model_of(changed, lambda inputs: inputs, transform).predict(columns)


def normalise(output, kind, classes=("no", "yes")):
    manifest = Manifest.model_construct(output=kind, classes=classes)
    return runtime.normalise(np.asarray(output), manifest, len(output))


def test_a_probability_becomes_two_columns():
    for output in ([0.25, 1.0], [[0.25], [1.0]], [[0.75, 0.25], [0.0, 1.0]]):
        answer = normalise(output, "probability")
        np.testing.assert_allclose(answer, [[0.75, 0.25], [0, 1]])


def test_values_keep_their_dtype_and_get_a_column():
    assert normalise(np.float32([1, 2]), "values", None).dtype == np.float32
    assert normalise([1, 2], "values", None).tolist() == [[1.0], [2.0]]


FINITE = st.floats(-1e4, 1e4, width=32)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.just(4)), elements=FINITE))
def test_logits_become_probabilities_in_the_same_order(logits):
    answer = normalise(logits, "logits", classes=tuple("abcd"))
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)
    best = np.take_along_axis(answer, logits.argmax(axis=1)[:, None], axis=1)
    assert (best[:, 0] == answer.max(axis=1)).all()


@given(arrays(np.float32, st.integers(1, 5), elements=FINITE))
def test_a_logit_becomes_the_probability_of_the_second_class(logit):
    answer = normalise(logit, "logit")
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(answer[:, 1], expit(logit.astype(np.float64)), atol=1e-6)
