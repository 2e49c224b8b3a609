"""Reading one page ahead: the same pages, no more of them at once, and nothing that goes on after."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from headrace.domain.position import Position
from headrace.ports import Page
from headrace.sources.read_ahead import read_ahead

LONG = 5_000


def nothing() -> None: ...


def page(number: int, rows: int = LONG) -> Page:
    return Page(pa.table({"n": pa.repeat(number, rows)}), Position(str(number), None))


def numbers(pages: Iterator[Page]) -> list[str]:
    return [p.end.cursor for p in pages]


@pytest.mark.parametrize("rows", [0, 1, LONG])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_the_pages_are_the_same_in_the_same_order(rows: int, count: int) -> None:
    with read_ahead((page(n, rows) for n in range(count)), nothing) as pages:
        assert numbers(pages) == [str(n) for n in range(count)]


def test_one_page_at_most_is_read_before_it_is_asked_for() -> None:
    read: list[int] = []
    reached = threading.Event()

    def reading() -> Iterator[Page]:
        for n in range(9):
            read.append(n)
            if n == 1:
                reached.set()
            yield page(n)

    with read_ahead(reading(), nothing) as pages:
        next(pages)
        assert reached.wait(5)
    assert read == [0, 1]


def test_a_short_first_page_starts_no_thread() -> None:
    before = threading.active_count()
    with read_ahead((page(n, 1) for n in range(3)), nothing) as pages:
        next(pages)
        assert threading.active_count() == before


def test_what_fails_while_a_page_is_read_ahead_fails_where_it_is_asked_for() -> None:
    def failing() -> Iterator[Page]:
        yield page(0)
        raise ConnectionError("gone")

    with read_ahead(failing(), nothing) as pages:
        assert next(pages).end.cursor == "0"
        with pytest.raises(ConnectionError, match="gone"):
            next(pages)


def test_when_it_is_left_nothing_reads_any_more() -> None:
    inside = threading.Event()
    done: list[bool] = []

    def reading() -> Iterator[Page]:
        yield page(0)
        inside.set()
        done.append(True)
        yield page(1)

    with read_ahead(reading(), nothing) as pages:
        next(pages)
        assert inside.wait(5)
    assert done == [True]
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]


def test_leaving_ends_a_wait_for_a_source_that_stalls() -> None:
    left = threading.Event()

    def stalling() -> Iterator[Page]:
        yield page(0)
        assert left.wait(30)

    began_s = time.monotonic()
    with read_ahead(stalling(), left.set) as pages:
        next(pages)
    assert time.monotonic() - began_s < 10
