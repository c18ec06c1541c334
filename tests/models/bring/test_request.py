"""The curl command for a row: what a shell makes of it is the row."""

import json
import shlex

import numpy as np
import pandas as pd

from models.bring import infer
from models.bring.request import curl, record

FRAME = pd.DataFrame(
    {
        "single": np.array([0.1, np.nan], dtype=np.float32),
        "double": [0.1, 0.2],
        "count": pd.Series([3, None], dtype="Int64"),
        "flag": pd.Series([True, None], dtype="boolean"),
        "when": pd.to_datetime(["2013-07-04T18:30", None]),
        "word": ['it\'s "here" $HOME', None],
        "image": [np.eye(2, dtype=np.float32).T, np.eye(2, dtype=np.float32)],
    }
)


def sent(command: str) -> tuple[list[str], dict]:
    words = shlex.split(command)
    return words, json.loads(words[words.index("-d") + 1])


def test_a_row_comes_out_as_it_is() -> None:
    inputs = record(infer.schema(FRAME), FRAME.iloc[0])
    words, body = sent(curl("e", inputs, variant=None, token=None))
    assert words[:4] == [
        "curl",
        "http://localhost:3000/predict",
        "-H",
        "content-type: application/json",
    ]
    assert body == {
        "endpoint": "e",
        "inputs": [
            {
                "single": 0.1,
                "double": 0.1,
                "count": 3,
                "flag": True,
                "when": "2013-07-04T18:30:00",
                "word": 'it\'s "here" $HOME',
                "image": [[1, 0], [0, 1]],
            }
        ],
    }


def test_missing_values_are_null() -> None:
    inputs = record(infer.schema(FRAME), FRAME.iloc[1])
    assert [name for name, value in inputs.items() if value is None] == [
        "single",
        "count",
        "flag",
        "when",
        "word",
    ]


def test_a_variant_without_traffic_is_asked_for_with_the_token() -> None:
    words, body = sent(curl("e", {"a": 1}, variant="v", token="/home/a b/admin.token"))
    assert body["variant"] == "v"
    assert "authorization: Bearer $(cat '/home/a b/admin.token')" in words
