"""Tables of different columns and types become one."""

import pyarrow as pa
import pytest

from monitoring.log.tables import unite

FIRST = {"id": pa.string()}
LAST = {"status": pa.dictionary(pa.int32(), pa.string())}


def table(**columns: list[object]) -> pa.Table:
    return pa.table({"id": ["a"], "status": pa.array(["ok"]).dictionary_encode(), **columns})


@pytest.mark.parametrize(
    ("one", "other", "want"),
    [
        (1, 2.5, [1.0, 2.5]),
        (1, "two", ["1", "two"]),
        (True, 2, ["True", "2"]),
        ([1.0, 2.0], "text", ["[1.0, 2.0]", "text"]),
        ([1], [2.5], [[1.0], [2.5]]),
        (None, 3, [None, 3]),
    ],
)
def test_types_that_differ_are_widened_or_become_text(
    one: object, other: object, want: list[object]
) -> None:
    united = unite([table(x=[one]), table(x=[other])], FIRST, LAST)
    assert united["x"].to_pylist() == want
    united.validate(full=True)


def test_columns_that_a_table_lacks_are_null_there_and_keep_their_places() -> None:
    united = unite([table(b=[1]), table(c=["x"], a=[2]), table()], FIRST, LAST)
    assert united.column_names == ["id", "b", "c", "a", "status"]
    assert united["c"].to_pylist() == [None, "x", None]


def test_labels_become_plain_strings() -> None:
    assert unite([table()], FIRST, LAST).schema.field("status").type == pa.string()
    assert unite([], FIRST, LAST).schema.field("status").type == pa.string()
