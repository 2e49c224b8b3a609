"""When a feed is polled next, and which feeds are due now."""

from __future__ import annotations

import sqlalchemy as sa

from headrace.control.engine import writing
from headrace.control.tables import feed
from headrace.control.types import from_now, now
from headrace.domain.vocabulary import FeedId

RESEND_AFTER_S = 30.0
"""A nudge that nobody claimed for so long is taken for lost, unless the settings say otherwise."""


# A source with a schedule is reconciled when that is due, however rarely it is polled; one that fails waits
# for its next poll, which reconciles too.
_RECONCILE_IS_DUE = sa.and_(
    feed.c.reconcile_due_at <= now(),
    feed.c.failures == 0,
    sa.or_(feed.c.every_s.is_not(None), feed.c.cron.is_not(None)),
)

# A live lease is polled already: its `again` is seen at the release. An expired one is a poll that
# died; nothing else remembers what it was asked for.
_IS_DUE = sa.and_(
    feed.c.state == "active",
    sa.not_(feed.c.paused),
    sa.or_(feed.c.lease_until.is_(None), feed.c.lease_until < now()),
    sa.or_(feed.c.next_due <= now(), feed.c.again, feed.c.lease_id.is_not(None), _RECONCILE_IS_DUE),
)


class SqlSchedule:
    """Implements `ports.Schedule`; a nudge that nobody claimed within `resend_after_s` is taken for lost."""

    def __init__(self, engine: sa.Engine, *, resend_after_s: float = RESEND_AFTER_S) -> None:
        self._engine = engine
        self._is_due = sa.and_(
            _IS_DUE, sa.or_(feed.c.sent_at.is_(None), feed.c.sent_at < from_now(-resend_after_s))
        )

    def claim_due(self, limit: int) -> list[FeedId]:
        # Two statements, not UPDATE … WHERE id IN (SELECT … SKIP LOCKED): PostgreSQL may evaluate
        # that subquery more than once, and so lock more rows than the limit.
        due = (
            sa.select(feed.c.id)
            .where(self._is_due)
            .order_by(feed.c.next_due.asc().nulls_first())
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            ids = [FeedId(i) for i in connection.execute(due).scalars()]
            if ids:
                connection.execute(sa.update(feed).where(feed.c.id.in_(ids)).values(sent_at=now()))
        return ids
