"""Runs and rejected rows, to be looked at, replayed and discarded."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from headrace.control.access_tables import audit
from headrace.control.command import asked_reconciliation
from headrace.control.engine import reading, writing
from headrace.control.key_requests import add_key_requests
from headrace.control.state import position
from headrace.control.tables import feed, rejected_row, run
from headrace.control.types import now
from headrace.domain.events import RejectCode
from headrace.domain.position import Position
from headrace.domain.vocabulary import AppId, DataSourceId, FeedId, RunId, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. `started` and `ended` are the feed's lead before and after it."""

    id: RunId
    feed_id: FeedId
    source_id: SourceId
    app_id: AppId
    trigger: str
    state: str
    rows_read: int
    rows_journalled: int
    rows_merged: int
    rejected: int
    started: Position | None
    ended: Position | None
    error: str | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A row that was set aside: `key` as texts (or nulls), `raw` the source's texts as JSON
    (of a line that is no row, its text).

    Attributes:
        data_source_id: who refused it; None when no data source has seen it.
    """

    id: int
    feed_id: FeedId
    source_id: SourceId
    app_id: AppId
    key: tuple[str | None, ...]
    code: str
    reason: str
    raw: str
    data_source_id: DataSourceId | None
    state: str
    attempts: int
    first_seen: datetime
    last_seen: datetime


class SqlRuns:
    """The history of feeds in the control database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def runs(
        self,
        *,
        limit: int,
        source_id: str | None = None,
        feed_ids: Collection[FeedId] | None = None,
        after: tuple[datetime, str] | None = None,
    ) -> list[Run]:
        """The newest first, of all feeds or of these.

        Args:
            after: start and id of the last run of the page before.
        """
        newest = (
            sa.select(run, feed.c.source_id, feed.c.app_id)
            .join(feed, feed.c.id == run.c.feed_id)
            .order_by(run.c.started_at.desc(), run.c.id)
            .limit(limit)
        )
        if source_id is not None:
            newest = newest.where(feed.c.source_id == source_id)
        if feed_ids is not None:
            newest = newest.where(feed.c.id.in_(sorted(feed_ids)))
        if after is not None:
            at, run_id = after
            same = sa.and_(run.c.started_at == at, run.c.id > run_id)
            newest = newest.where(sa.or_(run.c.started_at < at, same))
        with reading(self._engine) as connection:
            return [_run(row) for row in connection.execute(newest)]

    def rejected(
        self,
        *,
        limit: int,
        source_id: str | None = None,
        code: str | None = None,
        state: str | None = "open",
        ids: Sequence[int] = (),
    ) -> list[Rejected]:
        """The longest known first, of a source, a code or by id; `state` None: whatever it is."""
        oldest = (
            _rows(source_id, code, ids)
            .add_columns(rejected_row, feed.c.source_id, feed.c.app_id)
            .order_by(rejected_row.c.id)
            .limit(limit)
        )
        if state is not None:
            oldest = oldest.where(rejected_row.c.state == state)
        with reading(self._engine) as connection:
            return [_rejected(row) for row in connection.execute(oldest)]

    def replay_held(self, customer: str | None = None) -> list[FeedId]:
        """As `replay`, of rows held for a customer who led nowhere: for this one (`provided_id`), or all."""
        return self.replay(code=RejectCode.CUSTOMER_REFUSED.value, naming=customer)

    def replay(
        self,
        *,
        source_id: str | None = None,
        code: str | None = None,
        ids: Sequence[int] = (),
        naming: str | None = None,
    ) -> list[FeedId]:
        """Ask for the keys of open rejected rows to be fetched again; the feeds to nudge.

        What is fetched closes them, once it is merged where a data source had refused it. A row whose key
        has a null cannot be fetched, and stays. A line that was no row has no key: for it the feed is asked
        to read its source whole.

        Args:
            naming: only rows that have this text among their values, and perhaps some others.
        """
        of_row = (rejected_row.c.feed_id, rejected_row.c.key, rejected_row.c.code)
        open_rows = _open_rows(source_id, code, ids).add_columns(*of_row).order_by(rejected_row.c.id)
        if naming is not None:
            as_written = json.dumps(naming, ensure_ascii=False)
            open_rows = open_rows.where(rejected_row.c.raw.contains(as_written, autoescape=True))
        with writing(self._engine) as connection:
            keys: dict[FeedId, list[tuple[str, ...]]] = {}
            whole: set[FeedId] = set()
            for row in connection.execute(open_rows):
                key = tuple(json.loads(row.key))
                if row.code == RejectCode.UNREADABLE:
                    whole.add(FeedId(row.feed_id))
                elif None not in key:
                    keys.setdefault(FeedId(row.feed_id), []).append(key)
            for feed_id in sorted(whole | keys.keys()):
                add_key_requests(connection, feed_id, keys.get(feed_id, []))
            if whole:
                connection.execute(_READ_WHOLE, {"of_feeds": sorted(whole)})
        return sorted(whole | keys.keys())

    def discard(self, *, actor: str, source_id: str | None = None, ids: Sequence[int] = ()) -> int:
        """Close open rejected rows for good, of a source or by id; how many. Audited as `actor`'s."""
        which = _open_rows(source_id, None, ids).add_columns(rejected_row.c.id)
        discarded = (
            sa.update(rejected_row)
            .where(rejected_row.c.id.in_(which))
            .values(state="discarded", last_seen=now())
            .returning(rejected_row.c.id)
        )
        with writing(self._engine) as connection:
            closed = sorted(connection.execute(discarded).scalars())
            if closed:
                connection.execute(_AUDIT, {"actor": actor, "detail": {"source": source_id, "ids": closed}})
        return len(closed)


