"""A version whose manifest could not be read again is never stored."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.assemble import assemble, record
from models.manifest import MANIFEST_FILE, Manifest
from models.schema import Field
from switchyard.errors import ModelRefused

ROWS = pd.DataFrame({"a": [1.0, 2.0]})


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "artefact"
    folder.mkdir()
    (folder / "model.skops").write_bytes(b"one")
    return folder


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_figure_that_is_not_finite(value, manifest_of, artefact: Path, tmp_path: Path) -> None:
    manifest = manifest_of().model_copy(update={"metrics": {"sample_rmse": value}})
    with pytest.raises(ModelRefused, match=r"metrics\.sample_rmse holds a number that is not fin"):
        assemble(tmp_path / "made", artefact, ROWS, manifest, record("m", manifest))
    assert not (tmp_path / "made" / MANIFEST_FILE).exists()


def test_what_is_stored_can_be_read(manifest_of, artefact: Path, tmp_path: Path) -> None:
    manifest = manifest_of(metrics={"sample_rmse": 0.5})
    assemble(tmp_path / "made", artefact, ROWS, manifest, record("m", manifest))
    read = Manifest.model_validate_json((tmp_path / "made" / MANIFEST_FILE).read_text())
    assert read.metrics == {"sample_rmse": 0.5}
    assert set(read.files) == {"model.skops", "reference.parquet"}


@pytest.mark.parametrize("bounds", [(0, np.inf), (np.nan, 1)])
def test_a_range_that_is_not_finite(bounds) -> None:
    with pytest.raises(ValueError, match="finite number"):
        Field(name="a", type="float", range=bounds)
