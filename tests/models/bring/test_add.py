"""Bring your own model: it answers, or nothing has changed."""

import json
import shlex
from pathlib import Path
from typing import Any

import bentoml.models
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch as pytorch
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from models import lock, runtime, store, torch
from models.bring import prove
from models.columns import Columns
from models.nn import Mlp
from switchyard import plan as plans
from switchyard.errors import (
    Conflict,
    InvalidInput,
    ModelFailed,
    ModelRefused,
    PlanError,
    SwitchyardError,
)
from switchyard.state import State

PLAN = """\
endpoints:
  flights:   # keep me
    stable: old
    variants:
      old: {model: "flights-old:production"}
"""


CUSTOMERS = pd.DataFrame(
    {
        "plan": ["basic", "pro", "team", "pro"] * 30,
        "age": np.linspace(18, 80, 120),
        "visits": np.arange(120) % 7,
        "left": ["no", "yes", "no", "yes"] * 30,
    }
)


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pipeline that takes a DataFrame with strings, and its sample with a column too many."""
    folder = tmp_path_factory.mktemp("churn")
    words = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((words, ["plan"]), (StandardScaler(), ["age", "visits"]))
    fitted = make_pipeline(columns, LogisticRegression())
    fitted.fit(CUSTOMERS[["plan", "age", "visits"]], CUSTOMERS["left"])
    skops.io.dump(fitted, folder / "churn.skops")
    CUSTOMERS.assign(customer=range(120)).to_parquet(folder / "rows.parquet")
    return folder / "churn.skops", folder / "rows.parquet"


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample of 40 rows: x0 to x2 in float32, and a target."""
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    frame = pd.DataFrame(rows, columns=["x0", "x1", "x2"])
    path = tmp_path_factory.mktemp("numbers") / "rows.parquet"
    frame.assign(y=frame.sum(axis=1)).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    pytorch.manual_seed(0)
    torch.save_weights(Mlp(3, 4, 2), folder)
    return folder / "weights.safetensors"


MLP: dict[str, Any] = {
    "model_class": "models.nn:Mlp",
    "model_kwargs": {"inputs": 3, "hidden": 4, "outputs": 2},
}


# What goes wrong leaves everything as it was.


def test_names(refused, churn) -> None:
    assert "'Churn' is no usable model name" in refused(InvalidInput, "Churn", *churn)
    assert "is no usable alias" in refused(InvalidInput, "churn", *churn, alias="Live")


def test_missing_files(refused, churn, tmp_path) -> None:
    assert "There is no model" in refused(InvalidInput, "m", tmp_path / "no.skops", churn[1])
    assert "No such file" in refused(InvalidInput, "m", churn[0], tmp_path / "no.parquet")


def test_a_pickle(refused, churn, tmp_path) -> None:
    (tmp_path / "m.joblib").write_bytes(b"")
    assert "skops.io.dump" in refused(ModelRefused, "m", tmp_path / "m.joblib", churn[1])


def test_a_file_that_only_has_the_name(refused, churn, tmp_path) -> None:
    (tmp_path / "m.skops").write_bytes(b"cos\nsystem\n")
    assert "is not a skops file" in refused(ModelRefused, "m", tmp_path / "m.skops", churn[1])


def test_an_untrusted_type(refused, tmp_path, numbers) -> None:
    skops.io.dump(make_pipeline(FunctionTransformer(np.save)), tmp_path / "m.skops")
    assert "numpy.save" in refused(ModelRefused, "m", tmp_path / "m.skops", numbers)


def test_a_target_that_is_not_there(refused, churn) -> None:
    sentence = refused(InvalidInput, "m", *churn, target="gone")
    assert "no column 'gone' for the target; it has plan, age, visits, left, customer" in sentence


def test_a_sample_without_a_column_of_the_model(refused, churn, tmp_path) -> None:
    CUSTOMERS.drop(columns="age").to_parquet(tmp_path / "rows.parquet")
    sentence = refused(InvalidInput, "m", churn[0], tmp_path / "rows.parquet")
    assert "fitted on a column 'age', which the sample lacks" in sentence


def test_a_sample_that_does_not_fit_an_array_model(refused, churn, numbers, tmp_path) -> None:
    frame = pd.read_parquet(numbers)
    fitted = LinearRegression().fit(frame[["x0", "x1", "x2"]].to_numpy(), frame["y"])
    skops.io.dump(fitted, tmp_path / "m.skops")
    wide = refused(InvalidInput, "m", tmp_path / "m.skops", numbers)
    assert "fitted on 3 columns, but the sample has 4" in wide
    words = refused(InvalidInput, "m", tmp_path / "m.skops", churn[1])
    assert "column 'plan' holds none; fit it on a DataFrame" in words


