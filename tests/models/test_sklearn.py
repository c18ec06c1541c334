import functools
import io
import json
import os
import pickle
import zipfile

import joblib
import numpy as np
import psutil
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skops.io import dumps, get_untrusted_types

import models.sklearn as loader
from switchyard.errors import ModelRefused


@pytest.fixture(scope="module")
def target(rows):
    return (rows[:, 0] + rows[:, 1] > 0).astype(int)


def roundtrip(estimator, folder, manifest_of, **changes):
    trusted = loader.save(estimator, folder)
    return loader.load(folder, manifest_of(trusted=trusted, **changes), "cpu")


def put(folder, data):
    (folder / loader.MODEL_FILE).write_bytes(data)


def rewrite(data, change):
    """Returns a skops file whose schema went through `change`."""
    source = zipfile.ZipFile(io.BytesIO(data))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            if name == "schema.json":
                content = json.dumps(change(json.loads(content))).encode()
            archive.writestr(name, content)
    return out.getvalue()


# Loading what is good


def test_a_pipeline_with_strings_and_gaps_answers_as_it_was_fitted(
    people, tmp_path, manifest_of, mixed_fields
):
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["age"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("rest", "passthrough", make_column_selector(dtype_include=bool)),
        ],
    )
    pipeline = make_pipeline(columns, LogisticRegression())
    pipeline.fit(people[people.city != "Kyiv"], people.member[people.city != "Kyiv"])
    expected = pipeline.predict_proba(people)
    predict = roundtrip(pipeline, tmp_path, manifest_of, fields=mixed_fields)
    np.testing.assert_allclose(predict(people), expected)


def test_a_prediction_starts_no_processes(people, tmp_path, manifest_of, mixed_fields):
    scale = ColumnTransformer([("age", SimpleImputer(), ["age"])])
    pipeline = make_pipeline(scale, LogisticRegression()).fit(people, people.member)
    pipeline.set_params(columntransformer__n_jobs=2)
    before = psutil.Process().children(recursive=True)
    roundtrip(pipeline, tmp_path, manifest_of, fields=mixed_fields)(people)
    assert psutil.Process().children(recursive=True) == before


def test_histogram_boosting_with_categories_loads(people, tmp_path, manifest_of):
    frame = people.astype({"city": "category"})
    model = HistGradientBoostingClassifier(max_iter=4, categorical_features="from_dtype")
    model.fit(frame, people.member)
    trusted = loader.save(model, tmp_path)
    assert {"functools.partial", "sklearn.utils.validation.check_array"} < set(trusted)
    predict = loader.load(tmp_path, manifest_of(trusted=trusted), "cpu")
    np.testing.assert_array_equal(predict(frame), model.predict_proba(frame))


@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(3, n_jobs=2), GradientBoostingClassifier(n_estimators=3)],
    ids=["forest", "boosting"],
)
def test_models_of_trees_load(model, rows, target, tmp_path, manifest_of):
    model.fit(rows, target)
    predict = roundtrip(model, tmp_path, manifest_of)
    np.testing.assert_allclose(predict(rows), model.predict_proba(rows))


def test_regression_answers_values(rows, tmp_path, manifest_of):
    model = HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=5).fit(rows, rows[:, 0])
    predict = roundtrip(
        model, tmp_path, manifest_of, output="values", task="regression", classes=None
    )
    np.testing.assert_array_equal(predict(rows), model.predict(rows))


def test_logits_come_from_the_decision_function(rows, target, tmp_path, manifest_of):
    model = LogisticRegression().fit(rows, target)
    predict = roundtrip(model, tmp_path, manifest_of, output="logit")
    np.testing.assert_array_equal(predict(rows), model.decision_function(rows))


# Refusing what is not


def hostile_partial():
    return FunctionTransformer(functools.partial(os.system, "touch ran"))


