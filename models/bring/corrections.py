"""What the owner of a model says about its fields, over what the sample shows.

A file names the fields that need it, each with the keys of a manifest's field that are to change:

    age:     {nullable: true, range: [0, 120]}
    plan:    {categories: [basic, pro, team], unknown: refuse}
    visits:  {type: float}
    pixels:  {shape: [28, 28]}

The sample is brought to these types as well, since the model is proven on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from pydantic import (
    FiniteFloat,
    RootModel,
    ValidationError,
    field_validator,
)

from models.bring import infer
from models.schema import Field, FieldType, Schema
from switchyard.errors import InvalidInput
from switchyard.plan_problems import first_problem, hint, wrong
from switchyard.section import KnownKeys
from switchyard.yaml_lines import Lines, YamlProblem
from switchyard.yaml_lines import read as read_yaml

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Correction", "Corrections", "read"]

ARGUMENT: Final = Path("schema")
"""Stands for a file's name where the corrections come as an argument of Python."""

_BELONGS: Final[dict[str, tuple[FieldType, ...]]] = {
    "dtype": ("float", "tensor"),
    "range": ("float", "int"),
    "categories": ("category",),
    "unknown": ("category",),
    "shape": ("tensor",),
}
"""The types of field that have a key; the others are every field's."""


class Correction(KnownKeys):
    """What is said of one field; None where nothing is said.

    The keys mean what they mean in `models.schema.Field`. `categories` alone makes a field a
    category, `shape` alone makes it a tensor.
    """

    type: FieldType | None = None
    dtype: Literal["float32", "float64", "int64"] | None = None
    nullable: bool | None = None
    range: tuple[FiniteFloat, FiniteFloat] | None = None
    categories: tuple[str, ...] | None = None
    unknown: Literal["refuse", "other"] | None = None
    shape: tuple[int, ...] | None = None

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise wrong(f"is {list(value)}, but its first number must be the smallest value")
        return value

    def kind(self, inferred: FieldType) -> FieldType:
        """Returns the type of the field."""
        if self.type is not None:
            return self.type
        if self.categories is not None:
            return "category"
        return "tensor" if self.shape is not None else inferred


class _Said(RootModel[dict[str, Correction]]):
    """The contents of a file."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """All that is said of the fields of one model.

    Attributes:
        fields: By name of the field.
        path: File that says it, for sentences.
        lines: Where its keys stand; None for an argument of Python.
    """

    fields: Mapping[str, Correction] = field(default_factory=dict)
    path: Path = ARGUMENT
    lines: Lines | None = None

    def schema(self, frame: pd.DataFrame) -> Schema:
        """Returns the corrected fields of a sample that `conform` returned.

        Raises:
            InvalidInput: As `infer.schema`, and where a correction and the sample disagree.
        """
        return Schema.of(self.correct(found) for found in infer.schema(frame))

    def correct(self, found: Field) -> Field:
        """Returns a field as it is said to be; one of which nothing is said stays as it is.

        Raises:
            InvalidInput: A key does not belong to the type of the field, or lacks another.
        """
        said = self.fields.get(found.name)
        if said is None:
            return found
        kind = said.kind(found.type)
        given = said.model_dump(exclude_none=True, exclude={"type"})
        for key in given:
            if kind not in _BELONGS.get(key, (kind,)):
                raise self._wrong(f"belongs to no field of the type {kind}", found.name, key)
        if kind == "float" and said.dtype == "int64":
            raise self._wrong("is int64, which no float is; say 'type: int'", found.name, "dtype")
        kept: dict[str, Any] = {"name": found.name, "nullable": found.nullable}
        if kind == found.type:
            kept = found.model_dump(exclude={"type"})
        try:
            return Field(**(kept | given), type=kind)
        except ValidationError as error:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise self._wrong(f"is wrong: {reason}", found.name) from error

    def conform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Returns a sample with its columns in the types that are said.

        Args:
            frame: What `models.bring.infer.read` returned, without the target.

        Raises:
            InvalidInput: A name is no column of the sample, or a column cannot be of the type, has
                missing values that are said not to be, or categories that are said to be refused.
        """
        columns = {}
        for name, said in self.fields.items():
            if name not in frame.columns:
                known = hint(name, list(frame.columns), "the sample has")
                raise self._wrong(f"is no column of the sample; {known}", name)
            columns[name] = self._cast(frame[name], said)
        return frame.assign(**columns)

    def _cast(self, series: pd.Series[Any], said: Correction) -> pd.Series[Any]:
        name = str(series.name)
        if said.nullable is False and series.isna().any():
            row = int(series.isna().to_numpy().argmax())
            raise self._wrong(f"is false, but row {row} of the sample is missing", name, "nullable")
        kind = said.type or ("category" if said.categories else "tensor" if said.shape else None)
        try:
            made = series if kind is None else _as(series, kind, said)
        except (ValueError, TypeError, OverflowError) as error:
            problem = f"is {kind}, which the sample's column cannot be: {error}"
            raise self._wrong(problem, name) from error
        if kind == "category" and said.unknown == "refuse" and said.categories:
            other = sorted(set(made.dropna()) - set(said.categories))
            if other:
                raise self._wrong(
                    f"leaves out {other[0]!r}, which the sample holds and 'unknown: refuse' "
                    "forbids",
                    name,
                    "categories",
                )
        return made

    def _wrong(self, problem: str, *place: str) -> InvalidInput:
        key = ".".join(place)
        line = "" if self.lines is None else f", line {self.lines(place)}"
        return InvalidInput(f"{self.path}{line}: {key} {problem}.")


