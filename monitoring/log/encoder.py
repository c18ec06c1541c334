"""From answered batches to record batches of the prediction log (`monitoring.log.rows`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from operator import attrgetter

import numpy as np
import pyarrow as pa

from models.schema import Schema
from monitoring.log.arrow import (
    TIME,
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
from monitoring.log.rows import (
    FIRST,
    LAST,
    NOTHING_HIDDEN,
    Hidden,
    LoggedBatch,
    LoggedRequest,
    column_names,
)

__all__ = ["REDACTED", "Encoder", "Encoders"]

REDACTED = {"redacted": "true"}
"""What the metadata of a redacted field's column say."""

_MOST_ENCODERS = 64

_of_batch = attrgetter("endpoint", "variant", "model", "role", "status", "output", "columns.rows")
_of_request = attrgetter(*LoggedRequest.__slots__)


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
        requests = [request for batch in batches for request in batch.requests]
        taking = np.array([request.rows for request in requests])
        of_batch = np.repeat(np.arange(len(rows)), [len(batch.requests) for batch in batches])
        if (np.bincount(of_batch, taking, len(rows)) != rows).any():
            raise ValueError("the requests of a batch do not account for its rows")
        prediction, probabilities, confidence = output_arrays(self._classes, outputs, rows)
        ours = {
            **self._of_requests(requests),
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
        if not all(given is None for given in index):
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
