"""Handwritten digits: scikit-learn's copy of the UCI test set, 1,797 images of 8x8 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.schema import Field, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CLASSES", "load", "schema", "split"]

CLASSES: Final = tuple(range(10))

_SIDE: Final = 8
_DARKEST: Final = 16.0

_HOLDOUT_SHARE: Final = 0.25
_SPLIT_SEED: Final = 0


def schema() -> Schema:
    """Returns 64 fields `pixel_<row>_<column>`, from 0 (white) to 16."""
    return Schema.of(
        Field(name=f"pixel_{row}_{column}", type="float", range=(0.0, _DARKEST))
        for row in range(_SIDE)
        for column in range(_SIDE)
    )


def load() -> pd.DataFrame:
    """Returns all images: the fields, float32, and `target`, the digit."""
    import pandas as pd
    from sklearn.datasets import load_digits

    digits = load_digits()
    frame = pd.DataFrame(digits.data.astype("float32"), columns=list(schema().names))
    return frame.assign(target=digits.target.astype("int64"))


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cuts images into three quarters to train on and a hold-out, always the same.

    Both hold the digits in equal shares.
    """
    from sklearn.model_selection import train_test_split

    train, holdout = train_test_split(
        frame, test_size=_HOLDOUT_SHARE, stratify=frame["target"], random_state=_SPLIT_SEED
    )
    return train.reset_index(drop=True), holdout.reset_index(drop=True)
