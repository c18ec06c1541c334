"""What fitted estimators tell about themselves."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC

from models import sklearn
from models.bring.estimator import Vocabulary, read
from models.schema import Field
from switchyard.errors import ModelRefused

FRAME = pd.DataFrame(
    {"city": ["Oslo", "Rome", "Oslo", "Bern"], "size": ["s", "m", "l", "m"], "age": [1.0, 2, 3, 4]}
)
TARGET = np.array([False, True, True, False])


@pytest.fixture
def told(tmp_path: Path):
    """Saves an estimator and reads it."""

    def run(estimator, output=None):
        sklearn.save(estimator, tmp_path)
        return read(tmp_path, output)

    return run


def pipeline(cities, sizes, *, ages=("age",), model=None):
    columns = make_column_transformer(
        (cities, ["city"]), (sizes, ["size"]), (StandardScaler(), list(ages))
    )
    return make_pipeline(columns, model or LogisticRegression()).fit(FRAME, TARGET)


def test_an_estimator_without_probabilities(told) -> None:
    fitted = LinearSVC().fit(FRAME[["age"]].to_numpy(), TARGET)
    with pytest.raises(ModelRefused, match="LinearSVC gives no probabilities; wrap it in"):
        told(fitted)
    assert told(fitted, output="logit").output == "logit"


def test_an_estimator_of_several_questions(told) -> None:
    both = np.stack([TARGET, ~TARGET], axis=1)
    fitted = RandomForestClassifier(2).fit(FRAME[["age"]].to_numpy(), both)
    with pytest.raises(ModelRefused, match="several questions"):
        told(fitted)


def test_a_classifier_that_shall_answer_values(told) -> None:
    known = told(pipeline(OneHotEncoder(), OneHotEncoder()), output="values")
    assert (known.output, known.classes) == ("values", None)


def test_what_is_read_is_what_was_checked(told) -> None:
    """A part that would open files is refused by the reader itself."""
    words = make_pipeline(CountVectorizer(), LogisticRegression()).fit(FRAME["city"], TARGET)
    words.steps[0][1].input = "filename"
    with pytest.raises(ModelRefused, match="input='filename'"):
        told(words)


def test_a_classifier_of_a_frame(told) -> None:
    known = told(pipeline(OneHotEncoder(handle_unknown="ignore"), OneHotEncoder()))
    assert known.names == ("city", "size", "age")
    assert known.classes == (0, 1)
    assert known.output == "probabilities"
    assert known.vocabularies == {
        "city": Vocabulary(("Bern", "Oslo", "Rome"), closed=False),
        "size": Vocabulary(("l", "m", "s"), closed=True),
    }


def test_a_regressor_of_an_array(told) -> None:
    known = told(LinearRegression().fit(np.eye(4), np.arange(4.0)))
    assert (known.names, known.width, known.classes) == (None, 4, None)
    assert known.output == "values"
    assert known.vocabularies == {}


def test_encoders_behind_an_imputer_and_columns_by_number_are_found(told) -> None:
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    )
    columns = make_column_transformer((words, [0, 1]), (StandardScaler(), slice(2, 3)))
    known = told(make_pipeline(columns, LogisticRegression()).fit(FRAME, TARGET))
    assert set(known.vocabularies) == {"city", "size"}
    assert known.vocabularies["city"].labels == ("Bern", "Oslo", "Rome")


@pytest.mark.parametrize("kind", ["category", "text"])
def test_a_vocabulary_completes_a_field(kind: str) -> None:
    known = ("Rome", "Kyiv") if kind == "category" else None
    field = Field(name="city", type=kind, categories=known, unknown="other", nullable=True)
    open_ended = Vocabulary(("Bern", "Rome"), closed=False).applied(field)
    assert open_ended.categories == ("Bern", "Rome", *(["Kyiv"] if known else []))
    assert (open_ended.type, open_ended.unknown, open_ended.nullable) == ("category", "other", True)
    closed = Vocabulary(("Bern", "Rome"), closed=True).applied(field)
    assert (closed.categories, closed.unknown) == (("Bern", "Rome"), "refuse")
