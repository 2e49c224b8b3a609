"""One visit of a fetch worker to a feed: requested keys, the stream, the lanes, a reconciliation.

One snapshot is open at a time, and the next opens only when all that was read before is journalled: so
the order of the log is the order in which the source was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import pyarrow as pa

from headrace import metrics
from headrace.domain import digests, payload
from headrace.domain.digests import Provisional
from headrace.domain.events import key_json
from headrace.domain.position import Fence, Position, promised_class, saved_position
from headrace.domain.vocabulary import BatchKind, FeedClass, RunId, SourceId
from headrace.errors import RoutingChangedError
from headrace.ports import (
    Beyond,
    ClaimedFeed,
    Clock,
    ExactKeys,
    FeedPlan,
    Feeds,
    FeedState,
    JournalEntry,
    NewBatch,
    Nudge,
    NullCursors,
    Page,
    ReadPlan,
    Routes,
    Selection,
    Since,
    SourceReader,
)
from headrace.steps import reconcile
from headrace.steps.page import (
    CutPage,
    Key,
    canonical_keys,
    canonical_requests,
    cut,
    deletes,
    row_batches,
    seen_keys,
    share_a_key,
)

Progress = Callable[[SourceId, int], None]
"""Told after each journalled page: the source and how many rows were read."""

MANY = "many"
"""The digest of a lane with too many rows to be read at each poll."""
NOTHING = "nothing"
"""The digest of a lane without rows."""


def no_progress(_source: SourceId, _rows: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a visit.

    Attributes:
        page_rows, page_bytes: upper bounds of a page, whatever the source's schedule says.
        max_batches, max_bytes: unmerged batches of a feed in one data source, before it waits.
        lane_rows: a lane with more rows than this is read only with a reconciliation.
        key_requests: keys that are fetched by one statement, at most.
    """

    lease_s: float
    page_rows: int
    page_bytes: int
    max_batches: int
    max_bytes: int
    lane_rows: int = 10_000
    key_requests: int = 10_000

    def bounded(self, read: ReadPlan) -> ReadPlan:
        return replace(
            read,
            page_rows=min(read.page_rows, self.page_rows),
            page_bytes=min(read.page_bytes, self.page_bytes),
        )


