"""From a sample of rows to the fields of a schema.

The types in the file decide:

| column of the sample                        | field                                            |
|---------------------------------------------|--------------------------------------------------|
| float32, float16; float64                   | `float`, float32; float64                        |
| whole numbers                               | `int`                                            |
| true and false                              | `bool`                                           |
| dates and times                             | `timestamp`, zones turned into UTC               |
| strings, at most `MAX_CATEGORIES` different | `category`; unseen ones become `other`           |
| ones, each at least twice on average, none  |                                                  |
| longer than `MAX_LABEL`; pandas categories  |                                                  |
| other strings                               | `text`                                           |
| lists of numbers, all of one shape          | `tensor`                                         |

A field is nullable where the sample has a missing value, and its range is the sample's. CSV has no
dates, so a column of ISO 8601 dates counts as one there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from models.schema import Field, Schema
from switchyard.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MAX_CATEGORIES", "MAX_LABEL", "read", "schema"]

MAX_CATEGORIES: Final = 200
"""More different strings than this are text."""

MAX_LABEL: Final = 100
"""Characters of the longest category."""

MAX_INT: Final = 2**63 - 1
"""Largest whole number of an `int` field."""

ISO_DATE: Final = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"

Array = np.ndarray[Any, Any]


def read(sample: Path | str | pd.DataFrame) -> pd.DataFrame:
    """Reads a sample and brings its columns to the types that `schema` knows.

    Args:
        sample: A Parquet or CSV file with one row per example, or the rows themselves.

    Raises:
        InvalidInput: It is neither a file nor a DataFrame, there is no such file, it cannot be
            read, it has no rows, a column twice, or a column holds something that no field can.
    """
    import pandas as pd

    if isinstance(sample, str):
        sample = Path(sample)
    if not isinstance(sample, Path | pd.DataFrame):
        raise InvalidInput(
            "A sample is a .parquet or .csv file or a pandas DataFrame, "
            f"not a {type(sample).__name__}."
        )
    from_csv = isinstance(sample, Path) and sample.suffix == ".csv"
    name = f"The sample {sample}" if isinstance(sample, Path) else "The sample"
    frame = _read_file(sample) if isinstance(sample, Path) else sample.copy(deep=False)
    if frame.empty:
        raise InvalidInput(f"{name} has no rows; give it some that the model can answer.")
    frame.columns = pd.Index([str(column) for column in frame.columns])
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InvalidInput(f"{name} has two columns {twice!r}; name one of them otherwise.")
    columns = {column: _normal(frame[column], from_csv) for column in frame.columns}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))


def _read_file(path: Path) -> pd.DataFrame:
    import pandas as pd

    if path.suffix not in (".parquet", ".csv"):
        raise InvalidInput(f"The sample {path} must be a .parquet or .csv file.")
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except OSError as error:
        raise InvalidInput(
            f"The sample {path} cannot be read: {error.strerror or error}."
        ) from error
    except ValueError as error:  # both parsers' own errors are ValueErrors
        raise InvalidInput(f"The sample {path} is not a {path.suffix} file: {error}") from error


def schema(frame: pd.DataFrame) -> Schema:
    """Returns the fields of a sample that `read` returned, in the order of its columns.

    Raises:
        InvalidInput: There is no column, or one has infinite values or none at all.
    """
    if frame.columns.empty:
        raise InvalidInput("The sample has no column for the model; see that it has its inputs.")
    return Schema.of(_field(name, frame[name]) for name in frame.columns)


def _normal(series: pd.Series[Any], from_csv: bool) -> pd.Series[Any]:
    import pandas as pd
    from pandas.api import types

    if isinstance(series.dtype, pd.CategoricalDtype):
        if types.is_string_dtype(series.cat.categories):
            return series.reset_index(drop=True)
        series = series.astype(object).infer_objects()
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    if types.is_object_dtype(series):
        series = _from_objects(series)
    if from_csv and types.is_string_dtype(series) and series.dropna().str.fullmatch(ISO_DATE).all():
        series = _dates(series)
    return series.reset_index(drop=True)


def _dates(series: pd.Series[Any]) -> pd.Series[Any]:
    """Strings that look like dates of ISO 8601 as such; 2020-02-30 only looks like one."""
    import pandas as pd

    parsed = pd.to_datetime(series, format="ISO8601", utc=True, errors="coerce")
    lost = parsed.isna() & series.notna()
    if lost.any():
        raise InvalidInput(
            f"The column {series.name!r} of the sample holds {series[lost].iloc[0]!r}, a date that "
            "does not exist; correct it or leave it empty."
        )
    return parsed.dt.tz_localize(None)


def _from_objects(series: pd.Series[Any]) -> pd.Series[Any]:
    """A column of Python objects as one of a type, if all of them are of one kind."""
    import pandas as pd

    present = series.dropna()
    kind = pd.api.types.infer_dtype(present)
    if len(present) and isinstance(present.iloc[0], list | tuple | np.ndarray):
        return _tensors(series)
    match kind:
        case "string":
            return series.astype("str")
        case "boolean":
            return series.astype("boolean")
        case "integer":
            # Larger ones stay, since what is said of the column may make it a float or text.
            return series.astype("Int64") if _fit(present) else series
        case "floating" | "mixed-integer-float" | "decimal":
            return series.astype("float64")
        case "date" | "datetime" | "datetime64":
            return pd.to_datetime(series, utc=True).dt.tz_localize(None)
        case "empty":
            raise _no_value(series.name)
    raise InvalidInput(
        f"The column {series.name!r} of the sample holds values of several kinds ({kind}); "
        "make it all numbers, all strings, all dates, or lists of numbers of one shape."
    )


def _tensors(series: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    try:
        stacked = np.stack([np.array(_nested(value)) for value in series])
    except ValueError:
        stacked = np.array(None)
    if stacked.dtype == np.uint64 and stacked.size and stacked.max() > MAX_INT:
        raise InvalidInput(
            f"The column {series.name!r} of the sample holds lists of whole numbers beyond 64 bits "
            "with a sign; save them as floats."
        )
    if stacked.dtype.kind not in "fiub" or stacked.ndim < 2 or not np.isfinite(stacked).all():
        raise InvalidInput(
            f"The column {series.name!r} of the sample must hold lists of finite numbers, "
            "one in every row and all of one shape."
        )
    if stacked.dtype.kind != "f":
        stacked = stacked.astype(np.int64)
    elif stacked.dtype != np.float64:
        stacked = stacked.astype(np.float32)
    return pd.Series(list(stacked), index=series.index, name=series.name)


def _nested(value: Any) -> Any:
    """Parquet's lists of lists come as arrays of arrays."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return [_nested(item) for item in value]
    return value


