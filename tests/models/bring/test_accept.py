"""Every way to bring a model, from what its owner has to predictions equal to the model's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from models import runtime, store
from models.bring.add import Added
from models.columns import Columns
from models.nn import Mlp
from switchyard.errors import InvalidInput, ModelFailed, ModelRefused

MLP = {"inputs": 3, "hidden": 4, "outputs": 2}
RANDOM = np.random.default_rng(5)
NUMBERS = pd.DataFrame(RANDOM.normal(size=(30, 3)).astype(np.float32), columns=["a", "b", "c"])
PEOPLE = pd.DataFrame(
    {"plan": ["basic", "pro", "team", "pro"] * 10, "age": np.linspace(18, 80, 40)}
)
LEFT = ["no", "yes", "no", "yes"] * 10
IMAGES = RANDOM.random((12, 28, 28)).astype(np.float32)
METAS = RANDOM.random((12, 3)).astype(np.float32)
PICTURES = pd.DataFrame({"image": list(IMAGES), "meta": list(METAS), "id": range(12)})


def answers(added: Added, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    """What a host answers for rows of the stored version."""
    folder = store.path(added.tag.name, added.tag.version)
    manifest = store.manifest(added.tag.name, added.tag.version)
    loaded = runtime.load(folder, manifest)
    return loaded.predict(Columns.from_frame(manifest.fields, rows))


@pytest.fixture(scope="module")
def pipeline() -> Any:
    words = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((words, ["plan"]), (StandardScaler(), ["age"]))
    return make_pipeline(columns, LogisticRegression()).fit(PEOPLE, LEFT)


class Touches:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return type(self.marker).touch, (self.marker,)


# What is refused.


def test_nothing_there(refused, tmp_path: Path) -> None:
    sentence = refused(InvalidInput, "m", tmp_path / "m.joblib", NUMBERS)
    assert sentence == f"There is no model at {tmp_path / 'm.joblib'}."


@pytest.mark.parametrize("name", ["m.joblib", "m.pkl", "m.pickle"])
def test_a_pickle_that_nobody_trusts_is_not_opened(refused, tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    joblib.dump(Touches(marker), tmp_path / name)
    sentence = refused(ModelRefused, "m", tmp_path / name, NUMBERS)
    assert "add --trust-pickle" in sentence
    assert "skops.io.dump" in sentence
    assert not marker.exists()


def test_a_trusted_pickle_that_is_no_model(refused, tmp_path: Path) -> None:
    joblib.dump(Touches(tmp_path / "ran"), tmp_path / "m.joblib")
    sentence = refused(ModelRefused, "m", tmp_path / "m.joblib", NUMBERS, trust_pickle=True)
    assert "is no scikit-learn estimator" in sentence


def test_trust_for_what_is_no_pickle(refused, tmp_path: Path) -> None:
    (tmp_path / "m.skops").touch()
    sentence = refused(InvalidInput, "m", tmp_path / "m.skops", NUMBERS, trust_pickle=True)
    assert "--trust-pickle belongs to pickles (.joblib" in sentence
    sentence = refused(InvalidInput, "m", LogisticRegression(), NUMBERS, trust_pickle=True)
    assert "trust_pickle belongs to files" in sentence


def test_weights_without_a_class(refused, tmp_path: Path) -> None:
    torch.save(Mlp(**MLP).state_dict(), tmp_path / "w.pt")
    sentence = refused(InvalidInput, "m", tmp_path / "w.pt", NUMBERS)
    assert "--class module:Class" in sentence
    assert "never its code (also not TorchScript's)" in sentence


def test_an_object_that_is_no_model(refused) -> None:
    assert "A dict is no model" in refused(InvalidInput, "m", {}, NUMBERS)


def test_an_estimator_that_is_not_fitted(refused) -> None:
    sentence = refused(ModelFailed, "m", LogisticRegression(), NUMBERS)
    assert "NotFittedError: This LogisticRegression instance is not fitted yet" in sentence


def test_a_module_that_cannot_be_exported(refused) -> None:
    class Branches(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows if rows.sum() > 0 else -rows

    sentence = refused(ModelRefused, "m", Branches(), NUMBERS)
    assert "torch cannot export the Branches" in sentence


def test_a_sample_without_an_input(refused) -> None:
    sentence = refused(InvalidInput, "m", two_inputs(), PICTURES.drop(columns="meta"))
    assert "takes an input 'meta', which the sample lacks; the sample has image, id" in sentence


@pytest.mark.parametrize("bring", [lambda: two_outputs(), lambda: TwoOutputs()])
def test_several_outputs_need_a_name(refused, bring: Callable[[], Any]) -> None:
    assert "name it with --output-name" in refused(ModelRefused, "m", bring(), NUMBERS)
    sentence = refused(ModelRefused, "m", bring(), NUMBERS, output_name="prize")
    assert "has no output 'prize'; it has kind, price" in sentence


def test_a_name_for_the_only_output(refused, pipeline) -> None:
    sentence = refused(InvalidInput, "m", pipeline, PEOPLE, output_name="x")
    assert "has one output; leave out --output-name" in sentence
    sentence = refused(ModelRefused, "m", Mlp(**MLP), NUMBERS, output_name="x", model_kwargs=MLP)
    assert "one output without a name" in sentence


def test_corrections_that_are_wrong(refused, pipeline, tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text("age: {nullable: true}\nplan: {sort: text}\n")
    sentence = refused(InvalidInput, "m", pipeline, PEOPLE, schema=tmp_path / "schema.yaml")
    assert "schema.yaml, line 2: plan.sort is an unknown key" in sentence


# scikit-learn.


def test_a_trusted_joblib_of_a_pipeline_that_takes_strings(house, pipeline, tmp_path) -> None:
    joblib.dump(pipeline, tmp_path / "churn.joblib")
    sample = PEOPLE.assign(left=LEFT)
    added = house.add("churn", tmp_path / "churn.joblib", sample, target="left", trust_pickle=True)
    np.testing.assert_allclose(answers(added, PEOPLE), pipeline.predict_proba(PEOPLE))
    assert added.manifest.format == "skops"
    assert added.manifest.metrics == {"sample_accuracy": 1.0}
    assert added.notes == ("churn.joblib was converted once, in a process of its own.",)
    (last,) = house.state.alias_history("churn")
    assert last.why == "added from churn.joblib"


def test_trusted_types_are_recorded(house, tmp_path: Path) -> None:
    fitted = HistGradientBoostingClassifier(max_iter=3).fit(NUMBERS, NUMBERS["a"] > 0)
    joblib.dump(fitted, tmp_path / "m.pkl")
    added = house.add("m", tmp_path / "m.pkl", NUMBERS, trust_pickle=True)
    assert added.manifest.trusted == (
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    )
    np.testing.assert_allclose(answers(added, NUMBERS), fitted.predict_proba(NUMBERS))


def test_a_fitted_estimator(house, pipeline, tmp_path: Path) -> None:
    added = house.add("churn", pipeline, PEOPLE.assign(left=LEFT), target="left")
    np.testing.assert_allclose(answers(added, PEOPLE), pipeline.predict_proba(PEOPLE))
    assert added.notes == ()


def test_what_is_said_of_the_schema_wins_over_the_estimator(house, pipeline) -> None:
    said = {"plan": {"unknown": "refuse"}, "age": {"nullable": True, "range": [0, 120]}}
    added = house.add("churn", pipeline, PEOPLE, schema=said)
    fields = added.manifest.fields.by_name
    assert (fields["plan"].categories, fields["plan"].unknown) == (
        ("basic", "pro", "team"),
        "refuse",
    )
    assert (fields["age"].nullable, fields["age"].range) == (True, (0, 120))


# torch.


def eager(module: torch.nn.Module, *inputs: np.ndarray[Any, Any]) -> Any:
    module.eval()
    with torch.inference_mode():
        return module(*map(torch.tensor, inputs))


def check_mlp(added: Added, module: torch.nn.Module) -> None:
    assert (added.manifest.format, added.manifest.output) == ("safetensors", "logits")
    expected = torch.softmax(eager(module, NUMBERS.to_numpy()), dim=1)
    np.testing.assert_allclose(answers(added, NUMBERS), expected, rtol=1e-5)


def test_a_module_of_the_project(house) -> None:
    module = Mlp(**MLP).train()
    added = house.add("net", module, NUMBERS, model_kwargs=MLP)
    assert added.manifest.model_class == "models.nn:Mlp"
    assert module.training
    check_mlp(added, module)


@pytest.mark.parametrize("how", ["state dict", "TorchScript"])
def test_weights_of_a_class_of_the_project(house, how: str, tmp_path: Path) -> None:
    module = Mlp(**MLP).eval()
    if how == "state dict":
        torch.save(module.state_dict(), tmp_path / "net.pt")
    else:
        torch.jit.script(module).save(tmp_path / "net.pt")
    options = {"model_class": "models.nn:Mlp", "model_kwargs": MLP}
    check_mlp(house.add("net", tmp_path / "net.pt", NUMBERS, **options), module)


def test_a_module_of_elsewhere_is_exported(house) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout(0.5)).train()
    added = house.add("net", module, NUMBERS, output="values")
    assert (added.manifest.format, added.manifest.input) == ("pt2", "matrix")
    assert module.training
    expected = eager(module, NUMBERS.to_numpy())
    np.testing.assert_allclose(answers(added, NUMBERS), expected, rtol=1e-5, atol=1e-6)


class Sees(torch.nn.Module):
    """An image of 3 x 224 x 224, and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.look = torch.nn.Conv2d(3, 2, 7, stride=32)
        self.judge = torch.nn.Linear(3, 3)

    def forward(self, image: torch.Tensor, size: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        seen = self.look(image).mean(dim=(2, 3))
        return self.judge(torch.cat([seen, size[:, None]], dim=1)) * scale


def test_a_module_of_an_image_and_a_number(house) -> None:
    torch.manual_seed(0)
    images = RANDOM.random((3, 3, 224, 224)).astype(np.float32)
    sizes = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    rows = pd.DataFrame({"size": sizes, "name": ["a", "b", "c"], "image": list(images)})
    module = Sees()
    added = house.add("sees", module, rows, output="logits")
    assert (added.manifest.input, added.manifest.fields.names) == ("named", ("size", "image"))
    assert added.manifest.fields.by_name["image"].shape == (3, 224, 224)
    assert added.unused == ("name",)
    expected = torch.softmax(eager(module, images, sizes), dim=1)
    np.testing.assert_allclose(answers(added, rows), expected, rtol=1e-4, atol=1e-6)


class TwoOutputs(torch.nn.Module):
    """A dictionary of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds, self.prices = torch.nn.Linear(3, 4), torch.nn.Linear(3, 1)

    def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"kind": torch.softmax(self.kinds(rows), 1), "price": 9 * self.prices(rows)}


class Pair(TwoOutputs):
    """The same as a tuple."""

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(super().forward(rows).values())


@pytest.mark.parametrize(
    ("made", "kind", "price"), [(TwoOutputs, "kind", "price"), (Pair, "0", "1")]
)
def test_one_of_several_outputs_of_a_module(house, made: Any, kind: str, price: str) -> None:
    module = made()
    rows = NUMBERS.to_numpy()
    found = TwoOutputs.forward(module, torch.tensor(rows))
    kinds = house.add("kind", module, NUMBERS, output_name=kind)
    assert kinds.manifest.output_name == kind
    np.testing.assert_allclose(answers(kinds, NUMBERS), found["kind"].detach(), rtol=1e-5)
    prices = house.add("price", module, NUMBERS, output_name=price, output="values")
    np.testing.assert_allclose(answers(prices, NUMBERS), found["price"].detach(), rtol=1e-4)


# TensorFlow and Keras.


def two_inputs() -> keras.Model:
    image, meta = keras.Input((28, 28), name="image"), keras.Input((3,), name="meta")
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), meta])
    return keras.Model({"image": image, "meta": meta}, keras.layers.Dense(3, "softmax")(both))


def two_outputs() -> keras.Model:
    rows = keras.Input((3,), name="rows")
    kind = keras.layers.Dense(4, "softmax")(rows)
    return keras.Model(rows, {"kind": kind, "price": keras.layers.Dense(1)(rows)})


@pytest.mark.parametrize("how", ["object", ".keras", "SavedModel"])
def test_keras_with_two_inputs(house, how: str, tmp_path: Path) -> None:
    model = brought = two_inputs()
    if how == ".keras":
        brought = tmp_path / "m.keras"
        model.save(brought)
    elif how == "SavedModel":
        brought = tmp_path / "m"
        model.export(brought, verbose=False)
    added = house.add("sees", brought, PICTURES)
    assert (added.manifest.format, added.manifest.input) == ("savedmodel", "named")
    assert added.manifest.fields.by_name["image"].shape == (28, 28)
    assert added.unused == ("id",)
    expected = model({"image": IMAGES, "meta": METAS}, training=False)
    np.testing.assert_allclose(answers(added, PICTURES), expected, rtol=1e-4, atol=1e-6)


def test_an_image_of_another_name(house) -> None:
    model = keras.Sequential(
        [keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    )
    flat = pd.DataFrame({"pixels": [image.ravel() for image in IMAGES]})
    added = house.add("digits", model, flat, schema={"pixels": {"shape": [28, 28]}})
    assert added.manifest.fields.by_name["pixels"].shape == (28, 28)
    np.testing.assert_allclose(
        answers(added, flat.assign(pixels=list(IMAGES))), model(IMAGES), rtol=1e-4, atol=1e-6
    )


def test_one_of_several_outputs_of_keras(house) -> None:
    model = two_outputs()
    found = model(NUMBERS.to_numpy(), training=False)
    kinds = house.add("kind", model, NUMBERS, output_name="kind")
    np.testing.assert_allclose(answers(kinds, NUMBERS), found["kind"], rtol=1e-4)
    prices = house.add("price", model, NUMBERS, output_name="price", output="values")
    np.testing.assert_allclose(answers(prices, NUMBERS), found["price"], rtol=1e-4, atol=1e-6)


def test_a_module_of_tensorflow(house) -> None:
    class Twice(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
        def __call__(self, rows: Any) -> Any:
            return 20 * tf.reduce_sum(rows, axis=1)

    added = house.add("twice", Twice(), NUMBERS)
    expected = 20 * NUMBERS.to_numpy().sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers(added, NUMBERS), expected, rtol=1e-4, atol=1e-5)
