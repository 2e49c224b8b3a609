"""The statements of the journal's transaction: batches, what was set aside, and the state after them.

Order of locks, here and everywhere: feed, routing_version, feed_log, batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from headrace.control.engine import insert_in
from headrace.control.slices import slices
from headrace.control.state import columns_of, key_list, reconciliation
from headrace.control.tables import (
    RunState,
    batch,
    batch_payload,
    feed,
    feed_log,
    key_request,
    rejected_row,
    routing_version,
    run,
)
from headrace.control.types import from_now, now, seconds_named
from headrace.domain.events import RejectCode
from headrace.domain.vocabulary import BatchId, DataSourceId, FeedId, LogId
from headrace.errors import LeaseLostError, RoutingChangedError
from headrace.ports import JournalEntry, Lease, NewBatch, Reconciliation

# Statements are built once: building one and finding it in SQLAlchemy's cache by its structure costs
# four times what running it does.

HOLDS = sa.and_(
    feed.c.id == sa.bindparam("of_feed"),
    feed.c.epoch == sa.bindparam("of_epoch"),
    feed.c.lease_id == sa.bindparam("of_lease"),
)
"""The lease (`holder`) is still the feed's: the condition that opens everything a lease holder writes."""

RENEW = sa.update(feed).where(HOLDS).values(lease_until=from_now(seconds_named("lease_s")))
_OPEN_ENTRY = RENEW.returning(feed)
_HOLD_ROUTING = sa.select(routing_version.c.version).with_for_update(read=True)
_INSERT_BATCHES = sa.insert(batch).values(journalled_at=now())
_INSERT_PAYLOADS = sa.insert(batch_payload)
_RESOLVE_OPEN = (
    sa.update(rejected_row)
    .where(rejected_row.c.feed_id == sa.bindparam("of_feed"), rejected_row.c.state == "open")
    .values(state="resolved", last_seen=now())
)
_RESOLVE_VANISHED = _RESOLVE_OPEN.where(rejected_row.c.key.in_(sa.bindparam("keys", expanding=True)))
# What a data source refused is superseded when a later version is merged, which may be refused again.
_RESOLVE_REJECTED = _RESOLVE_VANISHED.where(rejected_row.c.refused_by == "")
# Such lines have no key by which a later page could supersede them.
_RESOLVE_READABLE = _RESOLVE_OPEN.where(
    rejected_row.c.code == RejectCode.UNREADABLE.value,
    rejected_row.c.key.not_in(sa.bindparam("unreadable", expanding=True)),
)
_ANSWER_REQUESTS = sa.delete(key_request).where(
    key_request.c.feed_id == sa.bindparam("of_feed"),
    key_request.c.id.in_(sa.bindparam("ids", expanding=True)),
)
_WRITE_STATE = sa.update(feed).where(feed.c.id == sa.bindparam("of_feed"))
_WRITE_STATE_AND_DUE = _WRITE_STATE.values(reconcile_due_at=from_now(seconds_named("reconciled_every_s")))
_INTO_LOG_IS_DONE = (
    sa.update(feed_log)
    .where(
        feed_log.c.feed_id == sa.bindparam("of_feed"),
        feed_log.c.data_source_id == sa.bindparam("into"),
        feed_log.c.asked_epoch < sa.bindparam("begun"),
    )
    .values(wants_reconcile=False)
)


@cache
def _advance_log(dialect: str) -> sa.Executable:
    insert = insert_in(dialect, feed_log)
    return insert.on_conflict_do_update(
        index_elements=[feed_log.c.feed_id, feed_log.c.data_source_id],
        set_={"seq": feed_log.c.seq + insert.excluded.seq},
    ).returning(feed_log.c.log_id, feed_log.c.seq)


@cache
def _set_aside(dialect: str) -> sa.Executable:
    insert = insert_in(dialect, rejected_row).values(first_seen=now(), last_seen=now())
    return insert.on_conflict_do_update(
        index_elements=[rejected_row.c.feed_id, rejected_row.c.key, rejected_row.c.refused_by],
        index_where=sa.text("state = 'open'"),
        set_={
            "code": insert.excluded.code,
            "reason": insert.excluded.reason,
            "raw": insert.excluded.raw,
            "last_seen": insert.excluded.last_seen,
            "attempts": rejected_row.c.attempts + 1,
        },
    )


