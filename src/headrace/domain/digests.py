"""What a feed remembers of the parts of its source, so that an idle part is not journalled again.

A part (the rows that a poll reads again, a lane, a whole table) may be skipped while its digest is the
one that was journalled last, *and* no other part has journalled anything new since. Without the second
condition a row that leaves a part, is journalled elsewhere with other values, and comes back as it was
would be skipped, and its other values would stay in the store (tests/unit/test_digests.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headrace.domain import payload

STALE = "~"
"""Marks a digest that tells a change from no change, but no longer allows to skip."""


def is_known(digests: Mapping[str, str], part: str, digest: str) -> bool:
    """The part may be skipped."""
    return digests.get(part) == digest


def was_last(digests: Mapping[str, str], part: str, digest: str) -> bool:
    """The part has not changed since it was last journalled, although it may not be skipped."""
    return digests.get(part, "").removeprefix(STALE) == digest


def journalled(digests: Mapping[str, str], part: str, digest: str, *, changed: bool) -> dict[str, str]:
    """The digests after a part was journalled; when it had changed, the others are stale."""
    others = {name: d for name, d in digests.items() if name != part}
    return {**(all_stale(others) if changed else others), part: digest}


def all_stale(digests: Mapping[str, str]) -> dict[str, str]:
    """The digests after rows of no part (requested keys, a reconciliation) were journalled."""
    return {name: d if d.startswith(STALE) else STALE + d for name, d in digests.items()}


class Provisional:
    """The rows that the next poll reads again, followed page by page while a stream is read.

    Its mark is `rows:digest`, empty when there are none; it does not tell how the rows were cut into pages.
    """

    PART = "provisional"

    def __init__(self, digests: Mapping[str, str]) -> None:
        mark = digests.get(self.PART, "")
        count, _, self._digest = mark.removeprefix(STALE).partition(":")
        self._left = int(count or 0)
        self._skips = is_known(digests, self.PART, mark.removeprefix(STALE))
        self._seen = payload.RowsDigest()
        self._kept = payload.RowsDigest()
        self._anchor: Any = None
        self.changed = not self._left

    @property
    def undecided(self) -> bool:
        """Known rows have passed, but not all of them: nobody can tell yet whether they are the same."""
        return self._left > 0

    def without_known(self, rows: pa.Table) -> pa.Table | None:
        """The page without the rows that are as they were journalled; call it once per page.

        None: they are not, and earlier pages of them have passed: read again, by a `Provisional({})`.
        """
        if not self._left:
            self.changed = True
            return rows
        first = not self._seen.rows
        if first and self._left > rows.num_rows and not self._skips:
            self._left, self.changed = 0, True
            return rows
        known = rows.slice(0, self._left)
        self._seen.add(known)
        self._left -= known.num_rows
        if self._left:
            return known.slice(0, 0)
        if self._seen.hexdigest() == self._digest:
            self.changed = rows.num_rows > known.num_rows
            return rows.slice(known.num_rows) if self._skips else rows
        self.changed = True
        return rows if first else None

    def keep(self, rows: pa.Table, start: int, *, anchor: object) -> None:
        """The rows from `start` on will be read again; with 0, those kept of earlier pages too, as long
        as reading resumes at the same place.

        Args:
            anchor: the rank of the cursor that reading resumes at.
        """
        if start > 0 or anchor != self._anchor:
            self._kept = payload.RowsDigest()
        self._anchor = anchor
        self._kept.add(rows.slice(start))

    @property
    def mark(self) -> str:
        return f"{self._kept.rows}:{self._kept.hexdigest()}" if self._kept.rows else ""