def test_a_target_that_is_none_of_the_classes(refused, churn, tmp_path) -> None:
    CUSTOMERS.assign(left="perhaps").to_parquet(tmp_path / "rows.parquet")
    sentence = refused(InvalidInput, "m", churn[0], tmp_path / "rows.parquet", target="left")
    assert "holds 'perhaps', which is none of the model's classes no, yes" in sentence


def test_a_target_that_is_no_number(refused, numbers, tmp_path) -> None:
    frame = pd.read_parquet(numbers)
    fitted = LinearRegression().fit(frame[["x0", "x1", "x2"]], frame["y"])
    skops.io.dump(fitted, tmp_path / "m.skops")
    frame.assign(y="much").to_parquet(tmp_path / "rows.parquet")
    sentence = refused(
        InvalidInput, "m", tmp_path / "m.skops", tmp_path / "rows.parquet", target="y"
    )
    assert "answers with numbers, but the target 'y' holds others" in sentence


def test_weights_and_classes(refused, weights, numbers, churn) -> None:
    assert "give --class" in refused(InvalidInput, "m", weights, numbers)
    assert "--class belongs to" in refused(InvalidInput, "m", *churn, model_class="models.nn:Mlp")
    foreign = refused(ModelRefused, "m", weights, numbers, model_class="torch.nn:Linear")
    assert "not code of this project" in foreign
    kwargs = {"inputs": 5, "hidden": 4, "outputs": 2}
    misfit = refused(ModelRefused, "m", weights, numbers, **(MLP | {"model_kwargs": kwargs}))
    assert "do not fit" in misfit


def test_a_model_that_raises_on_the_sample(refused, weights, numbers, churn) -> None:
    sentence = refused(ModelFailed, "m", weights, numbers, **MLP)  # four columns for three inputs
    assert "cannot answer the sample (RuntimeError" in sentence
    words = refused(InvalidInput, "m", weights, churn[1], **MLP)
    assert "takes one input, 'rows', but the sample's column 'plan' holds no numbers" in words
    assert "--transform" in words


def test_a_transform_that_is_not_of_the_project(refused, churn) -> None:
    sentence = refused(ModelRefused, "m", *churn, transform="os:system")
    assert "'os:system' is not code of this project" in sentence


def test_a_field_with_a_name_that_is_kept(refused, numbers, tmp_path) -> None:
    frame = pd.read_parquet(numbers).rename(columns={"x0": "prediction"})
    fitted = LinearRegression().fit(frame[["prediction", "x1", "x2"]], frame["y"])
    skops.io.dump(fitted, tmp_path / "m.skops")
    frame.to_parquet(tmp_path / "rows.parquet")
    sentence = refused(InvalidInput, "m", tmp_path / "m.skops", tmp_path / "rows.parquet")
    assert "field 'prediction', a name that is kept" in sentence


def test_a_name_of_another_project(refused, churn) -> None:
    with bentoml.models.create("theirs"):
        pass
    assert "that Switchyard did not make" in refused(InvalidInput, "theirs", *churn)


def test_a_name_of_another_task(refused, house, churn, weights, numbers) -> None:
    house.add("churn", *churn)
    sentence = refused(InvalidInput, "churn", weights, numbers_without_target(numbers), **MLP)
    assert (
        "'churn' belongs to a model with the classes no, yes, and this one has the classes 0, 1"
        in sentence
    )


def numbers_without_target(numbers: Path) -> Path:
    path = numbers.with_name("inputs.parquet")
    pd.read_parquet(numbers).drop(columns="y").to_parquet(path)
    return path


def test_an_endpoint_whose_other_variants_do_not_fit(
    refused, house, churn, weights, numbers
) -> None:
    house.add("churn", *churn)
    inputs = numbers_without_target(numbers)
    other_classes = refused(InvalidInput, "m", weights, inputs, endpoint="churn", **MLP)
    assert "'churn' answers with the classes no, yes" in other_classes
    other_fields = refused(
        InvalidInput, "m", weights, inputs, endpoint="churn", classes=["no", "yes"], **MLP
    )
    assert "field 'plan' is not in every variant" in other_fields


def test_an_endpoint_whose_other_variants_are_not_there_yet(refused, house, churn) -> None:
    house.plan.write_text(PLAN)
    sentence = refused(SwitchyardError, "m", *churn, endpoint="flights")
    assert "Model 'flights-old' has neither" in sentence