@cache
def _count_run(dialect: str) -> sa.Executable:
    insert = insert_in(dialect, run).values(state=RunState.RUNNING.value, started_at=now())
    added = ("rows_read", "rows_journalled", "rejected")
    return insert.on_conflict_do_update(
        index_elements=[run.c.id],
        set_={name: run.c[name] + insert.excluded[name] for name in added}
        | {name: insert.excluded[name] for name in ("to_cursor", "to_key")},
    )


def holder(lease: Lease) -> dict[str, Any]:
    """The parameters of `HOLDS`."""
    return {"of_feed": lease.feed_id, "of_epoch": lease.epoch, "of_lease": lease.lease_id}


def open_entry(connection: sa.Connection, lease: Lease, *, lease_s: float) -> sa.Row[Any]:
    """Renew the lease and lock the feed's row until the commit; the row as it was journalled last.

    Raises:
        LeaseLostError: another worker has the feed.
    """
    row = connection.execute(_OPEN_ENTRY, {**holder(lease), "lease_s": lease_s}).one_or_none()
    if row is None:
        raise lease_lost(lease)
    return row


def lease_lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(f"feed {lease.feed_id}: the lease of epoch {lease.epoch} was taken over")


def hold_routing(connection: sa.Connection, version: int) -> None:
    """Keep routing as the page was resolved with until the commit (FOR SHARE; on SQLite the write lock).

    Raises:
        RoutingChangedError: it is another version by now.
    """
    current = connection.execute(_HOLD_ROUTING).scalar_one()
    if current != version:
        raise RoutingChangedError(f"routing is at version {current}, the page was resolved at {version}")


@dataclass(frozen=True, slots=True)
class Origin:
    """What batches come of: a poll's run (empty: none), and of its entry what `JournalEntry` says."""

    run_id: str
    changed_at: datetime | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    log_id: LogId
    next_seq: int


def append_batches(
    connection: sa.Connection,
    held: sa.Row[Any],
    batches: Sequence[NewBatch],
    *,
    origin: Origin,
    new_id: Callable[[], str],
) -> tuple[BatchId, ...]:
    """Write the batches at the ends of their logs, in order; the logs are made at their first batch.

    Args:
        held: the feed's row, locked.
    """
    if not batches:
        return ()
    places = _advance_logs(connection, held, batches, new_id=new_id)
    ids = tuple(BatchId(new_id()) for _ in batches)
    rows = []
    for batch_id, new in zip(ids, batches, strict=True):
        place = places[new.data_source_id]
        places[new.data_source_id] = _Place(place.log_id, place.next_seq + 1)
        rows.append(_batch_row(held, new, origin=origin, batch_id=batch_id, place=place))
    connection.execute(_INSERT_BATCHES, rows)
    payloads = [{"batch_id": i, "payload": new.payload} for i, new in zip(ids, batches, strict=True)]
    connection.execute(_INSERT_PAYLOADS, payloads)
    return ids


def _advance_logs(
    connection: sa.Connection,
    held: sa.Row[Any],
    batches: Sequence[NewBatch],
    *,
    new_id: Callable[[], str],
) -> dict[DataSourceId, _Place]:
    """Raise each log's seq by its number of batches; the feed's lock makes the numbers dense."""
    places = {}
    for data_source_id, count in sorted(Counter(b.data_source_id for b in batches).items()):
        row = connection.execute(
            _advance_log(connection.dialect.name),
            {
                "feed_id": held.id,
                "data_source_id": data_source_id,
                "model_id": held.model_id,
                "log_id": new_id(),
                "seq": count,
            },
        ).one()
        places[data_source_id] = _Place(LogId(row.log_id), row.seq - count + 1)
    return places


def _batch_row(
    held: sa.Row[Any], new: NewBatch, *, origin: Origin, batch_id: BatchId, place: _Place
) -> dict[str, Any]:
    return {
        "id": batch_id,
        "feed_id": held.id,
        "data_source_id": new.data_source_id,
        "model_id": held.model_id,
        "log_id": place.log_id,
        "seq": place.next_seq,
        "kind": new.kind.value,
        "rows": new.rows,
        "payload_bytes": len(new.payload),
        "meta": dict(new.meta),
        # Whoever changes it takes the lease away, so it is that of the plan the page was cut by.
        "shape_fingerprint": held.shape_fingerprint,
        "run_id": origin.run_id,
        "changed_at": origin.changed_at,
        "traceparent": origin.traceparent,
    }


