"""What newly applied definitions do to feeds: made, left alone, changed, read again or ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from headrace.control.dropping import drop_again, drops_of
from headrace.control.engine import clock
from headrace.control.feed_moves import join_moves, read_again_for_moves
from headrace.control.feeds import end_run_of_lost_lease
from headrace.control.new_log import drop_pending, new_log_values
from headrace.control.pausing import RESUMED, paused
from headrace.control.state import columns_of
from headrace.control.tables import PausedBy, batch, feed, feed_log, key_request, rejected_row
from headrace.control.types import from_now, now
from headrace.domain.schedule import next_due
from headrace.domain.vocabulary import FeedId
from headrace.ports import AppliedFeed, FeedState, NewBatch

_SHAPE = ("model_id", "fingerprint", "shape_fingerprint")
_SCHEDULE = ("every_s", "cron")
_RECONCILE = ("reconcile_kind", "reconcile_every_s")


def change_feeds(
    connection: sa.Connection,
    feeds: Sequence[AppliedFeed],
    *,
    version: int,
    new_id: Callable[[], str],
) -> bool:
    """Bring feeds to what the definitions of `version` say; True when that changed any.

    A feed whose shape changed or that is read again loses its lease, so what its reader still holds,
    cut by the old definitions, is never written. All others keep position, lease and logs.
    """
    active = sa.select(feed).where(feed.c.state == "active").order_by(feed.c.id).with_for_update()
    known = {(row.source_id, row.app_id): row for row in connection.execute(active)}
    at = clock(connection)
    changed = False
    for wanted in feeds:
        row = known.pop((wanted.source_id, wanted.app_id), None)
        if row is None:
            _make(connection, wanted, version=version, feed_id=FeedId(new_id()), at=at)
            changed = True
        else:
            changed |= _change(connection, row, wanted, at=at, new_id=new_id)
    for row in known.values():
        _end(connection, FeedId(row.id))
        changed = True
    return changed


def stamp_feeds(connection: sa.Connection, version: int) -> None:
    """Every active feed belongs to this version of the definitions."""
    of_active = sa.update(feed).where(feed.c.state == "active")
    connection.execute(of_active.values(definition_version=version))


def _columns(wanted: AppliedFeed) -> dict[str, Any]:
    return {
        "model_id": wanted.model_id,
        "fingerprint": wanted.fingerprint,
        "shape_fingerprint": wanted.shape_fingerprint,
        "every_s": wanted.every_s,
        "cron": wanted.cron,
        "reconcile_kind": wanted.reconcile,
        "reconcile_every_s": wanted.reconcile_every_s,
    }


def _make(
    connection: sa.Connection, wanted: AppliedFeed, *, version: int, feed_id: FeedId, at: datetime
) -> None:
    values = _columns(wanted) | columns_of(FeedState())
    values |= {
        "id": feed_id,
        "source_id": wanted.source_id,
        "app_id": wanted.app_id,
        "definition_version": version,
        "next_due": at if wanted.every_s is not None else _due(feed_id, wanted, at),
        "reconcile_due_at": _reconcile_due(wanted),
        "again": False,
        "paused": False,
        "reconcile_confirm": False,
    }
    if wanted.paused:
        values |= _pause()
    connection.execute(sa.insert(feed).values(values))
    join_moves(connection, feed_id, wanted.model_id)


def _change(
    connection: sa.Connection,
    row: sa.Row[Any],
    wanted: AppliedFeed,
    *,
    at: datetime,
    new_id: Callable[[], str],
) -> bool:
    columns = _columns(wanted)
    values = {name: value for name, value in columns.items() if getattr(row, name) != value}
    if any(name in values for name in _SCHEDULE):
        values["next_due"] = _due(row.id, wanted, at)
    if any(name in values for name in _RECONCILE):
        values["reconcile_due_at"] = _reconcile_due(wanted)
    if wanted.reread or any(name in values for name in _SHAPE):
        end_run_of_lost_lease(connection, FeedId(row.id))
        values |= {"epoch": row.epoch + 1, "lease_id": None, "lease_until": None, "again": True}
    drops: Sequence[NewBatch] = ()
    if wanted.reread:
        drops = drops_of(connection, row.id)
        values |= _begin_anew(connection, row, new_id=new_id)
    values |= _pausing(row, wanted)
    if values:
        connection.execute(sa.update(feed).where(feed.c.id == row.id).values(values))
    drop_again(connection, row.id, drops, new_id=new_id)
    return bool(values)


def _begin_anew(
    connection: sa.Connection, row: sa.Row[Any], *, new_id: Callable[[], str]
) -> Mapping[str, Any]:
    """Void the feed's logs; the values that void its position and ask for a full reconciliation,
    which removes what the source no longer gives."""
    epoch = row.epoch + 1
    logs = sa.select(feed_log.c.data_source_id).where(feed_log.c.feed_id == row.id)
    for data_source_id in connection.execute(logs).scalars().all():
        log = sa.and_(feed_log.c.feed_id == row.id, feed_log.c.data_source_id == data_source_id)
        values = new_log_values(reason="the source is read again", log_id=new_id(), epoch=epoch)
        anew = values | {"model_id": row.model_id, "wants_reconcile": False}
        connection.execute(sa.update(feed_log).where(log).values(anew))
    drop_pending(connection, batch.c.feed_id == row.id)
    read_again_for_moves(connection, FeedId(row.id))
    void = columns_of(FeedState()) | {"reconciliation_epoch": None, "source_seen": None}
    return void | {"reconcile_wanted": "full", "reconcile_asked_epoch": epoch}


def _end(connection: sa.Connection, feed_id: FeedId) -> None:
    end_run_of_lost_lease(connection, feed_id)
    ended = {"state": "ended", "epoch": feed.c.epoch + 1, "lease_id": None, "lease_until": None}
    connection.execute(sa.update(feed).where(feed.c.id == feed_id).values(ended))
    connection.execute(sa.delete(key_request).where(key_request.c.feed_id == feed_id))
    of_feed = sa.and_(rejected_row.c.feed_id == feed_id, rejected_row.c.state == "open")
    connection.execute(sa.update(rejected_row).where(of_feed).values(state="discarded", last_seen=now()))
    drop_pending(connection, batch.c.feed_id == feed_id)
    # What it left in the stores stays until its source's columns go; nothing waits for it.
    connection.execute(
        sa.update(feed_log)
        .where(feed_log.c.feed_id == feed_id)
        .values(merged_seq=feed_log.c.seq, wants_reconcile=False, cut_at=None, reason="the feed ended")
    )


def _pausing(row: sa.Row[Any], wanted: AppliedFeed) -> dict[str, Any]:
    """A person's pause outlives every apply; one of ours ends with it, for the source was looked at."""
    if wanted.paused:
        return {} if row.paused else _pause()
    return {} if row.paused_by in {None, PausedBy.PERSON} else dict(RESUMED)


def _pause() -> dict[str, Any]:
    return paused(PausedBy.DEFINITION, "paused in its definition")


def _due(feed_id: str, wanted: AppliedFeed, at: datetime) -> datetime | None:
    return next_due(FeedId(feed_id), every_s=wanted.every_s, cron=wanted.cron, after=at)


def _reconcile_due(wanted: AppliedFeed) -> Any:
    return None if wanted.reconcile_every_s is None else from_now(wanted.reconcile_every_s)