def read(given: Path | Mapping[str, Mapping[str, Any]] | None) -> Corrections:
    """Reads corrections from a YAML file, or takes them from an argument of Python.

    Args:
        given: The file, or its contents: keys by name of the field. None says nothing.

    Raises:
        InvalidInput: The file cannot be read, is not YAML, or a key or value in it is wrong; one
            sentence with the line.
    """
    if given is None:
        return Corrections()
    if isinstance(given, Mapping):
        return Corrections(_validated(given, ARGUMENT, None))
    try:
        value, lines = read_yaml(given)
    except YamlProblem as problem:
        raise InvalidInput(str(problem)) from problem
    if not isinstance(value, dict):
        raise InvalidInput(f"{given}, line 1: this must be a mapping from field to its keys.")
    return Corrections(_validated(value, given, lines), given, lines)


def _validated(value: Any, path: Path, lines: Lines | None) -> dict[str, Correction]:
    try:
        return _Said.model_validate(value).root
    except ValidationError as error:
        text = first_problem(error, path, lines or Lines({}))
        raise InvalidInput(text if lines else text.replace(", line 1", "", 1)) from error


def _as(series: pd.Series[Any], kind: FieldType, said: Correction) -> pd.Series[Any]:
    """Casts a column; raises ValueError or TypeError where it cannot be."""
    import pandas as pd

    match kind:
        case "float":
            return pd.to_numeric(series).astype(said.dtype or "float64")
        case "int":
            whole = pd.to_numeric(series).astype("Int64")
            return whole if whole.isna().any() else whole.astype("int64")
        case "bool":
            return series.map(_truth, na_action="ignore").astype("boolean")
        case "timestamp":
            return pd.to_datetime(series, utc=True).dt.tz_localize(None)
        case "category":
            return _strings(series).astype("category")
        case "text":
            return _strings(series)
        case "tensor":
            return _tensors(series, said)


def _strings(series: pd.Series[Any]) -> pd.Series[Any]:
    return series.astype(object).map(str, na_action="ignore").astype("str")


def _truth(value: Any) -> bool:
    if value in (True, "true", "True"):
        return True
    if value in (False, "false", "False"):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _tensors(series: pd.Series[Any], said: Correction) -> pd.Series[Any]:
    import pandas as pd

    arrays = [np.asarray(value) for value in series]
    shape = said.shape or arrays[0].shape
    sizes = {array.size for array in arrays}
    if sizes != {math.prod(shape)}:
        raise ValueError(f"rows hold {sorted(sizes)[0]} numbers, not {math.prod(shape)}")
    dtype = said.dtype or arrays[0].dtype
    return pd.Series([array.astype(dtype).reshape(shape) for array in arrays], index=series.index)
