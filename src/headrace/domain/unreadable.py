"""Lines of a source that are no rows: a reader sends a mark in the place of the key's first part.

The mark begins with a NUL, which no property type takes: so such a row is set aside wherever its key is
looked at, with the reason that the mark carries, and what only passes texts on need not know of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headrace.domain.arrow import Array, pc

_MARK: Final = "\0unreadable:"


def unreadable_mark(reason: str) -> str:
    """The mark of a line that is no row; the reason is for a person, and says which line."""
    return _MARK + reason.replace("\0", "\ufffd")


def unreadable_reason(text: str | None) -> str | None:
    """Why the line with this mark is no row; None when the text is no mark."""
    return text.removeprefix(_MARK) if text is not None and text.startswith(_MARK) else None


def unreadable_rows(texts: Array) -> Iterator[tuple[int, str]]:
    """The index of each text that is a mark, and its reason."""
    marked = pc.fill_null(pc.starts_with(texts, _MARK), False)
    for row in pc.indices_nonzero(marked).to_pylist():
        yield row, str(unreadable_reason(texts[row].as_py()))
