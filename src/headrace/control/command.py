"""What people ask of feeds: reconcile, pause, resume."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from headrace.control.engine import reading, writing
from headrace.control.pausing import RESUMED, paused
from headrace.control.tables import PausedBy, feed
from headrace.domain.vocabulary import FeedId


class SqlCommands:
    """Requests to feeds, kept in the control database: the caller nudges the feeds returned, and the
    scheduler finds them if that nudge is lost."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def feeds(self, source_id: str | None = None, *, app_id: str | None = None) -> list[FeedId]:
        """Active feeds, of all sources or of one, in order of source and app."""
        ids = sa.select(feed.c.id).where(_active(source_id, app_id))
        with reading(self._engine) as connection:
            ordered = ids.order_by(feed.c.source_id, feed.c.app_id)
            return [FeedId(i) for i in connection.execute(ordered).scalars()]

    def request_reconcile(self, source_id: str, *, full: bool, confirm: bool) -> list[FeedId]:
        """Each feed is reconciled by a reconciliation that begins after this, of its own kind or full;
        `confirm`: also remove what the breaker held back."""
        values = asked_reconciliation(full=full)
        if confirm:
            values["reconcile_confirm"] = True
        return self._change(_active(source_id, None), **values)

    def request_feed_reconcile(self, feed_id: FeedId, *, full: bool) -> list[FeedId]:
        """As `request_reconcile`, of one feed; none when it has ended."""
        one = sa.and_(feed.c.id == feed_id, feed.c.state == "active")
        return self._change(one, **asked_reconciliation(full=full))

    def pause(self, source_id: str, *, reason: str) -> list[FeedId]:
        """No poll begins any more; one that runs ends."""
        return self._change(_active(source_id, None), **paused(PausedBy.PERSON, reason))

    def resume(self, source_id: str) -> list[FeedId]:
        """Paused feeds are polled again, at once, whoever paused them."""
        which = sa.and_(_active(source_id, None), feed.c.paused)
        return self._change(which, **RESUMED, failures=0, sent_at=None)

    def _change(self, which: sa.ColumnElement[bool], **values: Any) -> list[FeedId]:
        change = sa.update(feed).where(which).values(values).returning(feed.c.id)
        with writing(self._engine) as connection:
            return sorted(FeedId(i) for i in connection.execute(change).scalars())


def asked_reconciliation(*, full: bool) -> dict[str, Any]:
    """Asks for one that begins under a later epoch than now; a full one that was asked for stays full."""
    is_full = feed.c.reconcile_wanted == "full"
    wanted: Any = "full" if full else sa.case((is_full, "full"), else_=feed.c.reconcile_kind)
    return {"reconcile_wanted": wanted, "reconcile_asked_epoch": feed.c.epoch, "again": True}


def _active(source_id: str | None, app_id: str | None) -> sa.ColumnElement[bool]:
    which = [feed.c.state == "active"]
    if source_id is not None:
        which.append(feed.c.source_id == source_id)
    if app_id is not None:
        which.append(feed.c.app_id == app_id)
    return sa.and_(*which)
