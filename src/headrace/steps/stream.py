"""The rows of a feed in the order of its cursor: what is new, and what may still come behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from headrace.domain import digests
from headrace.domain.digests import Provisional
from headrace.domain.position import Fence, Position, saved_position
from headrace.domain.vocabulary import BatchKind
from headrace.ports import FeedState, Page, Since, SourceReader
from headrace.steps.feed_writer import FeedWriter
from headrace.steps.lane import KeysRead


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Reads a feed from its saved position up to the source's clock."""

    writer: FeedWriter
    reader: SourceReader
    keys: KeysRead

    def read(self, fence: Fence) -> bool:
        """The stream is journalled to its end; False: the visit must yield before."""
        provisional = Provisional(self.writer.state.digests, self.writer.plan.read.key)
        ended = self._streamed(fence, provisional)
        if ended is None:
            ended = self._streamed(fence, Provisional({}, self.writer.plan.read.key))
        return ended is not False

    def _streamed(self, fence: Fence, provisional: Provisional) -> bool | None:
        """True: the stream is journalled; False: up to where the visit must yield. None, with nothing
        journalled: known rows that had passed turned out to be others than they were."""
        writer = self.writer
        kind = BatchKind.ROWS if writer.state.first_stream_done else BatchKind.LOAD
        with self.reader.read(writer.plan.read, Since(writer.state.saved, fence.now)) as pages:
            for page in pages:
                fresh = provisional.without_known(page.rows)
                if fresh is None:
                    return None
                state = self._advanced(page, fence, provisional, fresh)
                if provisional.undecided:
                    continue
                if fresh.num_rows:
                    writer.journal_rows(fresh, state, kind)
                elif state != writer.state:
                    writer.append((), state)
                if writer.must_yield():
                    return False
        if provisional.undecided:
            return None
        self._settle(fence, provisional)
        return True

    def _advanced(self, page: Page, fence: Fence, provisional: Provisional, fresh: pa.Table) -> FeedState:
        """The feed's state once the fresh rows of this page are journalled."""
        read, known = self.writer.plan.read, self.writer.state.digests
        saved = saved_position(lead=page.end, fence=fence, rank=lambda text: self.reader.rank(read, text))
        start = self._first_provisional(page.rows, saved)
        provisional.keep(page.rows, start, anchor=self.reader.rank(read, saved.cursor))
        return replace(
            self.writer.state,
            lead=page.end,
            saved=saved,
            fence_state=fence.state,
            digests={
                **(digests.all_stale(known) if fresh.num_rows else known),
                Provisional.PART: provisional.mark,
            },
        )

    def _first_provisional(self, rows: pa.Table, saved: Position) -> int:
        """The index of the first row that a next poll from `saved` reads again (binary search)."""
        if saved.key is not None:
            return rows.num_rows
        read = self.writer.plan.read
        cursors, bound = rows.column(str(read.cursor)), self.reader.rank(read, saved.cursor)
        low, high = 0, rows.num_rows
        while low < high:
            middle = (low + high) // 2
            if self.reader.rank(read, cursors[middle].as_py()) < bound:
                low = middle + 1
            else:
                high = middle
        return low

    def _settle(self, fence: Fence, provisional: Provisional) -> None:
        """The stream came to its end: note so, what the fence alone moves, and that no row is provisional
        any more when none came."""
        self.keys[Provisional.PART] = provisional.keys
        state = replace(self.writer.state, first_stream_done=True, fence_state=fence.state)
        if not provisional.mark and state.digests.get(Provisional.PART):
            state = replace(state, digests={**state.digests, Provisional.PART: ""})
        if state != self.writer.state:
            self.writer.append((), state)
