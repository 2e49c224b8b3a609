"""Compare a source with what the store has of it, chunk by chunk, through the feed's own log.

Chunks tile the key space, (-inf, k1], (k1, k2], … (kn, +inf). Each is one statement in a snapshot that
opens after every earlier page of the feed was journalled, and is journalled before the next is read; the
merge notes the keys that a chunk lacks, and removes at the end what no later row brought back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain import digests, payload
from headrace.domain.vocabulary import ARROW_TYPES, CUSTOMER, DELETED, BatchKind, DataSourceId
from headrace.errors import SourceDriftError
from headrace.ports import FeedState, KeyChunk, KeyRange, NewBatch, ReadPlan, Reconciliation
from headrace.steps.chunk import chunk_meta
from headrace.steps.page import CutPage, canonical_keys, canonical_requests, complete, row_batches

if TYPE_CHECKING:
    from headrace.steps.visit import Visit

WHOLE = "whole"
KEYS_PER_ROW = 4
"""A chunk that is read for its keys alone has so many times the rows of a page."""


def run(visit: Visit) -> None:
    """What was asked for, is due, or was under way is reconciled; between chunks the feed is polled."""
    if visit.claimed.confirm:
        _confirm(visit)
    for wanted in _wanted(visit):
        resumed = visit.state.reconciliation
        if not _same(resumed, wanted) or not visit.plan.chunkable:
            visit.append((), replace(visit.state, reconciliation=wanted))
        _finish(visit)
        if not visit.complete:
            return


def _wanted(visit: Visit) -> list[Reconciliation]:
    """The reconciliations to do now: one into each new log, then the one for all data sources."""
    asked = visit.claimed.reconcile
    wanted = [_begun(full=True, into=target) for target in visit.claimed.reconcile_into]
    if visit.plan.read.cursor is None:
        if asked or not _unchanged(visit):
            wanted.append(_begun(full=True))
    elif asked:
        wanted.append(_begun(full=asked == "full"))
    return wanted


def begins(visit: Visit) -> bool:
    """A reconciliation is asked for that was not under way before this visit."""
    asked = visit.claimed.reconcile
    return asked is not None and not _same(visit.state.reconciliation, _begun(full=asked == "full"))


def _begun(*, full: bool, into: DataSourceId | None = None) -> Reconciliation:
    return Reconciliation(id=str(uuid4()), full=full, into=into)


def _same(resumed: Reconciliation | None, wanted: Reconciliation) -> bool:
    """A reconciliation of the same kind is under way: it goes on where it was left."""
    return resumed is not None and (resumed.full, resumed.into) == (wanted.full, wanted.into)


def _unchanged(visit: Visit) -> bool:
    """A source without a cursor is, read whole, as it was journalled last.

    Reading it twice when it changed is the price for journalling nothing when it did not.
    """
    known = visit.state.digests.get(WHOLE)
    if known is None or known.startswith(digests.STALE):
        return False
    digest = _digest_of_nothing(visit)
    with visit.reader.read(visit.plan.read, KeyRange(None, None, None)) as pages:
        for page in pages:
            digest.add(page.rows)
    return digests.is_known(visit.state.digests, WHOLE, digest.hexdigest())


def _digest_of_nothing(visit: Visit) -> payload.RowsDigest:
    """To be added to: blind to where the source's rows are cut, for polls and chunks cut differently."""
    digest = payload.RowsDigest()
    digest.add(pa.table({name: pa.array([], pa.string()) for name in visit.plan.read.columns}))
    return digest


def _confirm(visit: Visit) -> None:
    """Remove what a breaker held back: journalled like all else, so that the log keeps its order."""
    chunk = KeyChunk(reconciliation=str(uuid4()), opens=False, confirmed=True)
    nothing = _keys_of(visit, None)
    targets = visit.feeds.written_data_sources(visit.claimed.lease.feed_id)
    batches = [_keys_batch(target, nothing, chunk) for target in targets]
    stale = replace(visit.state, digests=digests.all_stale(visit.state.digests))
    visit.append(batches, stale, confirmed=True)


def _finish(visit: Visit) -> None:
    """The reconciliation under way is journalled to its end, unless backpressure stops it."""
    if not visit.plan.chunkable:
        _whole(visit)
        return
    begun = visit.state.reconciliation
    from_start = begun is not None and begun.after is None
    strays, digest = visit.strays, _digest_of_nothing(visit)
    while (under_way := visit.state.reconciliation) is not None:
        rows, last = _next_rows(visit, under_way)
        if visit.plan.read.cursor is None:
            digest.add(rows)
        known = digest.hexdigest() if from_start and strays == visit.strays else None
        _journal_chunk(visit, under_way, rows, last=last, digest=known)
        if last:
            return
        visit.answer_requests()
        if visit.complete:
            visit.read_changes()
        if not visit.complete or visit.must_yield():
            visit.complete = False
            return


def _read_plan(visit: Visit, reconciliation: Reconciliation) -> ReadPlan:
    """All columns, or only those that say which rows are there and whose they are."""
    plan = visit.plan
    if reconciliation.full:
        return plan.read
    columns = [*plan.read.key, plan.customer_column, plan.deleted_column]
    named = tuple(dict.fromkeys(c for c in columns if c is not None))
    return replace(plan.read, columns=named, page_rows=plan.read.page_rows * KEYS_PER_ROW)


def _empty_read(visit: Visit, reconciliation: Reconciliation) -> pa.Table:
    names = _read_plan(visit, reconciliation).columns
    return pa.table({name: pa.array([], pa.string()) for name in names})


