"""Reads one page while the one before it is journalled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from headrace.ports import Page

_LEAST_ROWS: Final = 5_000
"""A first page of fewer rows is mostly the last one too: not worth a thread."""


@contextmanager
def read_ahead(pages: Iterator[Page], leave: Callable[[], None]) -> Iterator[Iterator[Page]]:
    """The same pages in the same order, of one snapshot; one of them at most is read before it is asked for.
    When the context is left nothing reads any more.

    Args:
        leave: ends a wait for a source that stalls; called when the context is left, which waits for that.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as beside:
        try:
            yield _ahead(pages, beside)
        finally:
            leave()


def _ahead(pages: Iterator[Page], beside: ThreadPoolExecutor) -> Iterator[Page]:
    first = next(pages, None)
    if first is None or first.rows.num_rows < _LEAST_ROWS:
        if first is not None:
            yield first
        yield from pages
        return
    page: Page | None = first
    while page is not None:
        coming = beside.submit(next, pages, None)
        yield page
        page = coming.result()