@dataclass(slots=True, kw_only=True)
class Visit:
    """The state of one visit; `state` is always what the journal has."""

    claimed: ClaimedFeed
    plan: FeedPlan
    reader: SourceReader
    feeds: Feeds
    routes: Routes
    nudge: Nudge
    clock: Clock
    limits: Limits
    stopping: Callable[[], bool]
    run_id: RunId
    trigger: str
    progress: Progress
    state: FeedState
    rows_read: int = 0
    batches: int = 0
    rejected: int = 0
    invalid: int = 0
    complete: bool = True
    strays: int = 0
    """Times that keys which were asked for were journalled."""
    _open_rejected: frozenset[str] = field(default_factory=frozenset)
    _reads_many: bool = False
    """Lanes with many rows are read too: once for each reconciliation, by the visit that begins it."""
    _keys: dict[str, list[pa.Table] | None] = field(default_factory=dict)
    """By part: the key columns of the rows that its digest stands for, as this visit read them."""
    _class: tuple[FeedClass | None, str] = (None, "")

    def run(self) -> None:
        """Everything that is asked of the feed is journalled, or `complete` is False (see `must_yield`)."""
        if self.must_yield():
            self.complete = False
            return
        if self.plan.read.cursor is None:
            self._class = (FeedClass.EVENTUAL, "it has no cursor: each poll reads it whole")
        self._open_rejected = self.feeds.open_rejected_keys(self.claimed.lease.feed_id)
        self._reads_many = reconcile.begins(self)
        self.answer_requests()
        if self.complete:
            self.read_changes()
        if self.complete:
            reconcile.run(self)

    # --- what changed ---------------------------------------------------------------------------

    def read_changes(self) -> None:
        """Rows after the saved position are journalled up to the source's clock, and the lanes."""
        read = self.plan.read
        if read.cursor is None:
            return
        fence = self.reader.fence(read, self.state.fence_state)
        self._class = promised_class(self.plan.clock, fence)
        self._stream(fence)
        if not self.complete:
            return
        self._lane("null", NullCursors())
        if fence.now is not None and self.complete:
            self._lane("beyond", Beyond(fence.now))
        self._reads_many = False

    def _stream(self, fence: Fence) -> None:
        key = self.plan.read.key
        if not self._streamed(fence, Provisional(self.state.digests, key)):
            self._streamed(fence, Provisional({}, key))

    def _streamed(self, fence: Fence, provisional: Provisional) -> bool:
        """The stream is journalled. False, with nothing journalled: known rows that had passed turned out
        to be others than they were."""
        kind = BatchKind.ROWS if self.state.first_stream_done else BatchKind.LOAD
        with self.reader.read(self.plan.read, Since(self.state.saved, fence.now)) as pages:
            for page in pages:
                fresh = provisional.without_known(page.rows)
                if fresh is None:
                    return False
                state = self._advanced(page, fence, provisional, fresh)
                if provisional.undecided:
                    continue
                if fresh.num_rows:
                    self.journal(fresh, kind, state)
                elif state != self.state:
                    self.append((), state)
                if self.must_yield():
                    self.complete = False
                    return True
        if provisional.undecided:
            return False
        self._settle(fence, provisional)
        return True

    def _advanced(self, page: Page, fence: Fence, provisional: Provisional, fresh: pa.Table) -> FeedState:
        """The feed's state once the fresh rows of this page are journalled."""
        read = self.plan.read
        saved = saved_position(lead=page.end, fence=fence, rank=lambda text: self.reader.rank(read, text))
        start = self._first_provisional(page.rows, saved)
        provisional.keep(page.rows, start, anchor=self.reader.rank(read, saved.cursor))
        known, mark = self.state.digests, provisional.mark
        return replace(
            self.state,
            lead=page.end,
            saved=saved,
            fence_state=fence.state,
            digests={**(digests.all_stale(known) if fresh.num_rows else known), Provisional.PART: mark},
        )

    def _first_provisional(self, rows: pa.Table, saved: Position) -> int:
        """The index of the first row that a next poll from `saved` reads again (binary search)."""
        if saved.key is not None:
            return rows.num_rows
        read = self.plan.read
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
        self._keys[Provisional.PART] = provisional.keys
        state = replace(self.state, first_stream_done=True, fence_state=fence.state)
        if not provisional.mark and state.digests.get(Provisional.PART):
            state = replace(state, digests={**state.digests, Provisional.PART: ""})
        if state != self.state:
            self.append((), state)

    def _lane(self, name: str, selection: Selection) -> None:
        """Rows outside the order of cursors, journalled when they are not as last time."""
        known = self.state.digests
        if digests.was_last(known, name, MANY) and not self._reads_many:
            return
        with self.reader.read(self.plan.read, selection) as pages:
            few, more = _up_to(pages, self.limits.lane_rows)
            digest = MANY if more is not None else _digest(few)
            self._keys[name] = None if digest == MANY else [p.rows.select(self.plan.read.key) for p in few]
            if digest == NOTHING and name not in known:
                return
            if digest != MANY and digests.is_known(known, name, digest):
                return
            # Before its first page: who dies between pages must not leave a digest that allows to skip.
            going = replace(self.state, digests=digests.all_stale(known, but=self._untouched(name, digest)))
            for page in chain(few, [more] if more is not None else [], pages):
                self.journal(page.rows, BatchKind.ROWS, going)
                if self.stopping():
                    self.complete = False
                    return
        self.append((), replace(self.state, digests={**going.digests, name: digest}))

    def _untouched(self, lane: str, digest: str) -> set[str]:
        """The other parts none of whose rows, as this visit read them, is in the lane now.

        A row that was in one of them and is in the lane has moved between the two reads: the lane writes
        over what that part's digest stands for. A part that this visit has not read may have any of them;
        one of too many rows to be held is taken to have one when the lane has changed at all, or the two
        would wake each other at every poll.
        """
        rows = self._keys[lane]
        if rows is None:
            return set()
        if not rows:
            return set(self.state.digests) - {lane}
        same = digests.was_last(self.state.digests, lane, digest)
        others = {name: keys for name, keys in self._keys.items() if name != lane}
        return {
            name
            for name, keys in others.items()
            if (same if keys is None else not share_a_key(keys, rows, self.plan))
        }

    # --- requested keys -------------------------------------------------------------------------

    def answer_requests(self) -> None:
        """Keys that were asked for are fetched; those that the source lacks are deletes."""
        feed_id = self.claimed.lease.feed_id
        while requests := self.feeds.key_requests(feed_id, limit=self.limits.key_requests):
            wanted = canonical_requests([r.key for r in requests], self.plan)
            found: set[tuple[str | None, ...]] = set()
            if wanted:
                with self.reader.read(self.plan.read, ExactKeys(tuple(sorted(wanted)))) as pages:
                    for page in pages:
                        self.journal(page.rows, BatchKind.ROWS, self._all_stale())
                        found.update(canonical_keys(page.rows, self.plan))
            self.strays += 1
            gone = {asked: key for asked, key in wanted.items() if key not in found}
            self._journal_deletes(gone, answered=tuple(r.id for r in requests))
            if self.stopping():
                self.complete = False
                return

    def _journal_deletes(self, keys: Mapping[Key, Key], *, answered: tuple[int, ...]) -> None:
        """
        Args:
            keys: canonical texts by those that were asked for.
        """
        batches: list[NewBatch] = []
        if keys and self.plan.deletes != "ignore":
            table = deletes(sorted(set(keys.values())), self.plan)
            encoded = payload.encode(table)
            batches = [
                NewBatch(
                    data_source_id=target,
                    kind=BatchKind.ROWS,
                    rows=table.num_rows,
                    payload=encoded,
                )
                for target in self.feeds.written_data_sources(self.claimed.lease.feed_id)
            ]
        # A row that comes back as it was must be journalled again.
        state = self._all_stale() if batches else self.state
        closed = self._open_rejected & {key_json(key) for key in keys}
        self.append(batches, state, answered_requests=answered, seen_keys=tuple(sorted(closed)))

    def _all_stale(self) -> FeedState:
        return replace(self.state, digests=digests.all_stale(self.state.digests))

    # --- the journal ----------------------------------------------------------------------------

    def journal(
        self,
        rows: pa.Table,
        kind: BatchKind,
        state: FeedState,
        also: Callable[[CutPage], tuple[Sequence[NewBatch], Mapping[str, Any]]] | None = None,
    ) -> CutPage:
        """The rows are in the journal and the feed's state is `state`, in one transaction.

        Args:
            also: makes further batches of the same transaction, and more of the entry's fields.
        """
        for _ in range(10):
            page = cut(rows, self.plan, self.routes)
            batches: Sequence[NewBatch] = row_batches(page, kind)
            fields: Mapping[str, Any] = {}
            if also is not None:
                batches, fields = also(page)
            try:
                self.append(
                    batches,
                    state,
                    rejected=page.rejected,
                    seen_keys=seen_keys(page.accepted, self.plan, self._open_rejected),
                    rows_read=rows.num_rows,
                    routing_version=page.routing_version,
                    **fields,
                )
            except RoutingChangedError:
                continue
            for row in page.rejected:
                metrics.ROWS_REJECTED.labels(source=self.claimed.source_id, reason=row.code).inc()
            self._open_rejected |= {row.key for row in page.rejected}
            self.invalid += page.invalid
            return page
        raise RoutingChangedError("routing changes faster than a page can be resolved")

    def append(self, batches: Sequence[NewBatch], state: FeedState, **fields: Any) -> None:
        """One transaction of the journal; then merges are nudged."""
        feed_class, reason = self._class
        entry = JournalEntry(
            run_id=self.run_id,
            trigger=self.trigger,
            state=state,
            batches=batches,
            feed_class=feed_class,
            class_reason=reason,
            **fields,
        )
        self.feeds.append(self.claimed.lease, entry, lease_s=self.limits.lease_s)
        self.state = state
        self.rows_read += entry.rows_read
        self.batches += len(batches)
        self.rejected += len(entry.rejected)
        for target in dict.fromkeys(b.data_source_id for b in batches):
            self.nudge.merge(target, self.plan.source.model)
        self.progress(self.claimed.source_id, entry.rows_read)

    def must_yield(self) -> bool:
        """The process stops, or all that the feed writes to have more unmerged batches than they should."""
        if self.stopping():
            return True
        feed_id = self.claimed.lease.feed_id
        over = self.feeds.blocked_data_sources(
            feed_id, max_batches=self.limits.max_batches, max_bytes=self.limits.max_bytes
        )
        return bool(over) and over >= set(self.feeds.written_data_sources(feed_id))


def _up_to(pages: Iterator[Page], rows: int) -> tuple[list[Page], Page | None]:
    """Pages of at most `rows` rows together, and the next one if there are more."""
    few: list[Page] = []
    for page in pages:
        if sum(p.rows.num_rows for p in few) + page.rows.num_rows > rows:
            return few, page
        few.append(page)
    return few, None


def _digest(pages: Sequence[Page]) -> str:
    return payload.digest(pa.concat_tables([p.rows for p in pages])) if pages else NOTHING
