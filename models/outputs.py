"""The answers of an artefact, of whatever format: labels of classes, and outputs by name."""

from __future__ import annotations

from collections.abc import Sequence

from switchyard.errors import ModelRefused

__all__ = ["Label", "choose"]

Label = int | str
"""What a class is called, in a manifest and in answers."""


def choose(outputs: Sequence[str], name: str | None) -> str:
    """Returns which of an artefact's named outputs answers.

    Args:
        outputs: Their names, at least one.
        name: The one that is asked for; None where there is only one.

    Raises:
        ModelRefused: There are several and none is named, or there is none of that name.
    """
    listed = ", ".join(sorted(outputs))
    if name is None and len(outputs) != 1:
        raise ModelRefused(
            f"The model has {len(outputs)} outputs ({listed}), and one must answer; name it with "
            "--output-name."
        )
    if name is not None and name not in outputs:
        raise ModelRefused(f"The model has no output {name!r}; it has {listed}.")
    return name or outputs[0]
