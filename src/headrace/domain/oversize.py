"""Cells that are too big to travel: a reader sends a mark in their place.

The mark begins with a NUL, which no property type takes: so a marked cell is unfit wherever a value is
looked at, and what only passes texts on (digests, pages) need not know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.domain.arrow import Array, BooleanArray, pa, pc

MARK: Final = "\0oversized:"
BEGINNING_CHARACTERS: Final = 1_000
"""Of an oversized text that are kept, where a source gives them without reading the rest."""


@dataclass(frozen=True, slots=True)
class Oversized:
    """A cell that stayed in its source.

    Attributes:
        size: bytes that it has there, or of the text that would have shown it.
        limit: bytes that a cell may have.
        beginning: its first characters; may be empty.
    """

    size: int
    limit: int
    beginning: str = ""

    @property
    def mark(self) -> str:
        return f"{MARK}{self.size}:{self.limit}:{self.beginning}"

    @property
    def reason(self) -> str:
        return f"has {self.size:,} bytes, more than the {self.limit:,} that HEADRACE_MAX_CELL_BYTES allows"


def oversized(text: str | None) -> Oversized | None:
    """What the mark says; None when the text is no mark."""
    if text is None or not text.startswith(MARK):
        return None
    size, limit, beginning = text.removeprefix(MARK).split(":", 2)
    return Oversized(int(size), int(limit), beginning)


def is_oversized(texts: Array) -> BooleanArray:
    """True where a text is a mark, never null."""
    return pc.fill_null(pc.starts_with(texts, MARK), False)


def mark_oversized(texts: Array, limit: int) -> Array:
    """The texts (utf8) with a mark in the place of each that has more than `limit` bytes: for readers
    whose source cannot leave such a cell where it is."""
    sizes = pc.binary_length(texts)
    if not (pc.max(sizes).as_py() or 0) > limit:
        return texts
    too_big = pc.fill_null(pc.greater(sizes, limit), False)
    beginnings = pc.utf8_slice_codeunits(texts.filter(too_big), 0, BEGINNING_CHARACTERS).to_pylist()
    found = zip(sizes.filter(too_big).to_pylist(), beginnings, strict=True)
    marks = [Oversized(size, limit, beginning).mark for size, beginning in found]
    return pc.replace_with_mask(texts, too_big, pa.array(marks, pa.string()))
