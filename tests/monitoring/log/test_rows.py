"""Fields that must not be stored are in no file of the log, and all else is as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schema import Field, Schema
from monitoring.log.encoder import REDACTED, Encoder
from monitoring.log.predictions import LoggedBatch, PredictionLog, read
from monitoring.log.rows import LAST, Hidden, column_names
from monitoring.log.segments import roll_closed

Batch = Callable[..., LoggedBatch]
SALT = b"salt"
NAMES = ("single", "double", "count", "rank", "flag", "carrier", "departure", "note", "image")


@settings(deadline=None, max_examples=60)
@given(kinds=st.lists(st.sampled_from(["stored", "redact", "drop"]), min_size=9, max_size=9))
def test_hidden_fields_are_null_or_gone_and_the_others_unchanged(
    kinds: Sequence[str], batch: Batch, every_type: Schema
) -> None:
    by_name = dict(zip(NAMES, kinds, strict=True))
    made = [batch((2, 1), seed) for seed in range(3)]
    hidden = Hidden(
        frozenset(name for name, kind in by_name.items() if kind == "redact"),
        frozenset(name for name, kind in by_name.items() if kind == "drop"),
    )
    whole = Encoder(every_type, made[0].classes, SALT).encode(made)
    part = Encoder(every_type, made[0].classes, SALT, hidden).encode(made)
    part.validate(full=True)
    assert part.schema.names == [n for n in whole.schema.names if by_name.get(n) != "drop"]
    for name in part.schema.names:
        stored, full = part.schema.field(name), whole.schema.field(name)
        assert stored.type == full.type
        if by_name.get(name) == "redact":
            assert part[name].null_count == 9
            assert (stored.metadata or {})[b"redacted"] == b"true"
            assert {**(full.metadata or {}), b"redacted": b"true"} == stored.metadata
        else:
            assert part[name].equals(whole[name])
            assert stored.metadata == full.metadata
    assert REDACTED == {"redacted": "true"}


def test_hidden_values_are_in_no_byte_of_the_log(
    batch: Batch, folder: Path, open_log: Callable[..., PredictionLog]
) -> None:
    hidden = {"flights": Hidden(frozenset({"note"}), frozenset({"carrier"}))}
    for named in ({}, hidden):
        log = open_log(hidden=named)
        log.append(batch((30,), 1))
        log.start()
        log.close()
        roll_closed(folder)
        (path,) = folder.rglob("*.parquet")
        content = pa.OSFile(str(path)).read()
        assert (b"rich" in content) is (not named)
        assert (b"carrier" in content) is (not named)
        path.unlink()


def test_the_endpoints_of_one_schema_hide_what_each_of_them_says(
    batch: Batch, folder: Path, open_log: Callable[..., PredictionLog]
) -> None:
    log = open_log(hidden={"a": Hidden(redact=frozenset({"double"}))})
    for name in "ab":
        log.append(batch((2,), 1, endpoint=name))
    log.start()
    log.close()
    assert read(folder, "a")["double"].null_count == 2
    assert read(folder, "b")["double"].null_count == 0


def test_a_field_that_has_the_name_of_a_column_of_the_log_is_hidden_not_the_column(
    batch: Batch,
) -> None:
    schema = Schema.of([Field(name="status", type="float")])
    made = batch((2,), 1, schema=schema)
    (name,) = column_names(schema).values()
    part = Encoder(schema, made.classes, SALT, Hidden(redact=frozenset({"status"}))).encode([made])
    assert part[name].null_count == 2
    assert part["status"].to_pylist() == ["ok", "ok"]
    gone = Encoder(schema, made.classes, SALT, Hidden(drop=frozenset({"status"}))).encode([made])
    assert name not in gone.schema.names
    assert set(LAST) <= set(gone.schema.names)


@pytest.mark.parametrize("kind", ["redact", "drop"])
def test_a_key_is_a_hash_whatever_is_hidden(kind: str, batch: Batch) -> None:
    made: Any = batch((1, 1), 1)
    hidden = Hidden(**{kind: frozenset({"carrier"})})
    part = Encoder(made.columns.schema, made.classes, SALT, hidden).encode([made])
    keys = [key for key in part["key"].to_pylist() if key is not None]
    assert keys
    assert all(len(key) == 32 and "user" not in key for key in keys)
