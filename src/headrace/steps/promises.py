"""What each feed can promise, asked of its source right now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.domain.position import NO_CURSOR, promised_class
from headrace.domain.vocabulary import AppId, FeedClass, SourceId
from headrace.errors import HeadraceError, RetryableError
from headrace.ports import Clock, FeedPlan, KeyRange, Readers, SourceReader

_NOTHING = KeyRange(None, None, 0)
"""No row, of columns that must be there and may be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPromise:
    """What one feed can promise.

    Attributes:
        feed_class: None when the source could not be asked.
        reason: why it is not exact, or why the source could not be asked.
        code: of the error for which the source could not be asked.
        note: how transactions are seen there, where it is not the plain way.
        ahead_s: how far the source's clock is ahead of ours; None where it was not asked.
        away: the source could not be asked, and may answer later; else somebody must change something.
    """

    source_id: SourceId
    app_id: AppId
    feed_class: FeedClass | None
    reason: str
    code: str | None = None
    note: str = ""
    ahead_s: float | None = None
    away: bool = False


def promises(readers: Readers, plans: Iterable[FeedPlan], clock: Clock) -> tuple[FeedPromise, ...]:
    """The promise of each feed, in order of source and app; nothing is read but the catalogue, the clock,
    what runs, and whether the feed's columns may be read."""
    ordered = sorted(plans, key=lambda plan: (plan.source.id, plan.app_id))
    return tuple(_promise(readers, plan, clock) for plan in ordered)


def _promise(readers: Readers, plan: FeedPlan, clock: Clock) -> FeedPromise:
    try:
        with readers.lend(plan.app_id) as reader:
            return promise_of(reader, plan, clock)[0]
    except HeadraceError as error:
        return unasked(plan, error)


def unasked(plan: FeedPlan, error: HeadraceError) -> FeedPromise:
    """Of a feed whose source could not be asked."""
    return FeedPromise(
        source_id=plan.source.id,
        app_id=plan.app_id,
        feed_class=None,
        reason=str(error),
        code=error.code,
        away=isinstance(error, RetryableError),
    )


def promise_of(reader: SourceReader, plan: FeedPlan, clock: Clock) -> tuple[FeedPromise, str | None]:
    """The promise, and the source's clock as a text of the cursor, where it is a time.

    Raises:
        HeadraceError: the source cannot be asked, or the feed's columns cannot be read.
    """
    asked = clock.now()
    fence = reader.fence(plan.read, None)
    answered = clock.now()
    with reader.read(plan.read, _NOTHING) as pages:
        next(pages, None)
    feed_class, reason = promised_class(plan.clock, fence)
    if plan.read.cursor is None:
        feed_class, reason = NO_CURSOR
    between = asked + (answered - asked) / 2
    promise = FeedPromise(
        source_id=plan.source.id,
        app_id=plan.app_id,
        feed_class=feed_class,
        reason=reason,
        note=fence.note,
        ahead_s=None if fence.at is None else (fence.at - between).total_seconds(),
    )
    return promise, fence.now
