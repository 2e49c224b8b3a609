"""Cuts a stream of rows into pages of bounded rows and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

Piece = TypeVar("Piece")

_FIRST_STEP = 16
_GROWTH = 8


def cut_pages(
    take: Callable[[int], Piece | None],
    weigh: Callable[[Piece], tuple[int, int]],
    *,
    page_rows: int,
    page_bytes: int,
) -> Iterator[list[Piece]]:
    """Yield each page as its pieces, in order; a page ends at `page_rows`, or with the piece that brings it
    to `page_bytes`.

    `take(n)` gives the next piece of at most n rows, None at the end; `weigh` its (rows, bytes). Steps
    grow only as far as the rows seen so far promise to fit, so wide rows cannot swell a page.
    """
    step, average = _FIRST_STEP, 0.0
    ended = False
    while not ended:
        pieces: list[Piece] = []
        rows = size = 0
        while rows < page_rows and size < page_bytes:
            fitting = int((page_bytes - size) / average) + 1 if average else step
            piece = take(max(1, min(step, page_rows - rows, fitting)))
            if piece is None:
                ended = True
                break
            got, weight = weigh(piece)
            pieces.append(piece)
            rows, size = rows + got, size + weight
            average = max(weight / max(got, 1), 1.0)
            step = min(step * _GROWTH, page_rows)
        if pieces:
            yield pieces
