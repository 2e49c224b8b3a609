"""Below which time no transaction of a PostgreSQL database can still commit.

Theorem: if every change sets its cursor at or after its transaction's start on the database's clock, a
change that a snapshot does not see has a cursor at or above the fence that was taken *before* the snapshot.
Order is load-bearing: first the running transactions, then the prepared ones (preparing moves a
transaction from the first to the second), then, by the caller, the snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from headrace.domain.position import Fence
from headrace.domain.vocabulary import FeedClass
from headrace.errors import InvariantError
from headrace.sources.postgres_catalogue import PostgresColumn

Connection = psycopg.Connection[tuple[Any, ...]]

_MAX_EPOCHS: Final = 64
_LOWEST: Final = "-infinity"

# statement_timestamp() and never clock_timestamp(): the latter is evaluated after sessions were looked at.
# Only our readers' sessions are left out, by the nonce; never a role, which the application may share.
_RUNNING: Final = """
SELECT statement_timestamp(),
       least(statement_timestamp(), min(xact_start)),
       count(*) FILTER (WHERE state = 'disabled')
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND application_name IS DISTINCT FROM %(reader)s
"""
# Everyone may see virtual transaction ids: each running transaction holds a lock on its own.
_RUNNING_IDS: Final = """
SELECT statement_timestamp(), coalesce(array_agg(l.virtualxid) FILTER (
         WHERE l.pid <> pg_backend_pid() AND a.application_name IS DISTINCT FROM %(reader)s
           AND (a.datname IS NULL OR a.datname = current_database())), '{}')
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid'
"""
_PREPARED: Final = """
SELECT gid || ':' || transaction::text FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()
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


@dataclass(frozen=True, slots=True)
class Epoch:
    """A moment and the transactions that were running then and have not been seen ended since."""

    at: datetime
    running: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one fence tells the next.

    Attributes:
        fence: the last fence, before the margin; None: it closed nothing.
        prepared: the prepared transactions seen, each with the fence that it holds (None: the lowest).
        epochs: oldest first; only of roles that cannot see when other transactions began.
    """

    fence: datetime | None = None
    prepared: Mapping[str, datetime | None] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was seen of transactions at `at`: either when the oldest began, or the ids of the running ones."""

    at: datetime
    oldest: datetime | None
    running: frozenset[str]
    prepared: frozenset[str]


def decide_fence(seen: Sighting, memory: Memory) -> Memory:
    """The next memory; its `fence` is the time below which nothing can commit any more (None: unknown).

    A prepared transaction seen for the first time was either running at the last fence, which then did not
    pass its start, or began after it: so the last fence holds for it. Without a last fence all are held.
    """
    prepared = {name: memory.prepared.get(name, memory.fence) for name in seen.prepared}
    epochs: tuple[Epoch, ...] = ()
    fence = seen.oldest
    if fence is None:
        fence, epochs = _newest_ended(Epoch(seen.at, seen.running), memory.epochs)
    holds = [fence, *prepared.values()]
    known = [hold for hold in holds if hold is not None]
    return Memory(fence=min(known) if len(known) == len(holds) else None, prepared=prepared, epochs=epochs)


def _newest_ended(current: Epoch, earlier: Collection[Epoch]) -> tuple[datetime | None, tuple[Epoch, ...]]:
    """The newest epoch all of whose transactions have ended (None: none yet), and those worth keeping."""
    epochs = [*(Epoch(e.at, e.running & current.running) for e in earlier), current]
    ended = [at for at, epoch in enumerate(epochs) if not epoch.running]
    kept = epochs[ended[-1] :] if ended else epochs
    while len(kept) > _MAX_EPOCHS:  # thin the middle: a lost epoch only makes the fence older
        kept = [*kept[:-1:2], kept[-1]]
    return (kept[0].at if ended else None), tuple(kept)


