"""From answered batches to rows of the prediction log.

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

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import pyarrow as pa

from models.columns import Columns
from models.schema import Schema
from monitoring.log.arrow import (
    LABEL,
    PROBABILITIES,
    TIME,
    Array,
    Classes,
    event_times,
    field_arrays,
    field_type,
    labels,
    microseconds,
    output_arrays,
    plain,
    prediction_type,
    texts,
)

__all__ = [
    "FIRST",
    "LAST",
    "NOTHING_HIDDEN",
    "REDACTED",
    "Encoder",
    "Encoders",
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

REDACTED = {"redacted": "true"}
"""What the metadata of a redacted field's column say."""

_MOST_ENCODERS = 64

_of_batch = attrgetter("endpoint", "variant", "model", "role", "status", "output", "columns.rows")
_of_request = attrgetter(*LoggedRequest.__slots__)


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


class Encoder:
    """Builds record batches for one schema and one set of classes.

    Args:
        schema: Of the endpoint.
        classes: Of the models that answered.
        salt: Secret that goes into the hashes of sticky keys.
        hidden: Fields whose values are not stored.

    Attributes:
        schema: The schema given.
        arrow_schema: Of the record batches.
    """

    def __init__(
        self, schema: Schema, classes: Classes, salt: bytes, hidden: Hidden = NOTHING_HIDDEN
    ) -> None:
        self.schema = schema
        self._classes = classes
        self._salt = salt
        self._without = hidden.redact | hidden.drop
        names = column_names(schema)
        fields: list[tuple[str, pa.DataType, dict[str, str] | None]] = []
        self._redacted: list[tuple[int, pa.DataType]] = []
        for field in schema:
            if field.name not in hidden.drop:
                kind, about = field_type(field)
                if field.name in hidden.redact:
                    self._redacted.append((len(fields), kind))
                    about = {**(about or {}), **REDACTED}
                fields.append((names[field.name], kind, about))
        last = {**LAST, "prediction": prediction_type(classes)}
        self.arrow_schema = pa.schema(
            [
                *FIRST.items(),
                *(pa.field(name, kind, metadata=about) for name, kind, about in fields),
                *last.items(),
            ]
        )

    def encode(self, batches: Sequence[LoggedBatch]) -> pa.RecordBatch:
        """Returns the rows of batches of this schema and these classes, in order.

        Raises:
            ValueError: The parts of a batch are not of one length.
        """
        endpoint, variant, model, role, status, outputs, counts = zip(
            *map(_of_batch, batches), strict=True
        )
        rows = np.array(counts)
        for batch in batches:
            if sum(request.rows for request in batch.requests) != batch.columns.rows:
                raise ValueError("the requests of a batch do not account for its rows")
        prediction, probabilities, confidence = output_arrays(self._classes, outputs, rows)
        ours = {
            **self._of_requests([request for batch in batches for request in batch.requests]),
            "endpoint": labels(endpoint, rows),
            "variant": labels(variant, rows),
            "model": labels(model, rows),
            "role": labels(role, rows),
            "prediction": prediction,
            "probabilities": probabilities,
            "confidence": confidence,
            "status": labels(status, rows),
        }
        fields = field_arrays(self.schema, [batch.columns for batch in batches], self._without)
        for place, kind in self._redacted:  # in order, so that each comes to its place
            fields.insert(place, pa.nulls(int(rows.sum()), kind))
        arrays = [
            *(ours[name] for name in FIRST),
            *fields,
            *(ours[name] for name in LAST),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.arrow_schema)

    def _of_requests(self, requests: Sequence[LoggedRequest]) -> dict[str, pa.Array]:
        ids, first, counts, received, event, assigned, assignment, keys, latency, *last = zip(
            *map(_of_request, requests), strict=True
        )
        revision, index = last
        rows = np.array(counts)
        starts = np.cumsum(rows) - rows
        places = np.arange(rows.sum()) + np.repeat(np.array(first) - starts, rows)
        for start, count, given in zip(starts, rows, index, strict=True):
            if given is not None:
                places[start : start + count] = given
        return {
            "request_id": texts(ids, rows),
            "row": plain(pa.int32(), places.astype(np.int32)),
            "timestamp": plain(TIME, np.repeat(microseconds(received), rows)),
            "event_time": event_times(event, rows),
            "assigned": labels(assigned, rows),
            "assignment": labels(assignment, rows),
            "key": texts(self._hashed(keys), rows),
            "latency_ms": plain(pa.float32(), np.repeat(np.array(latency, np.float32), rows)),
            "revision": plain(pa.int64(), np.repeat(np.array(revision, np.int64), rows)),
        }

    def _hashed(self, keys: Sequence[str | None]) -> Sequence[str | None]:
        hashes = {
            key: hashlib.blake2b(key.encode(), key=self._salt, digest_size=16).hexdigest()
            for key in set(keys)
            if key is not None
        }
        return [hashes[key] if key is not None else None for key in keys] if hashes else keys


class Encoders:
    """The encoders of one log, made when they are first asked for.

    They are found by the identity of the schema: to compare schemas of many fields for every batch
    would cost more than to encode it. An encoder keeps its schema alive, so no other has its id.

    Args:
        salt: Secret that goes into the hashes of sticky keys.
        hidden: By endpoint, fields whose values are not stored.
    """

    def __init__(self, salt: bytes, hidden: Mapping[str, Hidden]) -> None:
        self._salt = salt
        self._hidden = hidden
        self._known: dict[tuple[str, int, Classes], Encoder] = {}

    def of(self, endpoint: str, schema: Schema, classes: Classes) -> Encoder:
        """Returns the encoder for an endpoint's schema and classes."""
        encoder = self._known.get((endpoint, id(schema), classes))
        if encoder is None:
            if len(self._known) >= _MOST_ENCODERS:
                self._known.clear()
            hidden = self._hidden.get(endpoint, NOTHING_HIDDEN)
            encoder = Encoder(schema, classes, self._salt, hidden)
            self._known[endpoint, id(schema), classes] = encoder
        return encoder
