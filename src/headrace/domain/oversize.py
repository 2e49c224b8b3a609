"""Cells that are too big to travel: a reader sends a mark in their place.

The mark begins with a NUL, which no property type takes: so a marked cell is unfit wherever a value is
looked at, and what only passes texts on (digests, pages) need not know of it.

It says the same in every process, so that digests of equal rows are equal. Hence a text of a source's own may
look like one: readers put a second NUL before those (`kept_apart`), which no property type takes either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from headrace.domain.arrow import Array, BooleanArray, pa, pc
from headrace.domain.unreadable import UNREADABLE

MARK: Final = "\0oversized:"
_FORM: Final = "\\x00oversized:([0-9]{1,18}):([0-9]{1,18}):"
_MARKED: Final = re.compile(_FORM)
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
    """What the mark says; None when the text is no mark, whatever it begins with."""
    found = None if text is None else _MARKED.match(text)
    if text is None or found is None:
        return None
    return Oversized(int(found[1]), int(found[2]), text[found.end() :])


def is_oversized(texts: Array) -> BooleanArray:
    """True where `oversized` finds a mark, never null."""
    begun = pc.fill_null(pc.starts_with(texts, MARK), False)
    if not pc.any(begun).as_py():
        return begun
    return pc.fill_null(pc.match_substring_regex(texts, f"^{_FORM}"), False)


def kept_apart(texts: Array) -> Array:
    """The texts as they are in a source, with one more NUL before each that would be taken for a mark, be it
    of such a cell or of a line that is no row."""
    begun = pc.fill_null(pc.starts_with(texts, MARK[0]), False)
    if not pc.any(begun).as_py():
        return texts
    alike = pc.or_(is_oversized(texts), pc.fill_null(pc.starts_with(texts, UNREADABLE), False))
    return pc.if_else(alike, pc.binary_join_element_wise("\0", texts, ""), texts)


def mark_oversized(texts: Array, limit: int) -> Array:
    """The source's own texts (utf8) with a mark in the place of each that has more than `limit` bytes: for
    readers whose source cannot leave such a cell where it is."""
    texts = kept_apart(texts)
    sizes = pc.binary_length(texts)
    if not (pc.max(sizes).as_py() or 0) > limit:
        return texts
    too_big = pc.fill_null(pc.greater(sizes, limit), False)
    beginnings = pc.utf8_slice_codeunits(texts.filter(too_big), 0, BEGINNING_CHARACTERS).to_pylist()
    found = zip(sizes.filter(too_big).to_pylist(), beginnings, strict=True)
    marks = [Oversized(size, limit, beginning).mark for size, beginning in found]
    return pc.replace_with_mask(texts, too_big, pa.array(marks, pa.string()))
