import numpy as np
import pytest

from models.digits import data


@pytest.fixture(scope="module")
def digits():
    return data.load()


def test_64_float_fields_by_row_and_column():
    schema = data.schema()
    assert len(schema) == 64
    assert schema.names[:9] == (*(f"pixel_0_{column}" for column in range(8)), "pixel_1_0")
    assert schema.names[-1] == "pixel_7_7"
    assert list(schema.layout.blocks) == ["f4"]
    assert {(field.range, field.nullable) for field in schema} == {((0.0, 16.0), False)}


def test_every_image_lies_in_the_range(digits):
    pixels = digits[list(data.schema().names)].to_numpy()
    assert pixels.shape == (1797, 64)
    assert pixels.dtype == np.float32
    assert (pixels.min(), pixels.max()) == (0.0, 16.0)
    assert sorted(digits["target"].unique()) == list(data.CLASSES)


def test_split_is_fixed_complete_and_stratified(digits):
    train, holdout = data.split(digits)
    again, _ = data.split(digits)
    assert train.equals(again)
    assert (len(train), len(holdout)) == (1347, 450)
    whole = np.concatenate([train.to_numpy(), holdout.to_numpy()])
    assert sorted(map(bytes, whole)) == sorted(map(bytes, digits.to_numpy()))
    shares = holdout["target"].value_counts() / digits["target"].value_counts()
    assert shares.to_numpy() == pytest.approx(0.25, abs=0.005)
