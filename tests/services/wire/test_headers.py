from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wire.headers import ATTRIBUTES, media_type, option, take, take_attributes
from services.wire.request import Request
from switchyard.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (b"application/json", "application/json"),
        (b"Application/JSON; charset=utf-8", "application/json"),
        (b"text/csv;header=present", "text/csv"),
        (b"\xff", "\xff"),
        (b"", ""),
    ],
)
def test_media_types(given: bytes, kind: str) -> None:
    assert media_type({b"content-type": given}) == kind
    assert media_type({}) == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"text/csv; header=present", b"present"),
        (b"text/csv; charset=utf-8;HEADER = Absent", b"absent"),
        (b'text/csv; header="present"', b"present"),
        (b"text/csv; headers=present", None),
        (b"text/csv", None),
        (b"header=present", None),
    ],
)
def test_parameters_of_content_types(value: bytes, said: bytes | None) -> None:
    assert option(value, b"header") == said


def attributes(value: bytes, **given: Any) -> Request:
    request = Request([[1]], **given)
    take_attributes(request, {ATTRIBUTES: value})
    return request


def test_custom_attributes_name_what_predict_takes() -> None:
    request = attributes(b" endpoint = digits,key=user=17 ,variant=torch,timeout_ms=50.5,a=b,trace")
    assert request == Request([[1]], "digits", "user=17", "torch", 50.5)


def test_the_body_counts_before_the_attributes() -> None:
    request = attributes(b"endpoint=digits,timeout_ms=5", endpoint="flights", timeout_ms=9.0)
    assert (request.endpoint, request.timeout_ms) == ("flights", 9.0)


@pytest.mark.parametrize("value", [b"", b"trace-id", b"c000-4f9,,=,endpoint=,key", b"Endpoint=x"])
def test_what_is_not_for_us_belongs_to_the_caller(value: bytes) -> None:
    assert attributes(value) == Request([[1]])


@pytest.mark.parametrize("value", [b"timeout_ms=", b"timeout_ms=-1", b"timeout_ms=nan", b"a=\xff"])
def test_attributes_that_cannot_be_read_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidInput):
        attributes(value)


@given(st.binary(max_size=40))
def test_any_header_is_read_or_refused(value: bytes) -> None:
    option(value, b"header")
    media_type({b"content-type": value})
    for name in (b"x-switchyard-endpoint", b"x-request-timeout-ms", ATTRIBUTES):
        with contextlib.suppress(InvalidInput):
            take(Request([[1]]), {name: value})
            take_attributes(Request([[1]]), {name: value})
