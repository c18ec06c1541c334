import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic.shadow import Mirror
from switchyard.errors import InvalidInput

VARIANTS = ["sklearn", "torch", "tensorflow", "onnx"]
shares = st.dictionaries(st.sampled_from(VARIANTS), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
draws = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.1, 0.25, 0.5])


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan"), float("inf")])
def test_share_outside_0_to_1_is_refused(share):
    with pytest.raises(InvalidInput, match="shadow share of 'torch'"):
        Mirror({"torch": share})


@pytest.mark.parametrize("none", [{}, {"torch": 0.0}])
def test_without_shadows_there_is_nothing_to_draw(none):
    mirror = Mirror(none)
    assert not mirror
    assert mirror.targets("sklearn", 0.0) == ()


def test_full_shadow_sees_every_request_of_the_others():
    mirror = Mirror({"torch": 1.0, "tensorflow": 1.0})
    assert mirror
    for draw in (0.0, 0.5, 0.9999999999999999):
        assert mirror.targets("sklearn", draw) == ("torch", "tensorflow")
        assert mirror.targets("torch", draw) == ("tensorflow",)


@given(shares, st.sampled_from(VARIANTS), draws)
def test_each_shadow_is_a_target_exactly_below_its_share(shares, primary, draw):
    expected = tuple(v for v, share in shares.items() if v != primary and draw < share)
    assert Mirror(shares).targets(primary, draw) == expected


def test_shares_over_20_000_requests_lie_within_binomial_bounds():
    rng = random.Random(7)
    mirror = Mirror({"torch": 0.3, "tensorflow": 0.05})
    counts = {"torch": 0, "tensorflow": 0}
    for _ in range(20_000):
        for variant in mirror.targets("sklearn", rng.random()):
            counts[variant] += 1
    for variant, share in (("torch", 0.3), ("tensorflow", 0.05)):
        deviation = (20_000 * share * (1 - share)) ** 0.5
        assert abs(counts[variant] - 20_000 * share) < 4 * deviation
