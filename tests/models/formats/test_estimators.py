"""Estimators of trusted types that would open files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline

import models.sklearn as loader
from models.formats import estimators
from switchyard.errors import ModelRefused

TEXTS = pd.DataFrame({"text": ["root daemon", "localhost"] * 20})
TRUTH = np.arange(40) % 2


def fitted(vectorizer):
    columns = make_column_transformer((FeatureUnion([("words", vectorizer)]), "text"))
    return make_pipeline(columns, LogisticRegression()).fit(TEXTS, TRUTH)


@pytest.mark.parametrize("source", ["filename", "file"])
@pytest.mark.parametrize("kind", [CountVectorizer, TfidfVectorizer, HashingVectorizer])
def test_a_vectorizer_that_opens_files(kind, source: str, tmp_path: Path, manifest_of) -> None:
    vectorizer = kind()
    pipeline = fitted(vectorizer)
    words = pipeline.steps[0][1].transformers_[0][1].transformer_list[0][1]
    words.input = source
    trusted = loader.save(pipeline, tmp_path)
    with pytest.raises(ModelRefused, match=f"{kind.__name__} in model.skops has input='{source}'"):
        loader.load(tmp_path, manifest_of(trusted=trusted), "cpu")


def test_a_vectorizer_that_really_reads_the_file_it_is_given(tmp_path: Path) -> None:
    """What the check is for: scikit-learn takes the text of a request for a path."""
    (tmp_path / "secret").write_text("word")
    texts = pd.DataFrame({"text": [str(tmp_path / "secret")] * 40})
    columns = make_column_transformer((CountVectorizer(input="filename"), "text"))
    pipeline = make_pipeline(columns, LogisticRegression()).fit(texts, TRUTH)
    assert pipeline.steps[0][1].transformers_[0][1].vocabulary_ == {"word": 0}
    with pytest.raises(ModelRefused, match="takes texts for files"):
        estimators.check(pipeline)


def test_a_cache_in_a_folder(tmp_path: Path, manifest_of) -> None:
    inner = make_pipeline(CountVectorizer(), memory=str(tmp_path / "cache"))
    trusted = loader.save(fitted(inner), tmp_path)
    with pytest.raises(ModelRefused, match=r"Pipeline in model\.skops keeps a cache.*memory=None"):
        loader.load(tmp_path, manifest_of(trusted=trusted), "cpu")


@pytest.mark.parametrize("kind", [CountVectorizer, TfidfVectorizer, HashingVectorizer])
def test_texts_themselves_are_read(kind, tmp_path: Path, manifest_of) -> None:
    pipeline = fitted(kind())
    trusted = loader.save(pipeline, tmp_path)
    predict = loader.load(tmp_path, manifest_of(trusted=trusted), "cpu")
    np.testing.assert_allclose(predict(TEXTS), pipeline.predict_proba(TEXTS))
