"""What the owner of a model says, against what the model and its sample are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LinearRegression, LogisticRegression

from models import torch
from models.bring.describe import Options
from models.nn import Mlp
from switchyard.errors import InvalidInput, ModelRefused

ROWS = pd.DataFrame(
    np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32), columns=["a", "b", "c"]
)
WORDS = np.where(ROWS.a > 0, "yes", "no")


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """A classifier with the classes no and yes."""
    skops.io.dump(LogisticRegression().fit(ROWS, WORDS), tmp_path / "said.skops")
    return tmp_path / "said.skops"


def test_an_output_that_there_is_not() -> None:
    with pytest.raises(InvalidInput, match="'prob' is none of probabilities, probability, logits"):
        Options(output="prob")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.int64(4), np.inf, {1, 2}, [np.float32(1)]])
def test_keyword_arguments_that_no_manifest_holds(value) -> None:
    with pytest.raises(InvalidInput, match="keyword argument 'inputs' of the class is"):
        Options(model_kwargs={"hidden": 4, "inputs": value})


def test_keyword_arguments_of_a_whole_model(refused, said: Path) -> None:
    sentence = refused(InvalidInput, "m", said, ROWS, model_kwargs={"inputs": 3})
    assert sentence == "--class-kwargs belongs to weights, and said.skops holds a whole model."


def test_the_own_classes_in_another_order(refused, house, said: Path) -> None:
    sentence = refused(InvalidInput, "m", said, ROWS, classes=["yes", "no"])
    assert "another order; it answers in the order no, yes, so leave --classes out" in sentence
    assert house.add("same", said, ROWS, classes=["no", "yes"]).manifest.classes == ("no", "yes")
    assert house.add("other", said, ROWS, classes=["0", "1"]).manifest.classes == ("0", "1")


def test_values_of_a_classifier_are_what_it_predicts(refused, house, said: Path) -> None:
    sentence = refused(ModelRefused, "m", said, ROWS, output="values")
    assert "numbers of shape (rows,)" in sentence
    whole = LogisticRegression().fit(ROWS, (ROWS.a > 0).astype(int))
    skops.io.dump(whole, said.with_name("n.skops"))
    manifest = house.add("m", said.with_name("n.skops"), ROWS, output="values").manifest
    assert (manifest.task, manifest.output, manifest.classes) == ("regression", "values", None)


def test_a_target_that_nobody_named(refused, tmp_path: Path) -> None:
    torch.save_weights(Mlp(3, 4, 2), tmp_path)
    sentence = refused(
        InvalidInput,
        "m",
        tmp_path / "weights.safetensors",
        ROWS.assign(species=WORDS),
        model_class="models.nn:Mlp",
        model_kwargs={"inputs": 3, "hidden": 4, "outputs": 2},
    )
    assert "the sample's column 'species' holds no numbers; name it with --target" in sentence


def test_a_damaged_file_is_named_as_its_owner_does(refused, tmp_path: Path) -> None:
    (tmp_path / "mine.skops").write_bytes(b"no zip")
    sentence = refused(ModelRefused, "m", tmp_path / "mine.skops", ROWS)
    assert sentence.startswith("mine.skops is not a skops file")
    (tmp_path / "mine.onnx").write_bytes(b"no graph")
    sentence = refused(ModelRefused, "m", tmp_path / "mine.onnx", ROWS)
    assert sentence.startswith("mine.onnx is not an ONNX file")


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_an_infinite_target(refused, infinite: float) -> None:
    frame = ROWS.assign(y=np.where(np.arange(40) == 7, infinite, ROWS.a))
    fitted = LinearRegression().fit(ROWS, ROWS.a)
    sentence = refused(InvalidInput, "m", fitted, frame, target="y")
    assert sentence == "The target 'y' holds infinite values; leave those rows out or empty."
