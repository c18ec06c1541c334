"""Only paths at which BentoML has something may reach it: each becomes a label of its metrics."""

from __future__ import annotations

import pytest

from services.pages import is_page


@pytest.mark.parametrize("path", ["/", "/docs.json", "/schema.json", "/metrics"])
def test_pages_are_bentomls(path: str) -> None:
    assert is_page(path)


def test_files_of_its_pages_are_bentomls() -> None:
    assert is_page("/static_content/index.css")


@pytest.mark.parametrize(
    "path",
    [
        "", "/metrics/", "/docs", "/static_content/", "/static_content/made-up.css",
        "/static_content/../index.css", "/assets/made-up.js", "/made-up",
    ],
)  # fmt: skip
def test_what_callers_make_up_is_not(path: str) -> None:
    assert not is_page(path)
