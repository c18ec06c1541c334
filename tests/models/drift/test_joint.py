import numpy as np
import pytest

from models.drift.joint import control_name, statistic


def test_benjamini_hochberg_rejects_at_simes_level():
    p_values = np.array([[0.01, 0.5, 0.9, 0.9], [0.02, 0.02, 0.02, 0.02], [1.0, 1.0, 1.0, 1.0]])
    found = statistic(control_name("bh", 0.3), p_values)
    assert found == pytest.approx([0.04, 0.02, 1.0])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 0.1), (0.1, 0.1), (0.3, 0.3), (0.35, 0.3), (0.9, 0.9)]
)
def test_a_share_of_the_fields_takes_so_many_of_them(share, expected):
    p_values = np.arange(1, 11)[None] / 10
    assert statistic(control_name("share", share), p_values) == pytest.approx([expected])