class Foreign(LogisticRegression):
    """An estimator that is not scikit-learn's own."""


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (FunctionTransformer(os.system), r"posix\.system"),
        (hostile_partial(), r"posix\.system"),
        (FunctionTransformer(np.load), r"numpy\.load"),
        (FunctionTransformer(StandardScaler().fit), r"StandardScaler\.fit"),
        (make_pipeline(StandardScaler(), Foreign()), "Foreign"),
    ],
    ids=["function", "partial", "numpy", "method", "class"],
)
def test_a_hostile_type_is_refused_by_name(estimator, named, tmp_path, manifest_of):
    data = dumps(estimator)
    put(tmp_path, data)
    # A manifest that trusts everything must not widen our own list.
    manifest = manifest_of(trusted=get_untrusted_types(data=data))
    with pytest.raises(ModelRefused, match=named):
        loader.load(tmp_path, manifest, "cpu")
    with pytest.raises(ModelRefused, match=named):
        loader.save(estimator, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_partial_whose_function_was_swapped_in_the_file_is_refused(people, tmp_path, manifest_of):
    frame = people.astype({"city": "category"})
    model = HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype")
    data = dumps(model.fit(frame, people.member))

    def swap(node):
        if isinstance(node, dict):
            if node.get("__class__") == "check_array":
                return node | {"__class__": "system", "__module__": "os"}
            return {key: swap(value) for key, value in node.items()}
        return [swap(value) for value in node] if isinstance(node, list) else node

    altered = rewrite(data, swap)
    assert altered != data
    put(tmp_path, altered)
    manifest = manifest_of(trusted=[*loader.TRUSTED, "os.system"])
    with pytest.raises(ModelRefused, match=r"os\.system"):
        loader.load(tmp_path, manifest, "cpu")


def test_a_type_that_the_manifest_does_not_list_is_refused(rows, target, tmp_path, manifest_of):
    loader.save(RandomForestClassifier(2).fit(rows, target), tmp_path)
    with pytest.raises(ModelRefused, match="does not list as trusted"):
        loader.load(tmp_path, manifest_of(trusted=()), "cpu")


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("write", [pickle.dump, joblib.dump], ids=["pickle", "joblib"])
def test_a_pickle_under_the_right_name_is_refused_and_does_not_run(write, tmp_path, manifest_of):
    marker = tmp_path / "ran"
    with (tmp_path / loader.MODEL_FILE).open("wb") as file:
        write(Bomb(marker), file)
    with pytest.raises(ModelRefused, match="pickle and joblib files are never loaded"):
        loader.load(tmp_path, manifest_of(), "cpu")
    assert not marker.exists()


def test_a_joblib_file_beside_no_model_is_refused(tmp_path, manifest_of):
    joblib.dump(LogisticRegression(), tmp_path / "model.joblib")
    with pytest.raises(ModelRefused, match="joblib files are never loaded"):
        loader.load(tmp_path, manifest_of(), "cpu")


def test_a_file_that_expands_beyond_measure_is_refused(tmp_path, manifest_of):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b"{}" + b" " * 40_000_000)
    put(tmp_path, out.getvalue())
    with pytest.raises(ModelRefused, match="expands to"):
        loader.load(tmp_path, manifest_of(), "cpu")


@pytest.mark.parametrize(
    "schema", [b"{}", b"[]", b"not json", b"[" * 200_000], ids=["empty", "list", "text", "deep"]
)
def test_a_malformed_schema_is_refused(schema, tmp_path, manifest_of):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("schema.json", schema)
    put(tmp_path, out.getvalue())
    with pytest.raises(ModelRefused, match="malformed"):
        loader.load(tmp_path, manifest_of(), "cpu")


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
def test_a_damaged_file_is_refused(compression, rows, target, tmp_path, manifest_of):
    data = bytearray(dumps(LogisticRegression().fit(rows, target), compression=compression))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header = archive.getinfo("schema.json")
    begin = header.header_offset + 30 + len("schema.json")
    data[begin : begin + 40] = b"\xff" * 40
    put(tmp_path, data)
    with pytest.raises(ModelRefused, match=r"model\.skops is"):
        loader.load(tmp_path, manifest_of(), "cpu")


def test_an_estimator_without_the_method_that_the_output_needs_is_refused(
    rows, tmp_path, manifest_of
):
    loader.save(StandardScaler().fit(rows), tmp_path)
    with pytest.raises(ModelRefused, match=r"StandardScaler .* has no predict_proba"):
        loader.load(tmp_path, manifest_of(), "cpu")


def test_a_wrong_number_of_classes_is_refused(rows, target, tmp_path, manifest_of):
    loader.save(LogisticRegression().fit(rows, target), tmp_path)
    with pytest.raises(ModelRefused, match="knows 2 classes, its manifest names 3"):
        loader.load(tmp_path, manifest_of(classes=(0, 1, 2)), "cpu")


# Trees that point where they should not


def crafted_forest(rows, target, change):
    model = RandomForestClassifier(2, random_state=0).fit(rows, target)
    tree = model.estimators_[1].tree_
    state = tree.__getstate__()
    change(state["nodes"])
    tree.__setstate__(state)
    return model


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("left_child", 10**9, "outside its own nodes"),
        ("right_child", 0, "outside its own nodes"),
        ("right_child", -7, "outside its own nodes"),
        ("feature", 3, "columns that its estimator does not take"),
        ("feature", -5, "columns that its estimator does not take"),
    ],
)
def test_a_forest_that_points_outside_is_refused(
    field, value, reason, rows, target, tmp_path, manifest_of
):
    def change(nodes):
        nodes[field][0] = value

    model = crafted_forest(rows, target, change)
    with pytest.raises(ModelRefused, match=reason):
        roundtrip(model, tmp_path, manifest_of)


@pytest.mark.parametrize(
    ("field", "value"),
    [("left", 2**31), ("right", 0), ("feature_idx", 3), ("feature_idx", -1), ("bitset_idx", 9)],
)
def test_a_boosted_tree_that_points_outside_is_refused(
    field, value, rows, target, tmp_path, manifest_of
):
    model = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5).fit(rows, target)
    nodes = model._predictors[1][0].nodes
    nodes["is_categorical"][0] = field == "bitset_idx"
    nodes[field][0] = value
    with pytest.raises(ModelRefused, match="A tree in model"):
        roundtrip(model, tmp_path, manifest_of)


def test_an_estimator_that_hides_its_number_of_columns_is_refused(
    rows, target, tmp_path, manifest_of
):
    model = RandomForestClassifier(2).fit(rows, target)
    del model.estimators_[0].n_features_in_
    with pytest.raises(ModelRefused, match="columns that its estimator does not take"):
        roundtrip(model, tmp_path, manifest_of)
