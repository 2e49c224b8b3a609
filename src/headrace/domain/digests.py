"""What a feed remembers of the parts of its source, so that an idle part is not journalled again.

A part (the rows that a poll reads again, a lane, a whole table) may be skipped while its digest is the
one that was noted last and is not *stale*. What holds of a digest that is not stale: each row that it
stands for was journalled last with the very values that it stands for. So a source that gives the same
digest again may be skipped, however often its rows have left the part and come back meanwhile.

Therefore rows that are journalled make every other part stale, except one whose keys, as they were when
its digest was taken, are none of theirs: no value that its digest stands for was written over
(tests/unit/test_digests.py, tests/integration/test_steps_fetch.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headrace.domain import payload

STALE = "~"
"""Marks a digest that tells a change from no change, but no longer allows to skip."""


KEYS_HELD = 1_000_000
"""Keys of provisional rows that a poll holds in memory, at most: some 30 MB."""


def is_known(digests: Mapping[str, str], part: str, digest: str) -> bool:
    """The part may be skipped."""
    return digests.get(part) == digest


def was_last(digests: Mapping[str, str], part: str, digest: str) -> bool:
    """The part has not changed since it was last journalled, although it may not be skipped."""
    return digests.get(part, "").removeprefix(STALE) == digest


def all_stale(digests: Mapping[str, str], *, but: Collection[str] = ()) -> dict[str, str]:
    """The digests after rows were journalled that may be rows of any part but these."""
    return {name: d if name in but or d.startswith(STALE) else STALE + d for name, d in digests.items()}


def is_of(mark: str, kept: payload.RowsDigest) -> bool:
    """The mark, stale or not, stands for these rows."""
    return mark.removeprefix(STALE) == mark_of(kept)


def remarked(mark: str, kept: payload.RowsDigest) -> str:
    """The mark of these rows, stale if it was."""
    return STALE * mark.startswith(STALE) + mark_of(kept)


class Provisional:
    """The rows that the next poll reads again, followed page by page while a stream is read.

    Its mark is `rows:digest`, empty when there are none; it does not tell how the rows were cut into pages.
    """

    PART = "provisional"

    def __init__(self, digests: Mapping[str, str], key: Sequence[str]) -> None:
        """
        Args:
            key: the columns of the source's key.
        """
        mark = digests.get(self.PART, "")
        count, _, self._digest = mark.removeprefix(STALE).partition(":")
        self._left = int(count or 0)
        self._skips = is_known(digests, self.PART, mark.removeprefix(STALE))
        self._seen = payload.RowsDigest()
        self._kept = payload.RowsDigest()
        self._anchor: Any = None
        self._first: tuple[pa.Table, int] | None = None
        self._key = list(key)
        self._keys: list[pa.Table] = []

    @property
    def undecided(self) -> bool:
        """Known rows have passed, but not all of them: nobody can tell yet whether they are the same."""
        return self._left > 0

    def without_known(self, rows: pa.Table) -> pa.Table | None:
        """The page without the rows that are as they were journalled; call it once per page.

        None: they are not, and earlier pages of them have passed: read again, by a `Provisional({})`.
        """
        if not self._left:
            return rows
        first = not self._seen.rows
        if first and self._left > rows.num_rows and not self._skips:
            self._left = 0
            return rows
        known = rows.slice(0, self._left)
        self._seen.add(known)
        self._left -= known.num_rows
        if self._left:
            return known.slice(0, 0)
        if self._seen.hexdigest() == self._digest:
            return rows.slice(known.num_rows) if self._skips else rows
        return rows if first else None

    def keep(self, rows: pa.Table, start: int, *, anchor: object) -> None:
        """The rows from `start` on will be read again; with 0, those kept of earlier pages too, as long
        as reading resumes at the same place.

        Args:
            anchor: the rank of the cursor that reading resumes at.
        """
        if start > 0 or anchor != self._anchor:
            self._kept, self._keys, self._first = payload.RowsDigest(), [], None
        self._anchor = anchor
        if self._first is None and start < rows.num_rows:
            self._first = rows, start
        self._kept.add(rows.slice(start))
        self._keys.append(rows.slice(start).select(self._key))

    @property
    def keys(self) -> list[pa.Table] | None:
        """The keys of the rows that the mark stands for; None when they are too many to be held."""
        return self._keys if self._kept.rows <= KEYS_HELD else None

    @property
    def kept(self) -> payload.RowsDigest:
        """Of the rows that will be read again: rows that are read after them can be added."""
        return self._kept

    def first(self, column: str) -> str | None:
        """A column of the first row that will be read again, None when there is none."""
        if self._first is None:
            return None
        rows, index = self._first
        text: str = rows.column(column)[index].as_py()
        return text

    @property
    def mark(self) -> str:
        return mark_of(self._kept)


def mark_of(kept: payload.RowsDigest) -> str:
    """The digest of provisional rows: how many, and what they are; empty when there are none."""
    return f"{kept.rows}:{kept.hexdigest()}" if kept.rows else ""
