"""The rows of the prediction log, and the answered batches that they come from.

The columns of an endpoint, in this order (`FIRST`, the endpoint's fields, `LAST`):

| column          | type           | meaning                                                     |
|-----------------|----------------|-------------------------------------------------------------|
| `request_id`    | string         | of the request                                              |
| `row`           | int32          | index of the input row in its request                       |
| `timestamp`     | timestamp[us]  | arrival, UTC; its day is the partition                      |
| `event_time`    | timestamp[us]  | when it happened, UTC, if the caller says so                |
| `endpoint`      | label          | also the partition's key                                    |
| `revision`      | int64          | of the endpoint's traffic                                   |
| `assigned`      | label          | variant that the traffic gives the key                      |
| `assignment`    | label          | why this variant answered, see below                        |
| `variant`       | label          | variant that answered                                       |
| `model`         | label          | `name:version`                                              |
| `role`          | label          | `primary` or `shadow`                                       |
| `key`           | string         | salted hash of the sticky key                               |
| (fields)        | by field type  | see below; missing values are null                          |
| `prediction`    | by the classes | int64 if all classes are, else label; double in regressions |
| `probabilities` | list of float  | in the order of the classes; null in regressions            |
| `confidence`    | float          | largest probability; null in regressions                    |
| `latency_ms`    | float          | of the request, from arrival to answer                      |
| `status`        | label          | `ok`, or `error`: then what the model says is null          |

`assignment` is one of these:

| value      | meaning                                                                           |
|------------|-----------------------------------------------------------------------------------|
| `split`    | the key takes part in the split, and the assigned variant answered                |
| `canary`   | likewise, and the assigned variant is the temporary one of a canary               |
| `fallback` | the assigned variant failed, and the plan's fallback answered in its place        |
| `forced`   | the caller asked for the variant                                                  |
| `override` | the key lies outside the coverage, so it is not part of the split: it is assigned |
|            | the stable variant, in whose place the fallback may have answered                 |

A label is a string, stored as dictionary<int32, string>: the type that Parquet readers give to a
partition's key, so that `endpoint` in the file and in the path agree.

A field that the plan's `drop` names has no column; the values of one that `redact` names are null,
and its column's metadata says `redacted: true`. The sticky key is stored as a hash alone; but a
field that it was read from (`key_field`) is a field like any other. Fields: float as float or
double, int as int64, bool as bool, category as label, timestamp as timestamp[us], text as string,
tensor as a flat list in C order whose shape stands in the column's metadata. A field with the name
of one of our columns, of the partition's key `date`, or of an earlier field but for case (SQL
readers do not tell those apart) is called `field_NAME`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from models.columns import Columns
from models.schema import Schema
from monitoring.log.arrow import LABEL, PROBABILITIES, TIME, Array, Classes

__all__ = [
    "FIRST",
    "LAST",
    "NOTHING_HIDDEN",
    "Hidden",
    "LoggedBatch",
    "LoggedRequest",
    "column_names",
]

FIRST: dict[str, pa.DataType] = {
    "request_id": pa.string(),
    "row": pa.int32(),
    "timestamp": TIME,
    "event_time": TIME,
    "endpoint": LABEL,
    "revision": pa.int64(),
    "assigned": LABEL,
    "assignment": LABEL,
    "variant": LABEL,
    "model": LABEL,
    "role": LABEL,
    "key": pa.string(),
}
"""Columns before the fields."""

LAST: dict[str, pa.DataType] = {
    "prediction": LABEL,
    "probabilities": PROBABILITIES,
    "confidence": pa.float32(),
    "latency_ms": pa.float32(),
    "status": LABEL,
}
"""Columns behind the fields; the type of `prediction` follows the classes."""


@dataclass(slots=True)
class LoggedRequest:
    """The rows of one request in a batch.

    Attributes:
        request_id: Of the request.
        first_row: Index in the request of its first row in this batch.
        rows: Number of its rows in this batch, one after the other.
        received: Arrival, Unix time in seconds.
        event_time: When each row happened, datetime64[us] (rows,), if the caller says so.
        assigned: Variant that the traffic gives the key.
        assignment: Why this variant answered.
        key: Sticky key as it came; only its hash is stored.
        latency_ms: From arrival to answer.
        revision: Of the endpoint's traffic that assigned it.
        places: Index in the request of each of its rows in this batch, int64 (rows,), where they
            do not follow one another from `first_row`; the others were refused.
    """

    request_id: str
    first_row: int
    rows: int
    received: float
    event_time: Array | None
    assigned: str
    assignment: str
    key: str | None
    latency_ms: float
    revision: int
    places: Array | None


@dataclass(slots=True)
class LoggedBatch:
    """What one call of a model took and answered; nothing in it may change once it is appended.

    Attributes:
        endpoint: Of all its requests.
        variant: That answered.
        model: `name:version`.
        role: `primary` or `shadow`.
        status: `ok` or `error`.
        columns: The input rows, of the endpoint's schema.
        requests: Who sent them, in the order of the rows.
        output: Probabilities (rows, classes) or values (rows, 1); None if the call failed.
        classes: Labels of the classes, also if the call failed; None for a regression.
    """

    endpoint: str
    variant: str
    model: str
    role: str
    status: str
    columns: Columns
    requests: list[LoggedRequest]
    output: Array | None
    classes: Classes


@dataclass(frozen=True, slots=True)
class Hidden:
    """Fields of an endpoint whose values are not stored.

    Attributes:
        redact: Names of those whose columns are null.
        drop: Names of those without a column.
    """

    redact: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()


NOTHING_HIDDEN = Hidden()


def column_names(schema: Schema) -> dict[str, str]:
    """Returns the log's column for each field of a schema."""
    taken = {"date", *FIRST, *LAST}
    names: dict[str, str] = {}
    for name in schema.names:
        if name.casefold() not in taken:
            names[name] = name
            taken.add(name.casefold())
    for name in schema.names:
        if name not in names:
            column = f"field_{name}"
            while column.casefold() in taken:
                column = f"field_{column}"
            names[name] = column
            taken.add(column.casefold())
    return names