def take_fence(
    connection: Connection,
    cursor: PostgresColumn | None,
    previous_state: str | None,
    *,
    zone: str,
    reader: str,
    margin_s: float,
) -> Fence:
    """The fence of a cursor column; its connection must be in no transaction, the snapshot not yet open."""
    if cursor is None or cursor.base not in _RENDERED:
        why = "there is no cursor" if cursor is None else f"the cursor {cursor.facts.name} is not a time"
        return Fence(now=None, bound=None, feed_class=FeedClass.EVENTUAL, reason=why)
    row = connection.execute(_STANDING).fetchone()
    standby, sees_all, now, replayed = _present(row)
    if standby:
        return _standby_fence(connection, cursor, now, replayed, zone=zone, margin_s=margin_s)
    seen = _sight(connection, reader, sees_all=sees_all)
    memory = decide_fence(seen, read_memory(previous_state))
    bound = memory.fence - timedelta(seconds=margin_s) if memory.fence else None
    now_text, bound_text = _render(connection, cursor, seen.at, bound, zone=zone)
    state = write_memory(memory)
    return Fence(now=now_text, bound=bound_text, feed_class=FeedClass.EXACT, state=state)


def _present(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    if row is None:
        raise InvariantError("a query without FROM answered no row")
    return row


def _standby_fence(
    connection: Connection,
    cursor: PostgresColumn,
    now: datetime,
    replayed: datetime | None,
    *,
    zone: str,
    margin_s: float,
) -> Fence:
    bound = replayed - timedelta(seconds=margin_s) if replayed else None
    now_text, bound_text = _render(connection, cursor, now, bound, zone=zone)
    why = "the app is a standby: transactions that still run on the primary cannot be seen"
    return Fence(now=now_text, bound=bound_text, feed_class=FeedClass.BOUNDED, reason=why)


def _sight(connection: Connection, reader: str, *, sees_all: bool) -> Sighting:
    """Running transactions first, prepared ones second: the reverse misses one prepared in between."""
    oldest: datetime | None = None
    running: frozenset[str] = frozenset()
    hidden = 0
    if sees_all:
        at, oldest, hidden = _present(connection.execute(_RUNNING, {"reader": reader}).fetchone())
    if not sees_all or hidden:  # sessions with track_activities off do not say when they began
        at, ids = _present(connection.execute(_RUNNING_IDS, {"reader": reader}).fetchone())
        oldest, running = None, frozenset(ids)
    prepared = frozenset(name for (name,) in connection.execute(_PREPARED).fetchall())
    return Sighting(at=at, oldest=oldest, running=running, prepared=prepared)


def _render(
    connection: Connection, cursor: PostgresColumn, now: datetime, bound: datetime | None, *, zone: str
) -> tuple[str, str]:
    """The clock and the bound as texts of the cursor column, rounded as the column rounds, the bound less
    the column's quantum: what is below it can neither come late nor tie with what comes."""
    digits = cursor.modifier if cursor.modifier >= 0 else 6
    quantum = f"{10**-digits:.6f}"
    statement = _RENDER + _RENDERED[cursor.base].format(p=digits, quantum=quantum)
    values = {"now": now, "bound": bound or now, "zone": zone}
    now_text, bound_text = _present(connection.execute(statement, values).fetchone())
    return now_text, bound_text if bound else _LOWEST


def read_memory(state: str | None) -> Memory:
    """The memory that `write_memory` wrote; an empty one for None or "{}"."""
    kept = json.loads(state or "{}")
    return Memory(
        fence=_time(kept.get("fence")),
        prepared={name: _time(at) for name, at in kept.get("prepared", {}).items()},
        epochs=tuple(Epoch(datetime.fromisoformat(at), frozenset(ids)) for at, ids in kept.get("epochs", [])),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def write_memory(memory: Memory) -> str:
    kept: dict[str, Any] = {"fence": memory.fence.isoformat() if memory.fence else None}
    if memory.prepared:
        held = sorted(memory.prepared.items())
        kept["prepared"] = {name: at.isoformat() if at else None for name, at in held}
    if memory.epochs:
        kept["epochs"] = [[epoch.at.isoformat(), sorted(epoch.running)] for epoch in memory.epochs]
    return json.dumps(kept)
