"""The rows of customers who move, read once more for the data source that they move to.

From a move's start every page that is journalled has its customers' rows for both data sources. What was
journalled before is read again here, chunk by chunk, each in a snapshot opened after every earlier page of
the feed was journalled: so the new data source's log too is in the order in which the source was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from headrace import logs
from headrace.domain.vocabulary import BatchKind
from headrace.ports import FeedMove, KeyRange, MoveProgress, SourceReader
from headrace.steps.feed_writer import FeedWriter
from headrace.steps.key_order import KeyOrder
from headrace.steps.page import row_batches

log = logs.get(__name__)


@dataclass(slots=True, kw_only=True)
class MoveReading:
    """Reads a feed for the moves that are under way.

    Attributes:
        poll: reads what was asked for or changed meanwhile; called between chunks. False: the visit must
            yield.
        pages: times that rows were journalled: rows of any part may be among them.
        waits: a data source takes no more now; the rest of the visit does not wait for the move into it.
    """

    writer: FeedWriter
    reader: SourceReader
    poll: Callable[[], bool]
    pages: int = 0
    waits: bool = False

    def read(self) -> bool:
        """All rows of customers who move are journalled for where they move to, up to where that takes no
        more; False: the visit must yield before."""
        self.waits = False
        for move in self.writer.feeds.moves(self.writer.claimed.lease.feed_id):
            if not self._read(move):
                return False
            # Who merges there ends the move; it may have had nothing to merge.
            self.writer.nudge.merge(move.into, self.writer.plan.source.model)
        return True

    def _read(self, move: FeedMove) -> bool:
        if self.writer.plan.customer is not None and self.writer.plan.customer not in move.customers:
            self._note(move, after=None, done=True)
            return True
        if self._is_full(move):
            return True
        log.info("rows are read for a move", move=move.id, into=move.into)
        return self._chunks(move) if self.writer.plan.chunkable else self._whole(move)

    def _chunks(self, move: FeedMove) -> bool:
        order = KeyOrder(plan=self.writer.plan, reader=self.reader)
        after, last = move.after, False
        while not last and not self._is_full(move):
            rows, last = order.rows_after(after, self.writer.plan.read)
            after = None if last else order.last_key(rows)
            self._journal(rows, move, after=after, done=last)
            if not self.poll() or (not last and self.writer.must_yield()):
                return False
        return True

    def _is_full(self, move: FeedMove) -> bool:
        full = move.into in self.writer.cut or move.into in self.writer.over_limit()
        self.waits |= full
        return full

    def _whole(self, move: FeedMove) -> bool:
        """From one statement: of keys whose order is not known nobody can tell what comes after one."""
        with self.reader.read(self.writer.plan.read, KeyRange(None, None, None)) as pages:
            for rows in (page.rows for page in pages):
                self._journal(rows, move, after=None, done=False)
                if self.writer.stopping():
                    return False
        self._note(move, after=None, done=True)
        return self.poll()

    def _journal(self, rows: pa.Table, move: FeedMove, *, after: tuple[str, ...] | None, done: bool) -> None:
        own = self._own(rows, move)
        if not own.num_rows:
            self._note(move, after=after, done=done)
            return
        self.pages += 1
        self.writer.journal(
            own,
            # Seen for the new data source alone: a part that is again as it was before must not be skipped.
            self.writer.all_stale(),
            lambda page: row_batches(page, BatchKind.ROWS, only=move.into),
            move=MoveProgress(move_id=move.id, after=after, done=done),
        )

    def _note(self, move: FeedMove, *, after: tuple[str, ...] | None, done: bool) -> None:
        progress = MoveProgress(move_id=move.id, after=after, done=done)
        self.writer.append((), self.writer.state, move=progress)

    def _own(self, rows: pa.Table, move: FeedMove) -> pa.Table:
        """The rows of customers who move; others who live where they move to are there already."""
        column = self.writer.plan.customer_column
        if column is None:
            return rows
        own = pa.array(move.customers, pa.string())
        return rows.filter(pc.is_in(rows.column(column), value_set=own))
