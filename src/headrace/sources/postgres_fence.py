"""Below which time no transaction of a PostgreSQL database can still commit.

Theorem: if every change sets its cursor at or after its transaction's start on the database's clock, a
change that a snapshot does not see has a cursor at or above the fence that was taken *before* the snapshot.
Order is load-bearing: first the running transactions, then the prepared ones (preparing moves a
transaction from the first to the second), then, by the caller, the snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from headrace.domain.clock_step import ClockSight, set_back_by
from headrace.domain.position import Fence
from headrace.domain.vocabulary import FeedClass
from headrace.errors import InvariantError
from headrace.ports import ReadPlan
from headrace.sources.fence_memory import Memory, Sighting, decide_fence, read_memory, write_memory
from headrace.sources.postgres_column import PostgresColumn
from headrace.sources.steady_clock import SteadyClock

Connection = psycopg.Connection[tuple[Any, ...]]

_LOWEST: Final = "-infinity"
_STANDBY: Final = "the app is a standby: transactions that still run on the primary cannot be seen"

_BY_IDS: Final = (
    "the role does not see when other transactions began, so they are told apart by their ids; with"
    " GRANT pg_read_all_stats the fence keeps up with the oldest of them"
)

# statement_timestamp() and never clock_timestamp(): the latter is evaluated after sessions were looked at.
# Only our readers' sessions are left out, by the nonce; never a role, which the application may share.
# An autovacuum worker writes no row of a user's, and may run for hours.
# A transaction whose start cannot be seen holds a lock on its virtual id all the same: one begun while
# track_activities was off (even if it is on again), one of a role that we no longer may look at. Who is idle
# runs none, and a background process of no state, or a replication's sender, holds none between its own.
_RUNNING: Final = """
SELECT statement_timestamp(),
       least(statement_timestamp(), min(xact_start)),
       count(*) FILTER (WHERE xact_start IS NULL AND state IS DISTINCT FROM 'idle'
         AND pid IN (SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'virtualxid')),
       coalesce(array_agg(pid || '@' || extract(epoch FROM xact_start)) FILTER (
         WHERE xact_start IS NOT NULL), '{}')
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND application_name IS DISTINCT FROM %(reader)s
  AND backend_type IS DISTINCT FROM 'autovacuum worker'
"""
# Everyone may see virtual transaction ids: each running transaction holds a lock on its own.
_RUNNING_IDS: Final = """
SELECT statement_timestamp(), coalesce(array_agg(l.virtualxid) FILTER (
         WHERE l.pid <> pg_backend_pid() AND a.application_name IS DISTINCT FROM %(reader)s
           AND (a.datname IS NULL OR a.datname = current_database())), '{}')
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid'
"""
# A gid may be used again, a transaction's number is not. Both survive a restart of the server.
_PREPARED: Final = """
SELECT transaction::text || '@' || extract(epoch FROM prepared)
FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()
"""
_STANDING: Final = """
SELECT pg_is_in_recovery(), pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
       statement_timestamp(), least(statement_timestamp(), pg_last_xact_replay_timestamp())
"""
# A fall-back of the clock within three hours makes local times run twice: the bound goes down by the shift
# before it, the clock goes up by the shift after it.
_RENDER: Final = """
WITH at AS (
  SELECT CAST(%(bound)s AS timestamptz) AS bound, CAST(%(now)s AS timestamptz) AS now,
         CAST(%(zone)s AS text) AS zone, interval '3 hours' AS span),
wall AS (
  SELECT bound, now,
         (bound AT TIME ZONE zone) - greatest(interval '0',
           span - (((bound + span) AT TIME ZONE zone) - (bound AT TIME ZONE zone))) AS local_bound,
         (now AT TIME ZONE zone) + greatest(interval '0',
           span - ((now AT TIME ZONE zone) - ((now - span) AT TIME ZONE zone))) AS local_now
  FROM at)
