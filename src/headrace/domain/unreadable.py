"""Lines of a source that are no rows: a reader sends a mark in the place of the key's first part.

The mark begins with a NUL, which no property type takes: so such a row is set aside wherever its key is
looked at, with the reason that the mark carries, and what only passes texts on need not know of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from headrace.domain.arrow import Array, ChunkedArray, pc

UNREADABLE: Final = "\0unreadable:"
"""How each mark begins. Readers keep a source's own texts apart from it (`oversize.kept_apart`)."""
_PARTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A line that is no row.

    Attributes:
        at: which line it is; stands where rows have their keys.
        reason: why it is none, for a person.
        line: as the source has it, perhaps cut off.
    """

    at: str
    reason: str
    line: str

    @property
    def mark(self) -> str:
        return UNREADABLE + "\0".join(
            part.replace("\0", "\ufffd") for part in (self.at, self.reason, self.line)
        )

    @classmethod
    def from_text(cls, text: str | None) -> Self | None:
        """The line that the mark stands for; None when the text is no mark, whatever it begins with."""
        if text is None or not text.startswith(UNREADABLE):
            return None
        parts = text.removeprefix(UNREADABLE).split("\0")
        return cls(at=parts[0], reason=parts[1], line=parts[2]) if len(parts) == _PARTS else None


def has_unreadable(texts: Array | ChunkedArray) -> bool:
    """One of the texts is a mark."""
    marked = texts.filter(pc.fill_null(pc.starts_with(texts, UNREADABLE), False))
    return any(Unreadable.from_text(text) is not None for text in marked.to_pylist())


def unreadable_rows(texts: Array) -> Iterator[tuple[int, Unreadable]]:
    """The index of each text that is a mark, and its line."""
    marked = pc.fill_null(pc.starts_with(texts, UNREADABLE), False)
    for row in pc.indices_nonzero(marked).to_pylist():
        found = Unreadable.from_text(texts[row].as_py())
        if found is not None:
            yield row, found
