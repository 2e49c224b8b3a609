"""What `headrace doctor` finds: one vocabulary of stable codes, and how bad each finding is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works, and somebody should look."""
    ERROR = "error"


class FindingCode(StrEnum):
    """What is not well where no error says so; what an error says has that error's code."""

    # the control database and the broker
    CONTROL_MISSING = "control_missing"
    CONTROL_ALTERED = "control_altered"
    BROKER_SHARED = "broker_shared"
    BROKER_UNCONFIRMED = "broker_unconfirmed"
    CLOCK_APART = "clock_apart"
    RETENTION_BEHIND = "retention_behind"
    # data sources
    TABLES_BEHIND = "tables_behind"
    ROWS_HELD = "rows_held"
    # what feeds promise
    CURSOR_MISSING = "cursor_missing"
    FEED_BOUNDED = "feed_bounded"
    FEED_EVENTUAL = "feed_eventual"
    TRANSACTIONS_HIDDEN = "transactions_hidden"
    KEY_NOT_UNIQUE = "key_not_unique"
    INDEX_MISSING = "index_missing"
    CURSOR_NULLS = "cursor_nulls"
    CURSOR_AHEAD = "cursor_ahead"
    TIME_ZONE_ASSUMED = "time_zone_assumed"
    EXAMINATION_SLOW = "examination_slow"
    # how feeds do
    FEED_NEW = "feed_new"
    FEED_FAILING = "feed_failing"
    FEED_PAUSED = "feed_paused"
    FEED_LATE = "feed_late"
    FEED_OVERDUE = "feed_overdue"
    LEASE_EXPIRED = "lease_expired"
    MERGE_FAILING = "merge_failing"
    MERGE_BEHIND = "merge_behind"
    ROWS_REJECTED = "rows_rejected"
    SOURCE_RESTORED = "source_restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was asked, and what came of it.

    Attributes:
        code: empty where all is well and nothing is to be known; else stable, with a page in docs/errors.
        where: what was asked: a definition, a database, a feed.
        what: for a person.
        remedy: what to do about it; empty where nothing is to be done.
    """

    severity: Severity = Severity.OK
    code: str = ""
    where: str
    what: str
    remedy: str = ""