def _next_rows(visit: Visit, reconciliation: Reconciliation) -> tuple[pa.Table, bool]:
    """The next rows by key, up to one whose key can bound a chunk, and whether the key space ends with
    them."""
    read = _read_plan(visit, reconciliation)
    selection = KeyRange(reconciliation.after, None, read.page_rows)
    with visit.reader.read(read, selection) as pages:
        page = next(pages, None)
        if page is None:
            return _empty_read(visit, reconciliation), True
        last = page.rows.num_rows < read.page_rows and next(pages, None) is None
    return (page.rows if last else _bounded(visit, page.rows)), last


def _bounded(visit: Visit, rows: pa.Table) -> pa.Table:
    """The rows without those at the end whose keys fit no type: they are read again with the next chunk."""
    for size in range(rows.num_rows, 0, -1):
        if complete(canonical_keys(rows.slice(size - 1, 1), visit.plan)[0]) is not None:
            return rows.slice(0, size)
    raise SourceDriftError(
        f"source {visit.plan.source.id}: no key of a whole page fits its type, the first is "
        f"{rows.select(visit.plan.read.key).slice(0, 1).to_pylist()[0]}; mend the rows or the key's types"
    )


def _journal_chunk(
    visit: Visit, under_way: Reconciliation, rows: pa.Table, *, last: bool, digest: str | None
) -> None:
    after = _bound(visit, under_way.after)
    resume = None if last else tuple(rows.column(name)[-1].as_py() for name in visit.plan.read.key)
    upto = _bound(visit, resume)
    chunk = KeyChunk(
        reconciliation=under_way.id,
        after=after,
        upto=upto,
        closes=last,
        forbid_removal=visit.plan.deletes == "ignore",
    )
    following = None if last else replace(under_way, after=resume)
    state = _state(visit, under_way, following, digest)
    _journal(visit, under_way, rows, chunk, state)


def _whole(visit: Visit) -> None:
    """One chunk of several batches from one statement: keys whose order the store does not share."""
    under_way = visit.state.reconciliation
    if under_way is None:
        return
    read = _read_plan(visit, under_way)
    digest, opens = _digest_of_nothing(visit), True
    chunk = KeyChunk(reconciliation=under_way.id, forbid_removal=visit.plan.deletes == "ignore")
    with visit.reader.read(read, KeyRange(None, None, None)) as pages:
        page = next(pages, None)
        while True:
            following = next(pages, None) if page is not None else None
            rows = page.rows if page is not None else _empty_read(visit, under_way)
            digest.add(rows)
            last = following is None
            part = replace(chunk, opens=opens, closes=last)
            state = _state(visit, under_way, None if last else under_way, digest.hexdigest())
            _journal(visit, under_way, rows, part, state)
            if last:
                return
            if visit.stopping():
                visit.complete = False
                return
            page, opens = following, False


def _state(
    visit: Visit, under_way: Reconciliation, following: Reconciliation | None, digest: str | None
) -> FeedState:
    """The feed's state once a chunk is journalled.

    Parts are stale from a chunk on that has rows, and from the end, where missing rows are removed: one may
    have come back as it was. A source without a cursor is remembered by its digest, but only when this very
    visit has read it from the start to the end, and journalled nothing else of it meanwhile.
    """
    state = replace(visit.state, reconciliation=following)
    if under_way.full or following is None:
        state = replace(state, digests=digests.all_stale(state.digests))
    if visit.plan.read.cursor is not None or following is not None:
        return state
    state = replace(state, first_stream_done=True)
    if digest is None or under_way.into is not None:
        return state
    return replace(state, digests={WHOLE: digest})


def _journal(
    visit: Visit, under_way: Reconciliation, rows: pa.Table, chunk: KeyChunk, state: FeedState
) -> None:
    """Rows (when full) and then keys of one chunk, for every data source that the feed writes to."""

    def batches(page: CutPage) -> tuple[Sequence[NewBatch], Mapping[str, Any]]:
        kind = BatchKind.ROWS if visit.state.first_stream_done else BatchKind.LOAD
        into = under_way.into
        made = list(row_batches(page, kind, only=into)) if under_way.full else []
        written = visit.feeds.written_data_sources(visit.claimed.lease.feed_id)
        targets = [into] if into is not None else sorted({*written, *page.events})
        for target in targets:
            keys = _keys_of(visit, page.events.get(target))
            made.append(_keys_batch(target, keys, chunk))
        fields = {"finished_reconcile": under_way} if chunk.closes else {}
        return made, fields

    visit.journal(rows, BatchKind.ROWS, state, also=batches)


def _keys_of(visit: Visit, table: pa.Table | None) -> pa.Table:
    """Key columns and customer of the rows that are there (not soft-deleted)."""
    key = visit.plan.source.key
    if table is None:
        schema = pa.schema([(c.name, ARROW_TYPES[c.type]) for c in key] + [(CUSTOMER, pa.string())])
        return schema.empty_table()
    there = table.filter(pc.invert(table.column(DELETED)))
    return there.select([*(c.name for c in key), CUSTOMER])


def _keys_batch(target: DataSourceId, keys: pa.Table, chunk: KeyChunk) -> NewBatch:
    return NewBatch(
        data_source_id=target,
        kind=BatchKind.KEYS,
        rows=keys.num_rows,
        payload=payload.encode(keys),
        meta=chunk_meta(chunk),
    )


def _bound(visit: Visit, after: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The canonical texts of a key in the source's own, which `_bounded` has chosen."""
    if after is None:
        return None
    return canonical_requests([after], visit.plan)[after]
