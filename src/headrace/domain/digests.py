"""What a feed remembers of the parts of its source, so that an idle part is not journalled again.

A part (the rows that a poll reads again, a lane, a whole table) may be skipped while its digest is the
one that was journalled last, *and* no other part has journalled anything new since. Without the second
condition a row that leaves a part, is journalled elsewhere with other values, and comes back as it was
would be skipped, and its other values would stay in the store (tests/unit/test_digests.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

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


def chained(previous: str, rows: pa.Table) -> str:
    """The digest of pages read one after the other: depends on their cuts."""
    return blake2b((previous + payload.digest(rows)).encode(), digest_size=16).hexdigest()


class Provisional:
    """The rows that the next poll reads again, followed page by page while a stream is read.

    Its mark is `rows:digest`; empty when there are too many rows to remember.
    """

    PART = "provisional"

    def __init__(self, digests: Mapping[str, str], *, limit: int) -> None:
        self._digests = digests
        self._limit = limit
        self._first = True
        self._kept: list[pa.Table] | None = []
        self.changed = False

    def without_known(self, rows: pa.Table) -> pa.Table:
        """The page without the rows that are as they were journalled; call it once per page."""
        first, self._first = self._first, False
        last = self._digests.get(self.PART, "").removeprefix(STALE)
        count, _, digest = last.partition(":")
        if first and digest and int(count) <= rows.num_rows:
            known = rows.slice(0, int(count))
            if payload.digest(known) == digest:
                self.changed = rows.num_rows > int(count)
                skip = is_known(self._digests, self.PART, last)
                return rows.slice(int(count)) if skip else rows
        self.changed = True
        return rows

    def keep(self, rows: pa.Table, start: int) -> None:
        """The rows from `start` on will be read again; with 0, those kept of earlier pages too."""
        if start > 0:
            self._kept = []
        if self._kept is not None:
            self._kept.append(rows.slice(start))
            if sum(t.num_rows for t in self._kept) > self._limit:
                self._kept = None

    @property
    def mark(self) -> str:
        if self._kept is None:
            return ""
        rows = [t for t in self._kept if t.num_rows]
        if not rows:
            return ""
        table = pa.concat_tables(rows)
        return f"{table.num_rows}:{payload.digest(table)}"
