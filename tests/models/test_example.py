import numpy as np
import pandas as pd

from models.example import Dataset
from models.schema import Field, Schema

SCHEMA = Schema.of([Field(name="size", type="float")])


def dataset(sizes=(1.0, 2.0), target=(7, 9), schema=SCHEMA, **more):
    frame = pd.DataFrame({"size": list(sizes), "target": list(target)})
    return Dataset(schema, (7, 9), frame, frame, **more)


def test_the_target_is_the_index_of_the_class():
    assert dataset(target=(9, 7)).target.tolist() == [1, 0]


def test_without_a_transform_the_rows_are_the_matrix():
    matrix = dataset().matrix
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[1.0], [2.0]]


def test_a_transform_makes_the_matrix():
    doubled = dataset(transform=lambda columns: columns.blocks["f4"] * 2)
    assert doubled.matrix.tolist() == [[2.0], [4.0]]


def test_the_digest_follows_values_target_and_schema():
    digest = dataset().digest
    assert len(digest) == 64
    assert digest == dataset().digest
    renamed = Schema.of([Field(name="size", type="float", range=(0.0, 1.0))])
    others = [dataset(sizes=(1.0, 3.0)), dataset(target=(7, 7)), dataset(schema=renamed)]
    assert len({digest, *(other.digest for other in others)}) == 4


def test_the_digest_does_not_depend_on_the_holdout():
    first = dataset()
    other = Dataset(SCHEMA, (7, 9), first.train, first.holdout.head(1))
    assert other.digest == first.digest