def test_a_plan_that_is_wrong(refused, house, churn) -> None:
    house.plan.write_text(PLAN + "colour: blue\n")
    assert "plan.yaml, line 6: colour" in refused(PlanError, "churn", *churn)


def test_a_plan_that_cannot_be_replaced(refused, house, churn, monkeypatch) -> None:
    house.plan.write_text(PLAN)

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr("os.replace", busy)
    assert "cannot be written (Device or resource busy)" in refused(PlanError, "churn", *churn)


@pytest.mark.parametrize("plan", [None, PLAN])
def test_an_alias_that_cannot_be_set(refused, house, churn, plan, monkeypatch) -> None:
    if plan is not None:
        house.plan.write_text(plan)

    def taken(*_: object, **__: object) -> None:
        raise Conflict("somebody was faster")

    monkeypatch.setattr(State, "set_alias", taken)
    assert refused(Conflict, "churn", *churn) == "somebody was faster"


def test_an_alias_that_somebody_sets_meanwhile_is_left_there(house, churn, monkeypatch) -> None:
    create = store.create

    def meanwhile(*arguments: Any) -> str:
        version = create(*arguments)
        house.state.set_alias("churn", "production", "theirs", "bob", "")
        return version

    monkeypatch.setattr(store, "create", meanwhile)
    with pytest.raises(Conflict, match="is at theirs, not at no version"):
        house.add("churn", *churn)
    assert house.state.aliases() == {("churn", "production"): "theirs"}
    assert (store.versions("churn"), house.plan.exists()) == ([], False)


def test_an_alias_that_is_named_like_a_version(refused, house, churn) -> None:
    version = house.add("churn", *churn).tag.version
    sentence = refused(InvalidInput, "churn", *churn, alias=version)
    assert f"'{version}' is a version of model 'churn', so no alias can be called that" in sentence


# What goes right.


def test_a_pipeline_of_a_frame_is_served_as_it_is(house, churn) -> None:
    added = house.add("churn", *churn, target="left")
    manifest = store.manifest("churn", added.tag.version)
    assert manifest == added.manifest
    assert (manifest.input, manifest.task, manifest.output) == ("frame", "binary", "probabilities")
    assert manifest.classes == ("no", "yes")
    assert [field.type for field in manifest.fields] == ["category", "float", "int"]
    assert manifest.fields.by_name["plan"].unknown == "other"
    assert manifest.metrics == {"sample_accuracy": 1.0}
    assert added.unused == ("customer",)
    assert house.state.aliases() == {("churn", "production"): added.tag.version}
    endpoint = plans.load(house.plan).endpoints["churn"]
    assert endpoint.variants[endpoint.stable].model == "churn:production"
    assert (added.endpoint, added.variant, added.share) == ("churn", "sklearn", 1.0)

    rows = pd.read_parquet(churn[1])
    loaded = runtime.load(store.path("churn", added.tag.version), manifest)
    answers = loaded.predict(Columns.from_frame(manifest.fields, rows))
    expected = skops.io.load(churn[0], trusted=[]).predict_proba(rows[list(manifest.fields.names)])
    np.testing.assert_allclose(answers, expected)
    reference = store.reference("churn", added.tag.version)
    np.testing.assert_allclose(reference[["probability_no", "probability_yes"]], expected)
    assert list(reference["target"]) == list(rows["left"])


def test_the_curl_command_asks_for_a_row_of_the_sample(house, churn) -> None:
    words = shlex.split(house.add("churn", *churn).curl)
    assert json.loads(words[words.index("-d") + 1]) == {
        "endpoint": "churn",
        "inputs": [{"plan": "basic", "age": 18.0, "visits": 0}],
    }


def test_a_second_version_of_a_name_leaves_the_alias_where_it_is(house, churn) -> None:
    first = house.add("churn", *churn)
    text = house.plan.read_text()
    second = house.add("churn", *churn)
    assert (first.current, second.current) == (None, first.tag.version)
    assert house.state.alias("churn", "production") == first.tag.version
    assert house.plan.read_text() == text
    assert [found.version for found in store.versions("churn")] == [
        first.tag.version,
        second.tag.version,
    ]


def test_an_alias_of_a_version_that_is_gone_moves_to_the_new_one(house, churn) -> None:
    first = house.add("churn", *churn)
    store.delete("churn", first.tag.version)
    second = house.add("churn", *churn)
    assert second.current is None
    assert house.state.alias("churn", "production") == second.tag.version