def set_aside(connection: sa.Connection, feed_id: FeedId, entry: JournalEntry) -> None:
    """Close the rejected rows that the page supersedes, and open or refresh its own."""
    rejected = {row.key: row for row in entry.rejected}
    seen = [key for key in entry.seen_keys if key not in rejected]
    _resolve(connection, _RESOLVE_REJECTED, feed_id, seen)
    _resolve(connection, _RESOLVE_VANISHED, feed_id, entry.vanished_keys)
    if entry.unreadable is not None:
        still = {"of_feed": feed_id, "unreadable": list(entry.unreadable)}
        connection.execute(_RESOLVE_READABLE, still)
    if not rejected:
        return
    connection.execute(
        _set_aside(connection.dialect.name),
        [
            {"feed_id": feed_id, "key": r.key, "code": r.code, "reason": r.reason, "raw": r.raw}
            for r in rejected.values()
        ],
    )


def _resolve(
    connection: sa.Connection, statement: sa.Executable, feed_id: FeedId, keys: Sequence[str]
) -> None:
    for some in slices(keys):
        connection.execute(statement, {"of_feed": feed_id, "keys": some})


def answer_requests(connection: sa.Connection, feed_id: FeedId, ids: Sequence[int]) -> None:
    for some in slices(ids):
        connection.execute(_ANSWER_REQUESTS, {"of_feed": feed_id, "ids": some})


def count_run(connection: sa.Connection, held: sa.Row[Any], entry: JournalEntry) -> None:
    """Add the entry to its run; an entry that found nothing makes no run."""
    if not (entry.rows_read or entry.batches or entry.rejected or entry.finished_reconcile):
        return
    lead = entry.state.lead
    counted = {
        "id": entry.run_id,
        "feed_id": held.id,
        "trigger": entry.trigger,
        "rows_read": entry.rows_read,
        "rows_journalled": sum(b.rows for b in entry.batches),
        "rejected": len(entry.rejected),
        "from_cursor": held.lead_cursor,
        "from_key": held.lead_key,
        "to_cursor": lead and lead.cursor,
        "to_key": key_list(lead),
    }
    connection.execute(_count_run(connection.dialect.name), counted)


def write_state(connection: sa.Connection, held: sa.Row[Any], lease: Lease, entry: JournalEntry) -> None:
    """The feed's state after the entry, and the reconciliations that it ends."""
    values = columns_of(entry.state)
    going = entry.state.reconciliation
    values["reconciliation_epoch"] = None if going is None else _begun(held, lease, going)
    if entry.feed_class is not None:
        values |= {"class": entry.feed_class.value, "class_reason": entry.class_reason}
    if entry.source_seen is not None:
        values["source_seen"] = entry.source_seen
    if entry.asks_reconcile:
        values |= {"reconcile_wanted": "full", "reconcile_asked_epoch": lease.epoch - 1}
    if entry.confirmed:
        values["reconcile_confirm"] = False
    if entry.finished_reconcile is not None:
        values |= _finish(connection, held, lease, entry.finished_reconcile)
    statement = _WRITE_STATE_AND_DUE if "reconciled_every_s" in values else _WRITE_STATE
    connection.execute(statement, {"of_feed": held.id, **values})


def _begun(held: sa.Row[Any], lease: Lease, going: Reconciliation) -> int:
    """The epoch of the lease that a reconciliation was begun under."""
    known = reconciliation(held.reconciliation)
    if known is not None and known.id == going.id:
        return int(held.reconciliation_epoch)
    return lease.epoch


def _finish(
    connection: sa.Connection, held: sa.Row[Any], lease: Lease, done: Reconciliation
) -> dict[str, Any]:
    """Clear what asked for the reconciliation, if it was asked before the lease that began it was
    taken: a later request wants one that begins after it."""
    begun = _begun(held, lease, done)
    values: dict[str, Any] = {}
    if done.into is not None:
        into = {"of_feed": held.id, "into": done.into, "begun": begun}
        if connection.execute(_INTO_LOG_IS_DONE, into).rowcount == 0:
            values["again"] = True
        return values
    if held.reconcile_wanted is not None:
        answered = done.full or held.reconcile_wanted == "keys"
        if answered and held.reconcile_asked_epoch < begun:
            values["reconcile_wanted"] = None
        else:
            values["again"] = True
    if held.reconcile_every_s is not None and (done.full or held.reconcile_kind == "keys"):
        values["reconciled_every_s"] = held.reconcile_every_s
    return values
