"""What differs is told in one sentence each; what was not sent may be anything."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.sagemaker.compare import differences

SENT: dict[str, Any] = {
    "Name": "m",
    "Environment": {"MODE": "static", "URL": "${DB_URL}"},
    "Variants": [{"VariantName": "a", "Weight": 0.3}, {"VariantName": "b", "Weight": 0.7}],
    "Subnets": ["s-1", "s-2"],
    "Tags": [{"Key": "k", "Value": "v"}],
}


def changed(**changes: Any) -> dict[str, Any]:
    return {key: each for key, each in {**SENT, **changes}.items() if key != "Tags"}


def test_what_is_as_it_was_sent_differs_in_nothing() -> None:
    weights = [
        {"VariantName": "b", "Weight": 0.699999988079071, "Count": 1},
        {"VariantName": "a", "Weight": 0.30000001192092896},
    ]
    seen = changed(
        Variants=weights, Arn="arn:x", Environment={"MODE": "static", "URL": "postgresql://secret"}
    )
    assert differences("It", SENT, seen) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Name": "other"}, "It: Name was sent as m and is other."),
        ({"Environment": {"URL": "x"}}, "It: Environment.MODE was sent as static and is nothing."),
        ({"Environment": None}, "It: Environment was sent as something and is nothing."),
        (
            {"Variants": [{"VariantName": "a", "Weight": 0.3}]},
            "It: Variants.b was sent as something and is nothing.",
        ),
        (
            {"Variants": [*SENT["Variants"], {"VariantName": "c"}]},
            "It: Variants.c was sent as nothing and is something.",
        ),
        (
            {"Variants": [{"VariantName": "a", "Weight": 0.9}, SENT["Variants"][1]]},
            "It: Variants.a.Weight was sent as 0.3 and is 0.9.",
        ),
        ({"Subnets": ["s-1", "s-3"]}, "It: Subnets.1 was sent as s-2 and is s-3."),
    ],
)
def test_what_differs_is_named(changes: dict[str, Any], said: str) -> None:
    assert differences("It", SENT, changed(**changes)) == [said]
