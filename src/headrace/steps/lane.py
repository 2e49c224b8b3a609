"""Rows outside the order of cursors (null ones, and those beyond the source's clock), by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain

import pyarrow as pa

from headrace.domain import digests, payload
from headrace.ports import Page, Selection, SourceReader
from headrace.steps.feed_writer import FeedWriter
from headrace.steps.limits import Limits
from headrace.steps.page import share_a_key

MANY = "many"
"""The digest of a lane with too many rows to be read at each poll."""
NOTHING = "nothing"
"""The digest of a lane without rows."""

KeysRead = dict[str, list[pa.Table] | None]
"""By part: the key columns of the rows that its digest stands for, as this visit read them; None: too many
to be held."""


@dataclass(slots=True, kw_only=True)
class Lanes:
    """Reads lanes into the feed's log, each when it is not as last time.

    Attributes:
        reads_many: lanes with many rows are read too.
        nothing_new: lanes have no rows: what there is not is not read.
    """

    writer: FeedWriter
    reader: SourceReader
    keys: KeysRead
    reads_many: bool = False
    nothing_new: bool = False

    def read(self, name: str, selection: Selection) -> bool:
        """The lane is journalled, or was already; False: the process was asked to stop before its end."""
        known = self.writer.state.digests
        if digests.was_last(known, name, MANY) and not self.reads_many:
            return True
        with self._pages(selection) as pages:
            few, more = _few(pages, self.writer.limits)
            digest = MANY if more is not None else _digest(few)
            key = self.writer.plan.read.key
            self.keys[name] = None if digest == MANY else [p.rows.select(key) for p in few]
            if digest == NOTHING and name not in known:
                return True
            if digest != MANY and digests.is_known(known, name, digest):
                return True
            return self._journal(name, digest, chain(few, [more] if more is not None else [], pages))

    def _pages(self, selection: Selection) -> AbstractContextManager[Iterator[Page]]:
        return (
            nullcontext(iter(())) if self.nothing_new else self.reader.read(self.writer.plan.read, selection)
        )

    def _journal(self, name: str, digest: str, pages: Iterator[Page]) -> bool:
        """The pages are journalled, and then the digest that stands for them."""
        known = self.writer.state
        # Before its first page: who dies between pages must not leave a digest that allows to skip.
        going = digests.all_stale(known.digests, but=self._untouched(name, digest))
        for page in pages:
            self.writer.journal_rows(page.rows, replace(known, digests=going))
            if self.writer.stopping():
                return False
        self.writer.append((), replace(known, digests={**going, name: digest}))
        return True

    def _untouched(self, lane: str, digest: str) -> set[str]:
        """The other parts none of whose rows, as this visit read them, is in the lane now.

        A row that was in one of them and is in the lane has moved between the two reads: the lane writes
        over what that part's digest stands for. A part that this visit has not read may have any of them;
        one of too many rows to be held is taken to have one when the lane has changed at all, or the two
        would wake each other at every poll.
        """
        rows, known = self.keys[lane], self.writer.state.digests
        if rows is None:
            return set()
        if not rows:
            return set(known) - {lane}
        same = digests.was_last(known, lane, digest)
        others = {name: keys for name, keys in self.keys.items() if name != lane}
        return {
            name
            for name, keys in others.items()
            if (same if keys is None else not share_a_key(keys, rows, self.writer.plan))
        }


def _few(pages: Iterator[Page], limits: Limits) -> tuple[list[Page], Page | None]:
    """The pages of a small lane; or those that are held already when it turns out not to be, and the next."""
    few: list[Page] = []
    rows = size = 0
    for page in pages:
        rows, size = rows + page.rows.num_rows, size + page.rows.nbytes
        if rows > limits.lane_rows or size > limits.lane_bytes:
            return few, page
        few.append(page)
    return few, None


def _digest(pages: Sequence[Page]) -> str:
    return payload.digest(pa.concat_tables([p.rows for p in pages])) if pages else NOTHING