"""
_RENDERED: Final = {
    "timestamptz": "SELECT CAST(now AS timestamptz({p}))::text,"
    " (CAST(bound AS timestamptz({p})) - interval '{quantum} seconds')::text FROM wall",
    "timestamp": "SELECT CAST(local_now AS timestamp({p}))::text,"
    " (CAST(local_bound AS timestamp({p})) - interval '{quantum} seconds')::text FROM wall",
    "date": "SELECT local_now::date::text, (local_bound::date - 1)::text FROM wall",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks for fences.

    Attributes:
        reader: the `application_name` of our readers' sessions, which no fence waits for.
        margin_s: a transaction takes its start time slightly before others can see it.
    """

    reader: str
    margin_s: float
    clock: SteadyClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a database showed of its transactions: the fences of many feeds follow from it.

    Attributes:
        seen: None of a standby.
        replayed: up to where a standby has come.
        texts: moments as cursors of some kind, that were rendered already.
    """

    sees_all: bool
    seen: Sighting | None
    replayed: datetime | None
    clock: ClockSight
    texts: dict[tuple[str, int, float, str, datetime], tuple[str, str]] = field(default_factory=dict)

    @property
    def can_be_shared(self) -> bool:
        """It shows when transactions began; else each feed counts its own looks."""
        return self.seen is not None and self.seen.oldest is not None

    def follows(self, memory: Memory) -> bool:
        """The feed has seen nothing later."""
        return memory.clock is None or memory.clock.at <= self.clock.at


def look(connection: Connection, asking: Asking) -> Looked:
    """The connection must be in no transaction."""
    asked_s = asking.clock.seconds()
    standby, sees_all, now, replayed = _present(connection.execute(_STANDING).fetchone())
    seen = None if standby else _sight(connection, asking.reader, sees_all=sees_all)
    clock = asking.clock.sight(seen.at if seen else now, asked_s=asked_s)
    return Looked(sees_all=sees_all, seen=seen, replayed=replayed, clock=clock)


def has_clock(cursor: PostgresColumn | None) -> bool:
    """The cursor is a time."""
    return cursor is not None and cursor.base in _RENDERED


def take_fence(
    connection: Connection,
    plan: ReadPlan,
    cursor: PostgresColumn | None,
    previous_state: str | None,
    *,
    asking: Asking,
) -> Fence:
    """The fence of a plan's cursor; the connection must be in no transaction, the snapshot not yet open."""
    if cursor is None or not has_clock(cursor):
        why = "there is no cursor" if cursor is None else f"the cursor {cursor.facts.name} is not a time"
        return Fence(now=None, bound=None, feed_class=FeedClass.EVENTUAL, reason=why)
    rendered = _Rendered(connection, cursor, plan, look(connection, asking), asking.margin_s)
    return _fence(rendered, read_memory(previous_state))


def fence_by(
    connection: Connection,
    plan: ReadPlan,
    cursor: PostgresColumn,
    memory: Memory,
    *,
    looked: Looked,
    margin_s: float,
) -> Fence:
    """As `take_fence`, of a cursor that is a time, from a look at the database that was taken already."""
    return _fence(_Rendered(connection, cursor, plan, looked, margin_s), memory)


def _fence(rendered: _Rendered, memory: Memory) -> Fence:
    looked = rendered.looked
    seen, clock = looked.seen, looked.clock
    set_back = set_back_by(memory.clock, clock)
    resume = memory.clock.at - set_back if memory.clock and set_back else None
    decided = decide_fence(seen, memory.set_back(set_back)) if seen else Memory(fence=looked.replayed)
    now_text, fresh = rendered.now()
    return Fence(
        now=now_text,
        bound=rendered.bound(decided.fence),
        feed_class=FeedClass.EXACT if seen else FeedClass.BOUNDED,
        state=write_memory(replace(decided, clock=clock)),
        reason="" if seen else _STANDBY,
        running=seen.running | seen.prepared if seen else None,
        fresh=fresh if seen else None,
        at=clock.at,
        note="" if looked.sees_all or not seen else _BY_IDS,
        resume=rendered.bound(resume) if resume else None,
    )


def _present(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    if row is None:
        raise InvariantError("a query without FROM answered no row")
    return row


def _sight(connection: Connection, reader: str, *, sees_all: bool) -> Sighting:
    """Running transactions first, prepared ones second: the reverse misses one prepared in between."""
    oldest: datetime | None = None
    hidden = 0
    if sees_all:
        at, oldest, hidden, ids = _present(connection.execute(_RUNNING, {"reader": reader}).fetchone())
    if not sees_all or hidden:
        at, ids = _present(connection.execute(_RUNNING_IDS, {"reader": reader}).fetchone())
        oldest = None
    prepared = frozenset(name for (name,) in connection.execute(_PREPARED).fetchall())
    return Sighting(at=at, oldest=oldest, running=frozenset(ids), prepared=prepared)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """Moments as texts of the cursor column, rounded as the column rounds."""

    connection: Connection
    cursor: PostgresColumn
    plan: ReadPlan
    looked: Looked
    margin_s: float

    def now(self) -> tuple[str, str]:
        """What is read up to, the clock ahead by the declared skew, and what transactions that begin later
        are above."""
        return self._texts(self.looked.clock.at)

    def bound(self, fence: datetime | None) -> str:
        """The fence less margin, declared skew and the column's quantum: what is below it can neither come
        late nor tie with what comes. The lowest value for None."""
        if fence is None:
            return _LOWEST
        return self._texts(fence - timedelta(seconds=self.margin_s))[1]

    def _texts(self, moment: datetime) -> tuple[str, str]:
        digits = self.cursor.modifier if self.cursor.modifier >= 0 else 6
        kind = (self.cursor.base, digits, self.plan.skew_s, self.plan.time_zone, moment)
        known = self.looked.texts.get(kind)
        if known is not None:
            return known
        statement = _RENDER + _RENDERED[self.cursor.base].format(p=digits, quantum=f"{10**-digits:.6f}")
        skew = timedelta(seconds=self.plan.skew_s)
        values = {"now": moment + skew, "bound": moment - skew, "zone": self.plan.time_zone}
        now_text, bound_text = _present(self.connection.execute(statement, values).fetchone())
        self.looked.texts[kind] = now_text, bound_text
        return now_text, bound_text
