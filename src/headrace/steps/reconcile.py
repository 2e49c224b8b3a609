"""Compare a source with what the store has of it, chunk by chunk, through the feed's own log.

Chunks tile the key space, (-inf, k1], (k1, k2], … (kn, +inf). Each is one statement in a snapshot that
opens after every earlier page of the feed was journalled, and is journalled before the next is read; the
merge notes the keys that a chunk lacks, and removes at the end what no later row brought back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

import pyarrow as pa

from headrace import logs
from headrace.domain import digests
from headrace.domain.unreadable import has_unreadable
from headrace.domain.vocabulary import BatchKind, DataSourceId
from headrace.ports import ClaimedFeed, FeedState, KeyChunk, NewBatch, Reconciliation
from headrace.steps.chunk import keys_batch, keys_of
from headrace.steps.feed_writer import FeedWriter
from headrace.steps.key_order import KeyOrder
from headrace.steps.page import CutPage, row_batches
from headrace.steps.silence import silence_meta

log = logs.get(__name__)

WHOLE = "whole"


def begins(claimed: ClaimedFeed) -> bool:
    """A reconciliation is asked for that is not under way yet; keys are also answered for by a full one, as
    which they are asked for where they do not suffice."""
    asked, under_way = claimed.reconcile, claimed.state.reconciliation
    if asked is None or _same(under_way, _begun(full=True)):
        return False
    return asked == "full" or not _same(under_way, _begun(full=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """Reconciles one feed during a visit.

    Attributes:
        poll: reads what was asked for or changed meanwhile; called between chunks. False: the visit must
            yield.
        answers: times that requested keys were journalled so far: rows of any part may be among them.
    """

    writer: FeedWriter
    source: KeyOrder
    poll: Callable[[], bool]
    answers: Callable[[], int]

    def run(self) -> bool:
        """What was asked for, is due, or was under way is reconciled; False: up to where the visit must
        yield."""
        if self.writer.claimed.confirm:
            self._confirm()
        for wanted in self._wanted():
            state = self.writer.state
            if not _same(state.reconciliation, wanted) or not self.writer.plan.chunkable:
                self.writer.append((), replace(state, reconciliation=wanted))
            begun = self.writer.state.reconciliation
            if not self._finish():
                return False
            if begun is not None and begun.after is None:
                self._close_readable()
        return True

    def _close_readable(self) -> None:
        """All of the source was read: of its lines that are no rows, those that this visit did not find are
        gone. A line has no key by which rows could supersede it."""
        writer = self.writer
        if writer.open_rejected - writer.unreadable:
            writer.append((), writer.state, unreadable=tuple(sorted(writer.unreadable)))

    def _wanted(self) -> list[Reconciliation]:
        """The reconciliations to do now: one into each new log, then the one for all data sources."""
        claimed = self.writer.claimed
        wanted = [_begun(full=True, into=target) for target in claimed.reconcile_into]
        if self.writer.plan.read.cursor is None:
            if claimed.reconcile or not self._unchanged():
                wanted.append(_begun(full=True))
        elif claimed.reconcile:
            wanted.append(_begun(full=claimed.reconcile == "full"))
        return wanted

    def _unchanged(self) -> bool:
        """A source without a cursor is, read whole, as it was journalled last.

        Reading it twice when it changed is the price for journalling nothing when it did not.
        """
        known = self.writer.state.digests.get(WHOLE)
        if known is None or known.startswith(digests.STALE):
            return False
        return digests.is_known(self.writer.state.digests, WHOLE, self.source.digest())

    def _confirm(self) -> None:
        """Remove what a breaker held back: journalled like all else, so that the log keeps its order."""
        chunk = KeyChunk(reconciliation=str(uuid4()), opens=False, confirmed=True)
        nothing = keys_of(self.writer.plan.source, None)
        batches = [keys_batch(target, nothing, chunk) for target in self.writer.written_to()]
        self.writer.append(batches, self.writer.all_stale(), confirmed=True)

    def _finish(self) -> bool:
        """The reconciliation under way is journalled to its end, or up to where the visit must yield."""
        return self._chunks() if self.writer.plan.chunkable else self._whole()

    def _chunks(self) -> bool:
        begun = self.writer.state.reconciliation
        from_start = begun is not None and begun.after is None
        answers, digest = self.answers(), self.source.digest_of_nothing()
        while (under_way := self.writer.state.reconciliation) is not None:
            rows, last = self.source.next_rows(under_way)
            if self.writer.plan.read.cursor is None:
                digest.add(rows)
            known = digest.hexdigest() if from_start and answers == self.answers() else None
            self._journal_chunk(under_way, rows, last=last, digest=known)
            if last:
                return True
            if not self.poll() or self.writer.must_yield():
                return False
        return True

    def _journal_chunk(
        self, under_way: Reconciliation, rows: pa.Table, *, last: bool, digest: str | None
    ) -> None:
        resume = None if last else self.source.last_key(rows)
        under_way = self._told(under_way, rows)
        chunk = KeyChunk(
            reconciliation=under_way.id,
            after=self.source.bound(under_way.after),
            upto=self.source.bound(resume),
            closes=last,
            forbid_removal=self.writer.plan.deletes == "ignore",
            incomplete=under_way.incomplete,
            repairs=last and self._repairs(under_way),
        )
        following = None if last else replace(under_way, after=resume)
        self._journal(under_way, rows, chunk, self._state(under_way, following, digest))

    def _whole(self) -> bool:
        """One chunk of several batches from one statement: keys whose order the store does not share."""
        under_way = self.writer.state.reconciliation
        if under_way is None:
            return True
        digest, opens = self.source.digest_of_nothing(), True
        chunk = KeyChunk(reconciliation=under_way.id, forbid_removal=self.writer.plan.deletes == "ignore")
        with self.source.all_rows(under_way) as pages:
            page = next(pages, None)
            while True:
                following = next(pages, None) if page is not None else None
                rows = page.rows if page is not None else self.source.no_rows(under_way)
                digest.add(rows)
                last = following is None
                under_way = self._told(under_way, rows)
                repairs = last and self._repairs(under_way)
                part = replace(
                    chunk, opens=opens, closes=last, repairs=repairs, incomplete=under_way.incomplete
                )
                state = self._state(under_way, None if last else under_way, digest.hexdigest())
                self._journal(under_way, rows, part, state)
                if last:
                    return True
                if self.writer.stopping():
                    return False
                page, opens = following, False

    def _told(self, under_way: Reconciliation, rows: pa.Table) -> Reconciliation:
        """The reconciliation once these rows are read. A line that is no row may be that of any record: none
        may be removed for not being there, until all lines can be read or a person confirms it."""
        first = self.writer.plan.read.key[0]
        if under_way.incomplete or not has_unreadable(rows.column(first)):
            return under_way
        log.warning(
            "lines are no rows: what would be removed is held",
            feed=self.writer.claimed.lease.feed_id,
            source=self.writer.claimed.source_id,
        )
        return replace(under_way, incomplete=True)

    def _repairs(self, under_way: Reconciliation) -> bool:
        """Somebody asked for all values, or their schedule did. That a source without a cursor has changed,
        or that a log began anew, says nothing against the records that are there."""
        return under_way.full and under_way.into is None and self.writer.claimed.reconcile == "full"

    def _state(
        self, under_way: Reconciliation, following: Reconciliation | None, digest: str | None
    ) -> FeedState:
        """The feed's state once a chunk is journalled.

        Parts are stale from a chunk on that has rows, and from the end, where missing rows are removed: one
        may have come back as it was. A source without a cursor is remembered by its digest, but only when
        this very visit has read it from the start to the end, and journalled nothing else of it meanwhile.
        """
        state = replace(self.writer.state, reconciliation=following)
        if under_way.full or following is None:
            state = replace(state, digests=digests.all_stale(state.digests))
        if self.writer.plan.read.cursor is not None or following is not None:
            return state
        state = replace(state, first_stream_done=True)
        if digest is None or under_way.into is not None:
            return state
        return replace(state, digests={WHOLE: digest})

    def _journal(self, under_way: Reconciliation, rows: pa.Table, chunk: KeyChunk, state: FeedState) -> None:
        """Rows (when full) and then keys of one chunk, for every data source that the feed writes to."""
        kind = BatchKind.ROWS if self.writer.state.first_stream_done else BatchKind.LOAD

        def batches(page: CutPage) -> Sequence[NewBatch]:
            into, source = under_way.into, self.writer.plan.source
            made = list(row_batches(page, kind, only=into)) if under_way.full else []
            targets = [into] if into is not None else sorted({*self.writer.written_to(), *page.events})
            for target in targets:
                silence = silence_meta(page.routing, target)
                made.append(keys_batch(target, keys_of(source, page.events.get(target)), chunk, silence))
            return made

        self.writer.journal(rows, state, batches, finished=under_way if chunk.closes else None)


def _begun(*, full: bool, into: DataSourceId | None = None) -> Reconciliation:
    return Reconciliation(id=str(uuid4()), full=full, into=into)


def _same(resumed: Reconciliation | None, wanted: Reconciliation) -> bool:
    """A reconciliation of the same kind is under way: it goes on where it was left."""
    return resumed is not None and (resumed.full, resumed.into) == (wanted.full, wanted.into)
