"""From a model's output on a sample to its task: what the numbers are, and of which classes.

Nothing is guessed silently: `switchyard models add` prints what was found, and options override it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from models.outputs import Label
from switchyard.errors import InvalidInput, ModelRefused

__all__ = ["OUTPUTS", "Answers", "Output", "check_order", "labels", "of_output"]

Array = np.ndarray[Any, Any]
Output = Literal["probabilities", "probability", "logits", "logit", "values"]

OUTPUTS: tuple[Output, ...] = get_args(Output)
"""What an output can be, as in the manifest."""

_SLACK = 1e-3
"""Rounding by which the probabilities of a row may miss 1."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model's output stands for.

    Attributes:
        task: Kind of the problem.
        output: What the numbers are, as in the manifest.
        classes: Labels in the order of the probabilities; None for regression.
    """

    task: Literal["binary", "multiclass", "regression"]
    output: Output
    classes: tuple[Label, ...] | None


def of_output(
    raw: Array,
    *,
    output: Output | None = None,
    classes: Sequence[Label] | None = None,
    truth: Iterable[Label] = (),
) -> Answers:
    """Returns what a model's output on a sample stands for.

    Several columns are probabilities if they lie in [0, 1] and each row sums to 1, else logits. One
    column is a value if the truth has more than two different ones; otherwise the probability of
    the second class if it lies in [0, 1], else its logit where two classes are known, else a value.

    Args:
        raw: Output (n,) or (n, k) of any numeric dtype.
        output: What it is, where the caller knows.
        classes: Labels of the classes, where the caller knows.
        truth: True labels of the sample, where they are known, as `labels` returns them.

    Raises:
        InvalidInput: What the caller knows contradicts the output.
        ModelRefused: The output has another number of axes, or is not finite.
    """
    table = _table(raw)
    width, found = table.shape[1], sorted(set(truth))
    output = output or _output(table, classes, len(found))
    if (output in ("probabilities", "logits")) != (width > 1):
        raise InvalidInput(
            f"The model answers each row with {width} number{'s' * (width > 1)}, "
            f"which cannot be {output!r}."
        )
    if output == "values":
        if classes:
            raise InvalidInput("A model that answers values has no classes; leave --classes out.")
        return Answers("regression", output, None)
    known = tuple(classes) if classes else _known(found, max(width, 2))
    if len(known) != max(width, 2):
        raise InvalidInput(
            f"The model answers for {max(width, 2)} classes, but --classes names {len(known)}."
        )
    unknown = [label for label in found if label not in known]
    if unknown:
        raise InvalidInput(
            f"The target holds {unknown[0]!r}, which is none of the model's classes "
            f"{', '.join(map(str, known))}; say what they are with --classes."
        )
    return Answers("binary" if len(known) == 2 else "multiclass", output, known)


def check_order(named: Sequence[Label] | None, own: Sequence[Label] | None) -> None:
    """Refuses a model's own classes in another order, which would swap every answer.

    Args:
        named: What its owner says they are, None if nothing is said.
        own: What the model itself knows, None if it knows none.

    Raises:
        InvalidInput: They are the same labels in another order.
    """
    if named is None or own is None or list(named) == list(own):
        return
    if sorted(map(str, named)) == sorted(map(str, own)):
        raise InvalidInput(
            "--classes names the model's own classes in another order; it answers in the order "
            f"{', '.join(map(str, own))}, so leave --classes out."
        )


def labels(values: Iterable[Any]) -> list[Label]:
    """Returns class labels as a manifest holds them: all whole numbers, or all text.

    True and 1.0 are the whole number 1.
    """
    listed = list(values)
    if all(_whole(value) for value in listed):
        return [int(value) for value in listed]
    return [str(value) for value in listed]


def _whole(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return float(value).is_integer()
    return isinstance(value, bool | np.bool_ | int | np.integer)


def _table(raw: Array) -> Array:
    if raw.ndim not in (1, 2) or raw.dtype.kind not in "fiu":
        raise ModelRefused(
            f"The model answers the sample with {raw.dtype} of shape {raw.shape}; "
            "numbers of shape (rows,) or (rows, classes) are needed."
        )
    if not np.isfinite(raw).all():
        raise ModelRefused("The model answers the sample with NaN or infinity.")
    return raw.reshape(len(raw), -1)


def _output(table: Array, classes: Sequence[Label] | None, different: int) -> Output:
    inside = bool(((table >= 0) & (table <= 1)).all())
    if table.shape[1] > 1:
        sums = np.abs(table.sum(axis=1) - 1) <= _SLACK
        return "probabilities" if inside and bool(sums.all()) else "logits"
    if not classes and different > 2:
        return "values"
    if inside:
        return "probability"
    return "logit" if classes or different == 2 else "values"


def _known(found: list[Label], wanted: int) -> tuple[Label, ...]:
    if len(found) == wanted:
        return tuple(found)
    if all(isinstance(label, int) and 0 <= label < wanted for label in found):
        return tuple(range(wanted))
    raise InvalidInput(
        f"The target has {len(found)} different values, but the model answers for {wanted} "
        "classes; name them with --classes, in the order of the model's output."
    )