_READ_WHOLE = (
    sa.update(feed)
    .where(feed.c.id.in_(sa.bindparam("of_feeds", expanding=True)))
    .values(asked_reconciliation(full=True))
)
_AUDIT = sa.insert(audit).values(at=now(), action="rejected.discard", outcome="done")


def _rows(source_id: str | None, code: str | None, ids: Sequence[int]) -> sa.Select[Any]:
    """Nothing of these rows yet: the caller says which columns."""
    rows = sa.select().select_from(rejected_row.join(feed, feed.c.id == rejected_row.c.feed_id))
    if source_id is not None:
        rows = rows.where(feed.c.source_id == source_id)
    if code is not None:
        rows = rows.where(rejected_row.c.code == code)
    return rows.where(rejected_row.c.id.in_(ids)) if ids else rows


def _open_rows(source_id: str | None, code: str | None, ids: Sequence[int]) -> sa.Select[Any]:
    is_open = sa.and_(rejected_row.c.state == "open", feed.c.state == "active")
    return _rows(source_id, code, ids).where(is_open)


def _run(row: sa.Row[Any]) -> Run:
    return Run(
        id=RunId(row.id),
        feed_id=FeedId(row.feed_id),
        source_id=SourceId(row.source_id),
        app_id=AppId(row.app_id),
        trigger=row.trigger,
        state=row.state,
        rows_read=row.rows_read,
        rows_journalled=row.rows_journalled,
        rows_merged=row.rows_merged,
        rejected=row.rejected,
        started=position(row.from_cursor, row.from_key),
        ended=position(row.to_cursor, row.to_key),
        error=row.error,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _rejected(row: sa.Row[Any]) -> Rejected:
    return Rejected(
        id=row.id,
        feed_id=FeedId(row.feed_id),
        source_id=SourceId(row.source_id),
        app_id=AppId(row.app_id),
        key=tuple(json.loads(row.key)),
        code=row.code,
        reason=row.reason,
        raw=row.raw,
        data_source_id=DataSourceId(row.refused_by) if row.refused_by else None,
        state=row.state,
        attempts=row.attempts,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
    )
