"""Signatures of MLflow: what they say of fields, and what no field holds."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from models.bring import corrections
from models.bring.mlflow_signature import matrix_names, read
from models.schema import Field
from switchyard.errors import InvalidInput


def fields(*specs: Any) -> dict[str, Any]:
    signature = read(json.dumps(Schema(list(specs)).to_dict()))
    assert signature is not None
    return dict(signature.fields)


def tensor(dtype: str, shape: tuple[int, ...], name: str | None = None) -> TensorSpec:
    return TensorSpec(np.dtype(dtype), shape, name)


@pytest.mark.parametrize("text", ["{", "3", "[3]", '[{"name": "a"}]', '[{"type": "tensor"}]'])
def test_what_is_no_signature(text: str) -> None:
    with pytest.raises(InvalidInput, match="signature of the model cannot be read"):
        read(text)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (ColSpec("binary", "blob"), "'blob' of the signature is of the type binary"),
        (tensor("float32", (-1, -1, 3)), "its first axis, the rows, must be open"),
        (tensor("float32", (1, 4)), "its first axis, the rows, must be open"),
        (tensor("str", (-1, 4), "words"), "'words' of the signature holds <U0"),
        (tensor("complex64", (-1,), "wave"), "'wave' of the signature holds complex64"),
    ],
)
def test_what_no_field_holds(spec: Any, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        fields(spec)
    assert sentence in caught.value.message


def test_an_object_is_no_column() -> None:
    text = '[{"type": "object", "name": "who", "properties": {"age": {"type": "long"}}}]'
    with pytest.raises(InvalidInput, match="'who' of the signature is of the type object"):
        read(text)


def test_nothing_said() -> None:
    assert read(None) is None
    assert read(json.dumps([{"type": "double"}])) is None  # columns without names


def test_columns() -> None:
    assert fields(
        ColSpec("string", "plan"),
        ColSpec("double", "age", required=False),
        ColSpec("float", "height"),
        ColSpec("long", "visits"),
        ColSpec("boolean", "member", required=False),
        ColSpec("datetime", "since"),
    ) == {
        "plan": {},
        "age": {"type": "float", "dtype": "float64", "nullable": True},
        "height": {"type": "float", "dtype": "float32"},
        "visits": {"type": "int"},
        "member": {"type": "bool", "nullable": True},
        "since": {"type": "timestamp"},
    }


def test_lists_of_numbers_are_for_the_sample_to_say() -> None:
    text = '[{"type": "array", "name": "pixels", "items": {"type": "double"}}]'
    signature = read(text)
    assert signature is not None
    assert signature.fields == {"pixels": {}}


def test_a_matrix_without_a_name_is_its_columns() -> None:
    signature = read(json.dumps(Schema([tensor("float32", (-1, 3))]).to_dict()))
    assert signature is not None
    assert signature.matrix
    column = {"type": "float", "dtype": "float32"}
    assert signature.fields == {"x0": column, "x1": column, "x2": column}


def test_tensors() -> None:
    assert fields(
        tensor("uint8", (-1, 28, 28), "image"),
        tensor("float64", (-1, 2), "meta"),
        tensor("int32", (-1,), "age"),
        tensor("bool", (-1,), "member"),
        tensor("str", (-1,), "plan"),
    ) == {
        "image": {"type": "tensor", "dtype": "int64", "shape": (28, 28)},
        "meta": {"type": "tensor", "dtype": "float64", "shape": (2,)},
        "age": {"type": "int"},
        "member": {"type": "bool"},
        "plan": {},
    }
    assert fields(tensor("float32", (-1, 3, 8, 8))) == {
        "input": {"type": "tensor", "dtype": "float32", "shape": (3, 8, 8)}
    }


@given(
    st.lists(
        st.tuples(st.sampled_from([t.name for t in DataType if t.name != "binary"]), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_what_is_said_of_columns_is_a_correction(kinds: list[tuple[str, bool]]) -> None:
    names = matrix_names(len(kinds))
    said = fields(
        *(
            ColSpec(kind, name, required)
            for name, (kind, required) in zip(names, kinds, strict=True)
        )
    )
    assert list(said) == names
    known = corrections.read(said)
    for name, (_, required) in zip(names, kinds, strict=True):
        corrected = known.correct(Field(name=name, type="text"))
        assert corrected.nullable is not required
