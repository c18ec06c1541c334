from __future__ import annotations

import io
import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wire.framing import Writer

SCHEMA = pa.schema({"x": pa.int64()})
WRITER = Writer(SCHEMA)


def by_pyarrow(about: dict[str, str], numbers: list[int]) -> bytes:
    schema = SCHEMA.with_metadata(about)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write(pa.record_batch([pa.array(numbers, pa.int64())], schema=schema))
    return sink.getvalue()


def test_the_number_of_nodes_and_buffers_must_be_the_schemas() -> None:
    with pytest.raises(struct.error, match="pack_into expected"):
        WRITER.write({}, 1, [1, 0, 1, 0], [b"", bytes(8)])
    with pytest.raises(struct.error, match="pack_into expected"):
        WRITER.write({}, 1, [1, 0], [bytes(8)])


ABOUT = st.dictionaries(st.sampled_from(["request_id", "model", "a"]), st.text(max_size=40))


@given(ABOUT, st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_streams_are_those_that_pyarrow_writes(about: dict[str, str], numbers: list[int]) -> None:
    packed = b"".join(number.to_bytes(8, "little", signed=True) for number in numbers)
    body = WRITER.write(about, len(numbers), [len(numbers), 0], [b"", packed])
    assert body == by_pyarrow(about, numbers)
