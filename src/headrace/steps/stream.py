"""The rows of a feed in the order of its cursor: what is new, and what may still come behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from headrace import logs, metrics
from headrace.domain import digests, payload
from headrace.domain.cursor_time import cursor_times, is_when_changed
from headrace.domain.digests import Provisional
from headrace.domain.position import Fence, Position, is_stranded, lowered, saved_position
from headrace.domain.reread import FenceMemory, Reread, is_tied, resumes_at
from headrace.domain.vocabulary import BatchKind, FeedId
from headrace.ports import Clock, FeedState, Page, Since, SourceReader
from headrace.steps.feed_writer import FeedWriter
from headrace.steps.lane import KeysRead

log = logs.get(__name__)

Kept = dict[FeedId, payload.RowsDigest]
"""The digests of provisional rows that this process can add to; only a hint: a mark of the feed's state
says whether one is still right."""


@dataclass(slots=True, kw_only=True)
class Stream:
    """Reads a feed up to the source's clock: from its saved position, or only from its lead.

    Attributes:
        unmetered: a re-read that is due is done whatever re-reads have cost: somebody waits for it.
        put_off: what is provisional was not read again by the last `read`.
        nothing_new: no row lies after the saved position: what there is not is not read.
    """

    writer: FeedWriter
    reader: SourceReader
    clock: Clock
    keys: KeysRead
    kept: Kept
    unmetered: bool = False
    put_off: bool = False
    nothing_new: bool = False

    def read(self, fence: Fence) -> bool:
        """The stream is journalled to its end; False: the visit must yield before."""
        if self._go_back(fence):
            self.nothing_new = False
        known = FenceMemory.from_text(self.writer.state.fence_state).reread
        self.put_off = self._only_ahead(fence, known)
        if self.put_off:
            return self._ahead(fence, known)
        behind = _Behind(self, fence, known)
        ended = behind.read(Provisional(self.writer.state.digests, self.writer.plan.read.key))
        if ended is None:
            ended = behind.read(Provisional({}, self.writer.plan.read.key))
        return ended is not False

    def pages(self, after: Position | None, fence: Fence) -> AbstractContextManager[Iterator[Page]]:
        """The rows after a position, up to the source's clock."""
        if self.nothing_new:
            return nullcontext(iter(()))
        return self.reader.read(self.writer.plan.read, Since(after, fence.now))

    def rank(self, cursor: str) -> Any:
        return self.reader.rank(self.writer.plan.read, cursor)

    def rows_below(self, rows: pa.Table, cursor: str, *, or_equal: bool) -> int:
        """How many of the rows, ordered by cursor, are below this one (binary search)."""
        cursors, bound = rows.column(str(self.writer.plan.read.cursor)), self.rank(cursor)
        low, high = 0, rows.num_rows
        while low < high:
            middle = (low + high) // 2
            rank = self.rank(cursors[middle].as_py())
            if rank < bound or (or_equal and rank == bound):
                low = middle + 1
            else:
                high = middle
        return low

    def changed_at(self, rows: pa.Table, fence: Fence) -> datetime | None:
        """When the first of the rows, in order of the cursor, changed; None where the cursor does not say,
        and of a first load, whose rows are as old as their table."""
        plan, loads = self.writer.plan, not self.writer.state.first_stream_done
        if loads or fence.now is None or not is_when_changed(plan.clock):
            return None
        oldest: str = rows.column(str(plan.read.cursor))[0].as_py()
        return cursor_times([oldest], plan.read.time_zone)[0]

    def settle(self, state: FeedState) -> None:
        """The stream came to its end: note so, with what the fence alone moves."""
        state = replace(state, first_stream_done=True)
        if replace(state, fence_state=self.writer.state.fence_state) == self.writer.state:
            if state != self.writer.state:
                self.writer.remember(state.fence_state)
            return
        loaded = not self.writer.state.first_stream_done
        self.writer.append((), state)
        if loaded:
            self.writer.nudge_merges()

    def _go_back(self, fence: Fence) -> bool:
        """The position is no higher than where rows may have come since the source's clock was set back, and
        is none when no clock could have come there. Tells whether it is another one."""
        state, source = self.writer.state, self.writer.claimed.source_id
        saved = lowered(state.saved, fence, self.rank)
        if saved != state.saved:
            log.warning("the source's clock was set back", source=source, resumes_at=fence.resume)
            metrics.CLOCK_STEPS.labels(source=source).inc()
        elif is_stranded(saved, fence, self.rank):
            log.warning("the feed had read past the source's clock: it is read again", source=source)
            saved = None
        else:
            return False
        marked = {**state.digests, Provisional.PART: ""}
        self.writer.append((), replace(state, saved=saved, lead=saved, digests=marked))
        return True

    def _only_ahead(self, fence: Fence, known: Reread) -> bool:
        """There are provisional rows, and they are not to be read again now."""
        state, now = self.writer.state, self.clock.now()
        due = known.is_due(fence, now=now, rank=self.rank)
        share = self.writer.limits.reread_share
        affordable = self.unmetered or known.is_affordable(now=now, share=share)
        return resumes_at(state.saved, state.lead, due=due, affordable=affordable) != state.saved

    def _ahead(self, fence: Fence, known: Reread) -> bool:
        """Rows after the lead are journalled; what is provisional stays so."""
        writer = self.writer
        kind = BatchKind.ROWS if writer.state.first_stream_done else BatchKind.LOAD
        with self.pages(writer.state.lead, fence) as pages:
            for page in pages:
                changed_at = self.changed_at(page.rows, fence)
                writer.journal_rows(page.rows, self._led(page, fence, known), kind, changed_at=changed_at)
                if writer.must_yield():
                    return False
        known = FenceMemory.from_text(writer.state.fence_state).reread
        self.settle(replace(writer.state, fence_state=self._polled(fence, known, writer.state.lead)))
        return True

    def _polled(self, fence: Fence, known: Reread, lead: Position | None) -> str:
        ahead = lead != self.writer.state.lead
        tied = is_tied(lead, fence, self.rank)
        return _text(fence, known.polled(fence, tied=tied, ahead=ahead))

    def _led(self, page: Page, fence: Fence, known: Reread) -> FeedState:
        """The feed's state once a page after the lead is journalled.

        Its rows may be newer versions of provisional ones: the mark may allow to skip those only if it
        stands for the page too, for then it tells of no rows that a source can have.
        """
        self.keys.pop(Provisional.PART, None)
        state = self.writer.state
        mark, stale = state.digests.get(Provisional.PART, ""), digests.all_stale(state.digests)
        kept = self.kept.get(self.writer.claimed.lease.feed_id)
        if kept is not None and digests.is_of(mark, kept):
            kept.add(page.rows)
            stale[Provisional.PART] = digests.remarked(mark, kept)
        return replace(
            state,
            lead=page.end,
            fence_state=self._polled(fence, known, page.end),
            digests=stale,
        )


