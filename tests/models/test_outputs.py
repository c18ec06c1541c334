"""Outputs by name."""

import pytest

from models.outputs import choose
from switchyard.errors import ModelRefused


def test_one_of_several_outputs() -> None:
    assert choose(("only",), None) == choose(("only",), "only") == "only"
    assert choose(("a", "b"), "b") == "b"
    with pytest.raises(ModelRefused, match=r"has 2 outputs \(a, b\).*--output-name"):
        choose(("b", "a"), None)
    with pytest.raises(ModelRefused, match="has no output 'c'; it has a, b"):
        choose(("a", "b"), "c")
    with pytest.raises(ModelRefused, match="has no output 'c'; it has only"):
        choose(("only",), "c")