def test_a_model_for_an_endpoint_that_is_there_gets_no_traffic(house, churn) -> None:
    house.add("churn", *churn)
    added = house.add("churn.two", *churn, endpoint="churn", alias="staging")
    assert (added.variant, added.share) == ("churn-two", 0.0)
    endpoint = plans.load(house.plan).endpoints["churn"]
    assert endpoint.variants["churn-two"].model == "churn.two:staging"
    assert endpoint.traffic.split == {"sklearn": 1.0, "churn-two": 0.0}
    assert '"variant":"churn-two"' in added.curl
    assert "admin.token" in added.curl


def test_the_endpoint_that_was_alone_stays_the_default(house, churn) -> None:
    house.plan.write_text(PLAN)
    added = house.add("churn.v2", *churn)
    assert (added.endpoint, added.defaulted) == ("churn-v2", "flights")
    assert "# keep me" in house.plan.read_text()
    assert plans.load(house.plan).default_endpoint == "flights"


def test_aliases_that_only_the_lock_knows_are_kept(house, churn, monkeypatch) -> None:
    monkeypatch.setattr("switchyard.settings.ROOT", house.folder)
    (house.folder / lock.LOCK_FILE).write_text('{"aliases": {"other": {"production": "v"}}}')
    house.add("churn", *churn)
    assert house.state.alias("other", "production") == "v"


def test_the_reference_is_spread_over_a_long_sample(house, churn, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(prove, "REFERENCE_ROWS", 10)
    monkeypatch.setattr(prove, "BATCH_ROWS", 3)
    added = house.add("churn", *churn)
    ages = store.reference("churn", added.tag.version)["age"]
    np.testing.assert_array_equal(ages, CUSTOMERS["age"][::12])


def test_a_regressor_of_an_array(house, numbers, tmp_path) -> None:
    frame = pd.read_parquet(numbers)
    fitted = LinearRegression().fit(frame[["x0", "x1", "x2"]].to_numpy(), frame["y"])
    skops.io.dump(fitted, tmp_path / "sum.skops")
    added = house.add("sum", tmp_path / "sum.skops", numbers, target="y")
    assert (added.manifest.input, added.manifest.task) == ("matrix", "regression")
    assert added.manifest.fields.all_numeric
    assert added.manifest.metrics["sample_rmse"] < 1e-5


def test_some_targets_may_be_missing(house, churn, tmp_path) -> None:
    sample = CUSTOMERS.copy()
    sample.loc[::2, "left"] = None
    sample.to_parquet(tmp_path / "rows.parquet")
    added = house.add("churn", churn[0], tmp_path / "rows.parquet", target="left")
    reference = store.reference("churn", added.tag.version)
    assert reference["target"].isna().sum() == 60
    assert added.manifest.metrics == {"sample_accuracy": 1.0}


def test_torch_weights(house, weights, numbers) -> None:
    inputs = numbers_without_target(numbers)
    added = house.add("net", weights, inputs, classes=["down", "up"], **MLP)
    assert added.variant == "torch"
    assert (added.manifest.input, added.manifest.output) == ("matrix", "logits")
    assert added.manifest.classes == ("down", "up")


def test_an_exported_program_of_tensors(house, tmp_path) -> None:
    images = np.random.default_rng(0).random((6, 2, 2)).astype(np.float32)
    module = pytorch.nn.Sequential(
        pytorch.nn.Flatten(), pytorch.nn.Linear(4, 3), pytorch.nn.Softmax(dim=1)
    )
    torch.save_exported(module, (pytorch.tensor(images),), tmp_path)
    sample = pd.DataFrame({"input": [image.tolist() for image in images]})
    sample.to_parquet(tmp_path / "rows.parquet")
    added = house.add("image", tmp_path / "model.pt2", tmp_path / "rows.parquet")
    assert added.manifest.fields.by_name["input"].shape == (2, 2)
    assert (added.manifest.input, added.manifest.output) == ("named", "probabilities")
    assert added.manifest.classes == (0, 1, 2)


def test_a_saved_model_with_a_transform(house, churn, tmp_path, own_project) -> None:
    import tensorflow as tf

    from models import tensorflow

    (own_project / "shop_features.py").write_text(
        "import numpy as np\n"
        "def numbers(columns):\n"
        "    return np.stack([columns['age'], columns['visits']], axis=1).astype('float32')\n"
    )

    class Score(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
        def __call__(self, rows):
            return tf.sigmoid(tf.reduce_sum(rows, axis=1))

    tensorflow.save(Score(), tmp_path / "made")
    added = house.add(
        "score",
        tmp_path / "made" / "saved_model",
        churn[1],
        target="left",
        transform="shop_features:numbers",
    )
    assert added.variant == "tensorflow"
    assert (added.manifest.output, added.manifest.classes) == ("probability", ("no", "yes"))
    assert "plan" in added.manifest.fields.names
