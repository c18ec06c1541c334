from __future__ import annotations

from typing import Any

import numpy as np
from counted import NOW

from models.drift.bins import Bins
from monitoring.live.book import MOST_SHEETS, Book
from monitoring.live.sheets import FIELDS, Sheet
from monitoring.live.slices import MOST_SLICES
from switchyard.records import DriftCount

SHEET = Sheet(FIELDS, "m:1", {"x": Bins(kind="numeric", edges=(0.0,)), "c": Bins.category("a")})


class Table:
    """The table of the state database."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], DriftCount] = {}

    def take(self, book: Book) -> None:
        news = book.news()
        for one in news.gone:
            self.rows.pop((one.endpoint, one.variant, one.model, one.slice), None)
        for one in news.changed:
            self.rows[one.endpoint, one.variant, one.model, one.slice] = one
        book.written(news)

    @property
    def total(self) -> int:
        return sum(one.rows for one in self.rows.values())


def add(book: Book, start: int, rows: int = 1, sheet: Sheet = SHEET) -> None:
    counts = np.array([rows, 0, 0, 0, rows, 0], np.int64)
    book.add("flights", sheet, start, rows, counts, NOW)


def test_a_new_book_has_no_news() -> None:
    assert not Book("w1").news()


def test_counts_add_up_and_are_news_until_they_are_written() -> None:
    book = Book("w1")
    add(book, 60, 2)
    add(book, 60, 3)
    news = book.news()
    (one,) = news.changed
    assert (one.rows, one.counts) == (5, {"x": [5, 0, 0], "c": [0, 5, 0]})
    assert one.updated.startswith("2026-01-01T12:00:30")
    assert book.news().changed == [one]  # the write failed
    book.written(news)
    assert not book.news()
    add(book, 60)
    assert [again.rows for again in book.news().changed] == [6]


def test_rows_that_come_while_it_writes_are_news_after() -> None:
    book = Book("w1")
    add(book, 60)
    news = book.news()
    add(book, 60, 4)
    book.written(news)
    assert [one.rows for one in book.news().changed] == [5]


def test_while_the_database_is_away_a_bounded_number_of_slices_waits() -> None:
    book = Book("w1")
    for start in range(10 * MOST_SLICES):
        add(book, start)
    news = book.news()
    assert [one.slice for one in news.changed] == [*range(9 * MOST_SLICES, 10 * MOST_SLICES)]
    assert not news.gone  # nobody knows of the others


def test_what_is_kept_no_more_is_taken_back_once() -> None:
    book, table = Book("w1"), Table()
    for start in range(MOST_SLICES):
        add(book, start)
    table.take(book)
    add(book, MOST_SLICES)
    assert [one.slice for one in book.news().gone] == [0]
    table.take(book)
    assert {one.slice for one in table.rows.values()} == {*range(1, MOST_SLICES + 1)}
    assert not book.news()


def test_a_slice_that_is_left_while_it_is_written_is_taken_back() -> None:
    book, table = Book("w1"), Table()
    add(book, 0)
    news = book.news()
    for start in range(1, MOST_SLICES + 1):
        add(book, start)
    for one in news.changed:
        table.rows[one.endpoint, one.variant, one.model, one.slice] = one
    book.written(news)
    table.take(book)
    assert table.total == MOST_SLICES
    assert 0 not in {one.slice for one in table.rows.values()}


def test_a_slice_that_comes_back_begins_anew() -> None:
    book, table = Book("w1"), Table()
    add(book, 0, 7)
    table.take(book)
    for start in range(1, MOST_SLICES + 1):
        add(book, start)
    add(book, 0, 3)
    table.take(book)
    assert next(one.rows for one in table.rows.values() if one.slice == 0) == 3
    table.take(book)
    assert table.total == MOST_SLICES - 1 + 3


def test_versions_without_end_do_not_pile_up() -> None:
    book, table = Book("w1"), Table()
    for version in range(3 * MOST_SHEETS):
        add(book, 60, sheet=Sheet(FIELDS, f"m:{version}", SHEET.bins))
        table.take(book)
    table.take(book)
    last = {f"m:{version}" for version in range(2 * MOST_SHEETS, 3 * MOST_SHEETS)}
    assert {one.model for one in table.rows.values()} == last
