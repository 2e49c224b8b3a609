"""What `headrace doctor` says of one feed, by what its source and the control database have told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from headrace.domain.finding import Finding, FindingCode, Severity
from headrace.domain.vocabulary import FeedClass
from headrace.errors import ErrorCode, code_apart

if TYPE_CHECKING:
    from headrace.control.status import FeedStatus
    from headrace.steps.feed_examination import ExaminedFeed

OVERDUE: Final = timedelta(minutes=1)
"""A due feed that waits for longer is polled by nobody; batches likewise."""
_UTC_NAMES: Final = frozenset({"UTC", "GMT", "Etc/UTC", "Etc/GMT", "Z", "+00:00", "Etc/UCT", "UCT", "Zulu"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSeen:
    """All that is known of a feed.

    Attributes:
        status: None while it was never applied.
        held: rows that a breaker holds.
        late_by: by how much its `freshness` is exceeded; None when it is not, or there is none.
        zone_is_said: the definition names the time zone of date-times without one.
    """

    examined: ExaminedFeed
    status: FeedStatus | None
    held: int = 0
    late_by: timedelta | None = None
    zone_is_said: bool = False

    @property
    def source(self) -> str:
        return self.examined.plan.source.id

    @property
    def where(self) -> str:
        return f"feed {self.source} of app {self.examined.plan.app_id}"


def findings_of(seen: FeedSeen) -> list[Finding]:
    """The worst first; what it promises when nothing is wrong."""
    found = [*_of_schedule(seen), *_of_source(seen), *_of_rows(seen)]
    if not found:
        return [_well(seen)]
    return sorted(found, key=lambda finding: finding.severity is not Severity.ERROR)


def _well(seen: FeedSeen) -> Finding:
    promise = seen.examined.promise
    if not promise.note:
        return Finding(where=seen.where, what=str(promise.feed_class))
    return Finding(
        code=FindingCode.TRANSACTIONS_HIDDEN,
        where=seen.where,
        what=f"{promise.feed_class}; {promise.note}",
        remedy="nothing, unless long transactions of others hold it back",
    )


def together(findings: Sequence[Finding]) -> list[Finding]:
    """That several feeds are due is said once: nobody polls them."""
    overdue = [finding for finding in findings if finding.code == FindingCode.FEED_OVERDUE]
    if len(overdue) < 2:
        return list(findings)
    what = f"{len(overdue)} are due for more than a minute, and nobody polls them"
    return [
        *(finding for finding in findings if finding not in overdue),
        replace(overdue[0], where="feeds", what=what),
    ]


def _warning(seen: FeedSeen, code: FindingCode | ErrorCode | str, what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.WARNING, code=code, where=seen.where, what=what, remedy=remedy)


def _error(seen: FeedSeen, code: FindingCode | ErrorCode | str, what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.ERROR, code=code, where=seen.where, what=what, remedy=remedy)


# --- its source -----------------------------------------------------------------------------------


def _of_source(seen: FeedSeen) -> Iterator[Finding]:
    promise = seen.examined.promise
    if promise.feed_class is None:
        mend = (
            "correct the app's url, or start it"
            if promise.away
            else "correct the definition, or what it reads and may read; "
            f"then headrace sync --source {seen.source}"
        )
        yield _error(seen, promise.code or ErrorCode.FAILED, promise.reason, mend)
        return
    if seen.examined.plan.read.cursor is None:
        yield _warning(
            seen,
            FindingCode.CURSOR_MISSING,
            "it has no cursor: the source is read whole at each poll",
            "name the column that says when a row changed in schedule.cursor, or poll rarely",
        )
    elif promise.feed_class is not FeedClass.EXACT:
        bounded = promise.feed_class is FeedClass.BOUNDED
        code = FindingCode.FEED_BOUNDED if bounded else FindingCode.FEED_EVENTUAL
        yield _warning(seen, code, f"{promise.feed_class}: {promise.reason}", _mend_of_class(seen))
    yield from _of_cursor(seen)


def _mend_of_class(seen: FeedSeen) -> str:
    if seen.examined.plan.clock == "undeclared":
        return (
            'if the database sets the cursor at every insert and update: "clock": "database" in its schedule'
        )
    return f"what that means: headrace explain-error feed_{seen.examined.promise.feed_class}"


def _of_cursor(seen: FeedSeen) -> Iterator[Finding]:
    read, found = seen.examined.plan.read, seen.examined.examination
    if found.indexes is not None and not any(index[:1] == (read.cursor,) for index in found.indexes):
        what = f"no index begins with {read.cursor}: each poll scans the whole table, and sorts it"
        yield _warning(seen, FindingCode.INDEX_MISSING, what, found.index_statement)
    if found.null_cursors:
        yield _warning(
            seen,
            FindingCode.CURSOR_NULLS,
            f"some rows have no {read.cursor}: they are compared only when the source is reconciled",
            f"fill {read.cursor}, give it a default, and make it NOT NULL",
        )
    if seen.examined.newest_is_ahead:
        yield _warning(
            seen,
            FindingCode.CURSOR_AHEAD,
            f"the newest {read.cursor}, {found.newest}, is ahead of the source's clock",
            "if it is local time, say of which zone: time_zone in its schedule; else correct these rows",
        )
    elif found.naive and not seen.zone_is_said and found.time_zone not in _UTC_NAMES:
        yield _warning(
            seen,
            FindingCode.TIME_ZONE_ASSUMED,
            f"{read.cursor} has no time zone and is taken for UTC; the database's own is {found.time_zone}",
            f'say which it is: "time_zone": "{found.time_zone}" (or "UTC") in its schedule',
        )
    if found.slow:
        what = "a question about the cursor was not answered in time"
        yield _warning(seen, FindingCode.EXAMINATION_SLOW, what, "nothing; an index on the cursor answers it")


# --- how it is polled -----------------------------------------------------------------------------


def _of_schedule(seen: FeedSeen) -> Iterator[Finding]:
    status = seen.status
    if status is None:
        yield _warning(seen, FindingCode.FEED_NEW, "it is not applied yet", "headrace apply")
        return
    if status.stopped_by_drift:
        mend = f"when that is so no more, headrace resume {seen.source}; else headrace apply"
        what, code = code_apart(status.paused_reason or "")
        yield _error(seen, code or ErrorCode.SOURCE_DRIFTED, f"it is stopped: {what}", mend)
    elif status.stopped_by_failures:
        what, code = code_apart(status.paused_reason or "")
        mend = f"when that is mended, headrace resume {seen.source}; meanwhile nothing of it is lost"
        yield _error(seen, code or FindingCode.FEED_PAUSED, f"it is paused: {what}", mend)
    elif status.paused:
        what = f"it is paused: {status.paused_reason}"
        yield _warning(seen, FindingCode.FEED_PAUSED, what, f"headrace resume {seen.source}")
    elif status.failures:
        what, code = code_apart(status.last_error or "")
        mend = "see the error"
        if seen.examined.promise.feed_class is not None:
            mend = f"its source answers now: headrace sync --source {seen.source} tries again"
        yield _warning(seen, code or FindingCode.FEED_FAILING, f"its last poll failed: {what}", mend)
    elif status.checked_at is None and not status.polling:
        yield _warning(seen, FindingCode.FEED_NEW, "it was never polled", "headrace sync, or headrace up")
    elif status.lease_expired:
        what = "the worker that read it is gone, and nobody has taken over"
        yield _warning(seen, FindingCode.LEASE_EXPIRED, what, "start a scheduler and a fetch worker")
    elif status.next_due is not None and status.next_due < status.seen_at - OVERDUE and not status.polling:
        what = f"it is due since {_length(status.seen_at - status.next_due)}, and nobody polls it"
        yield _warning(
            seen, FindingCode.FEED_OVERDUE, what, "start a scheduler and a fetch worker, or headrace up"
        )
    if seen.late_by is not None:
        what = f"its freshness is exceeded by {_length(seen.late_by)}"
        yield _warning(seen, FindingCode.FEED_LATE, what, f"headrace runs --source {seen.source} shows why")


def _length(span: timedelta) -> str:
    from headrace.cli.screen import length

    return length(span.total_seconds())


# --- its rows -------------------------------------------------------------------------------------


def _of_rows(seen: FeedSeen) -> Iterator[Finding]:
    from headrace.cli.screen import counted

    status = seen.status
    if status is None:
        return
    if status.backing_off:
        what, code = code_apart(status.merge_error or "")
        told = f"a batch could not be merged, and is tried again: {what}"
        yield _error(seen, code or FindingCode.MERGE_FAILING, told, "see the error; other feeds go on")
    elif status.pending_since is not None and status.pending_since < status.seen_at - OVERDUE:
        waiting = counted(status.pending_batches, "batch")
        since = _length(status.seen_at - status.pending_since)
        what = f"{waiting} of {counted(status.pending_rows, 'row')} wait to be merged, the oldest for {since}"
        yield _warning(seen, FindingCode.MERGE_BEHIND, what, "start merge workers, or more of them")
    if status.rejected:
        what = f"{counted(status.rejected, 'row')} set aside"
        remedy = f"headrace rejected list --source {seen.source}"
        yield _warning(seen, FindingCode.ROWS_REJECTED, what, remedy)
    if seen.held:
        what = f"the source lacks {counted(seen.held, 'row')} that the data source has: too many to remove"
        remedy = f"if that is right: headrace reconcile {seen.source} --confirm"
        yield _warning(seen, FindingCode.ROWS_HELD, what, remedy)
    restored = next((note for note in status.source_notes if "restored" in note), None)
    if restored is not None:
        yield _warning(seen, FindingCode.SOURCE_RESTORED, restored, "nothing: it ends by itself")
