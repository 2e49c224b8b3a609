"""Where feeds are, and how they are put back to be read again (`steps.backfill.Positions`)."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from headrace.control.audit import AuditLine, append_audit
from headrace.control.engine import reading, writing
from headrace.control.feeds import end_run_of_lost_lease
from headrace.control.state import columns_of, position, state_of
from headrace.control.tables import feed
from headrace.domain.digests import Provisional
from headrace.domain.position import Position
from headrace.domain.vocabulary import AppId, FeedId, SourceId
from headrace.steps.backfill import FeedPosition


class SqlPositions:
    """Implements `Positions` on the control database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def positions(self, source_id: str) -> list[FeedPosition]:
        of_source = sa.select(feed).where(feed.c.state == "active", feed.c.source_id == source_id)
        with reading(self._engine) as connection:
            rows = connection.execute(of_source.order_by(feed.c.app_id)).all()
        return [
            FeedPosition(
                feed_id=FeedId(row.id),
                source_id=SourceId(row.source_id),
                app_id=AppId(row.app_id),
                saved=position(row.saved_cursor, row.saved_key),
            )
            for row in rows
        ]

    def read_again(self, at: FeedPosition, cursor: str, *, actor: str) -> bool:
        locked = sa.select(feed).where(feed.c.id == at.feed_id, feed.c.state == "active").with_for_update()
        with writing(self._engine) as connection:
            row = connection.execute(locked).one_or_none()
            if row is None or position(row.saved_cursor, row.saved_key) != at.saved:
                return False
            state, from_here = state_of(row), Position(cursor, None)
            # Rows that are as they were journalled are not dropped: a data source may have lost them.
            digests = {**state.digests, Provisional.PART: ""}
            values = columns_of(replace(state, saved=from_here, lead=from_here, digests=digests))
            values |= {"epoch": row.epoch + 1, "lease_id": None, "lease_until": None, "again": True}
            end_run_of_lost_lease(connection, at.feed_id)
            connection.execute(sa.update(feed).where(feed.c.id == at.feed_id).values(values))
            detail = {"source": at.source_id, "app": at.app_id, "from": cursor, "was_at": row.saved_cursor}
            append_audit(connection, AuditLine(actor=actor, action="source.backfill", detail=detail))
        return True
