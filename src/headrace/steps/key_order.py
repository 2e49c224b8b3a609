"""A source's rows in the order of their keys, for reconciliations: piece by piece, or all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from headrace.domain import payload
from headrace.errors import SourceDriftError
from headrace.ports import FeedPlan, KeyRange, Page, ReadPlan, Reconciliation, SourceReader
from headrace.steps.page import canonical_keys, canonical_requests, complete

KEYS_PER_ROW = 8
"""A piece that is read for its keys alone has so many times the rows of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOrder:
    """Reads a feed's relation by key."""

    plan: FeedPlan
    reader: SourceReader

    def next_rows(self, reconciliation: Reconciliation) -> tuple[pa.Table, bool]:
        """The next rows by key, up to one whose key can bound a chunk, and whether the key space ends with
        them."""
        return self.rows_after(reconciliation.after, self._read_plan(reconciliation))

    def rows_after(self, after: tuple[str, ...] | None, read: ReadPlan) -> tuple[pa.Table, bool]:
        """The same of the columns that `read` names, after a key in the source's own texts."""
        with self.reader.read(read, KeyRange(after, None, read.page_rows)) as pages:
            page = next(pages, None)
            if page is None:
                return pa.table({name: pa.array([], pa.string()) for name in read.columns}), True
            last = page.rows.num_rows < read.page_rows and next(pages, None) is None
        return (page.rows if last else bounded(page.rows, self.plan)), last

    @contextmanager
    def all_rows(self, reconciliation: Reconciliation) -> Iterator[Iterator[Page]]:
        """Every row from one statement."""
        with self.reader.read(self._read_plan(reconciliation), KeyRange(None, None, None)) as pages:
            yield pages

    def no_rows(self, reconciliation: Reconciliation) -> pa.Table:
        names = self._read_plan(reconciliation).columns
        return pa.table({name: pa.array([], pa.string()) for name in names})

    def last_key(self, rows: pa.Table) -> tuple[str, ...]:
        """The key of the last row, in the source's own texts."""
        return tuple(rows.column(name)[-1].as_py() for name in self.plan.read.key)

    def bound(self, after: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The canonical texts of a key in the source's own, of a row that `bounded` has chosen."""
        return None if after is None else canonical_requests([after], self.plan)[after]

    def digest_of_nothing(self) -> payload.RowsDigest:
        """To be added to: blind to where the source's rows are cut, for polls and chunks cut differently."""
        digest = payload.RowsDigest()
        digest.add(pa.table({name: pa.array([], pa.string()) for name in self.plan.read.columns}))
        return digest

    def digest(self) -> str:
        """The digest of the whole relation as it is now."""
        digest = self.digest_of_nothing()
        with self.reader.read(self.plan.read, KeyRange(None, None, None)) as pages:
            for page in pages:
                digest.add(page.rows)
        return digest.hexdigest()

    def _read_plan(self, reconciliation: Reconciliation) -> ReadPlan:
        """All columns, or only those that say which rows are there and whose they are."""
        plan = self.plan
        if reconciliation.full:
            return plan.read
        columns = [*plan.read.key, plan.customer_column, plan.deleted_column]
        named = tuple(dict.fromkeys(c for c in columns if c is not None))
        return replace(plan.read, columns=named, page_rows=plan.read.page_rows * KEYS_PER_ROW)


def bounded(rows: pa.Table, plan: FeedPlan) -> pa.Table:
    """The rows without those at the end whose keys fit no type: they are read again with the next chunk."""
    for size in range(rows.num_rows, 0, -1):
        if complete(canonical_keys(rows.slice(size - 1, 1), plan)[0]) is not None:
            return rows.slice(0, size)
    raise SourceDriftError(
        f"source {plan.source.id}: no key of a whole page fits its type, the first is "
        f"{rows.select(plan.read.key).slice(0, 1).to_pylist()[0]}; mend the rows or the key's types"
    )