def _field(name: str, series: pd.Series[Any]) -> Field:
    import pandas as pd
    from pandas.api import types

    nullable = bool(series.isna().any())
    if types.is_float_dtype(series):
        dtype: Literal["float32", "float64"] = (
            "float32" if series.dtype.name.lower() in ("float16", "float32") else "float64"
        )
        return Field(
            name=name, type="float", dtype=dtype, nullable=nullable, range=_range(name, series)
        )
    if series.isna().all():
        raise _no_value(name)
    if types.is_bool_dtype(series):
        return Field(name=name, type="bool", nullable=nullable)
    if types.is_integer_dtype(series):
        if not _fit(series):
            raise _too_large(name)
        return Field(name=name, type="int", nullable=nullable, range=_range(name, series))
    if types.is_datetime64_any_dtype(series):
        return Field(name=name, type="timestamp", nullable=nullable)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _category(name, list(series.cat.categories), nullable)
    if types.is_string_dtype(series) and not types.is_object_dtype(series):
        known = series.dropna()
        labels = sorted(known.unique())
        if (
            len(labels) <= min(MAX_CATEGORIES, len(known) // 2)
            and max(map(len, labels)) <= MAX_LABEL
        ):
            return _category(name, labels, nullable)
        return Field(name=name, type="text", nullable=nullable)
    if types.is_object_dtype(series):
        first = series.iloc[0]
        if not isinstance(first, np.ndarray):  # whole numbers alone come so far as objects
            raise _too_large(name)
        return Field(name=name, type="tensor", dtype=first.dtype.name, shape=first.shape)
    raise InvalidInput(
        f"The column {name!r} of the sample is {series.dtype}, which no field holds."
    )


def _category(name: str, labels: list[str], nullable: bool) -> Field:
    return Field(
        name=name, type="category", nullable=nullable, categories=tuple(labels), unknown="other"
    )


def _range(name: str, series: pd.Series[Any]) -> tuple[float, float] | None:
    values = series.dropna().to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise InvalidInput(
            f"The column {name!r} of the sample holds infinite values; leave them out or empty."
        )
    return (float(values.min()), float(values.max())) if len(values) else None


def _fit(whole: pd.Series[Any]) -> bool:
    return int(whole.min()) >= -MAX_INT - 1 and int(whole.max()) <= MAX_INT


def _too_large(name: object) -> InvalidInput:
    return InvalidInput(
        f"The column {name!r} of the sample holds whole numbers beyond 64 bits with a sign; "
        "leave it out, or make it a float or text: '{type: float}' under its name in --schema."
    )


def _no_value(name: object) -> InvalidInput:
    return InvalidInput(
        f"The column {name!r} of the sample has no value at all, so its type is not known; "
        "leave it out or fill it in some rows."
    )