@dataclass(slots=True)
class _Behind:
    """Reads a feed from its saved position, dropping what is as it was journalled."""

    stream: Stream
    fence: Fence
    known: Reread
    took: timedelta = field(default_factory=timedelta)
    """The time that went into rows up to what was the lead."""

    def read(self, provisional: Provisional) -> bool | None:
        """True: the stream is journalled; False: up to where the visit must yield. None, with nothing
        journalled: known rows that had passed turned out to be others than they were."""
        stream, writer = self.stream, self.stream.writer
        kind = BatchKind.ROWS if writer.state.first_stream_done else BatchKind.LOAD
        lead = writer.state.lead
        with stream.pages(writer.state.saved, self.fence) as pages:
            for page in self._timed(pages, lead):
                fresh = provisional.without_known(page.rows)
                if fresh is None:
                    return None
                state = self._advanced(page, provisional, fresh)
                if provisional.undecided:
                    continue
                if fresh.num_rows:
                    changed_at = stream.changed_at(fresh, self.fence)
                    writer.journal_rows(fresh, state, kind, changed_at=changed_at)
                elif state != writer.state:
                    writer.append((), state)
                if writer.must_yield():
                    return False
        if provisional.undecided:
            return None
        self._settle(provisional)
        return True

    def _timed(self, pages: Iterator[Page], lead: Position | None) -> Iterator[Page]:
        """The pages; the time that each takes until the next is wanted counts by its rows up to `lead`."""
        clock = self.stream.clock
        begun = clock.monotonic()
        for page in pages:
            yield page
            now = clock.monotonic()
            if lead is not None:
                behind = self.stream.rows_below(page.rows, lead.cursor, or_equal=True)
                self.took += timedelta(seconds=(now - begun) * behind / page.rows.num_rows)
            begun = now

    def _advanced(self, page: Page, provisional: Provisional, fresh: pa.Table) -> FeedState:
        """The feed's state once the fresh rows of this page are journalled."""
        stream, known = self.stream, self.stream.writer.state.digests
        saved = saved_position(lead=page.end, fence=self.fence, rank=stream.rank)
        start = page.rows.num_rows
        if saved.key is None:
            start = stream.rows_below(page.rows, saved.cursor, or_equal=False)
        provisional.keep(page.rows, start, anchor=stream.rank(saved.cursor))
        stream.kept[stream.writer.claimed.lease.feed_id] = provisional.kept
        return replace(
            stream.writer.state,
            lead=page.end,
            saved=saved,
            fence_state=self._text(provisional, page.end),
            digests={
                **(digests.all_stale(known) if fresh.num_rows else known),
                Provisional.PART: provisional.mark,
            },
        )

    def _settle(self, provisional: Provisional) -> None:
        """As `Stream.settle`; no row is provisional any more when none came."""
        stream = self.stream
        stream.keys[Provisional.PART] = provisional.keys
        state = stream.writer.state
        state = replace(state, fence_state=self._text(provisional, state.lead))
        if not provisional.mark and state.digests.get(Provisional.PART):
            state = replace(state, digests={**state.digests, Provisional.PART: ""})
        stream.settle(state)

    def _text(self, provisional: Provisional, lead: Position | None) -> str:
        writer = self.stream.writer
        first = provisional.first(str(writer.plan.read.cursor))
        reread = self.known.reread(
            self.fence,
            first=first,
            tied=is_tied(lead, self.fence, self.stream.rank),
            now=self.stream.clock.now(),
            took=self.took,
            share=writer.limits.reread_share,
        )
        return _text(self.fence, reread)


def _text(fence: Fence, reread: Reread) -> str:
    return FenceMemory(reader=fence.state, reread=reread).as_text()
