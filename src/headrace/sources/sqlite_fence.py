"""Below which time no transaction of a SQLite file can still commit.

There is one writer at a time, so commits come in the order of the clock: whoever commits later began to
write after the newest row that can be seen was committed. But it may hold a time of that row's own
second, so rows with the lead's cursor are never final, and a clock that the application sets may have
stamped one row late and the next one early.

A column holds what it is given: among its times there may be a text like 'n/a'. What sorts after the clock
is read like a row of the future; what sorts before it is missed once the feed has passed it, and the class
says so.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.domain.clock_step import ClockSight, set_back_by
from headrace.domain.position import Fence
from headrace.domain.vocabulary import FeedClass
from headrace.ports import ReadPlan
from headrace.sources.sqlite_catalogue import SqliteRelation
from headrace.sources.sqlite_clock import (
    Format,
    default_format,
    earlier,
    recognise,
    render_clock,
    render_floor,
)
from headrace.sources.sqlite_select import column_sql
from headrace.sources.sqlite_value import Value
from headrace.sources.steady_clock import SteadyClock

_ODD: Final = "the cursor {} holds values that are no times"
_KINDS: Final = ("{column} < ''", "{column} >= '0-' AND {column} < ':'")
"""Numbers, which sort before all texts, and texts that begin with a digit (none of these limits is a number,
so that no column takes it for one)."""


def take_fence(
    connection: sqlite3.Connection,
    relation: SqliteRelation,
    plan: ReadPlan,
    previous_state: str | None,
    *,
    bind: Callable[[str, str], Value],
    clock: SteadyClock,
) -> Fence:
    """The fence of a plan's cursor. Its bound is None (the lead's ties alone are read again) but near a
    fall-back of local time, and with a declared skew.

    Args:
        bind: the value that a column holds for a text.
    """
    if plan.cursor is None:
        return _eventual("there is no cursor")
    asked_s = clock.seconds()
    sight = clock.sight(_now(connection), asked_s=asked_s)
    values = extremes(connection, relation, plan.cursor)
    native_type = relation.column(plan.cursor).facts.native_type
    found, odd = recognise(values) if values else default_format(native_type), ""
    if found is None and values:
        found, odd = _among_others(connection, relation, plan.cursor), _ODD.format(plan.cursor)
        if found is None:
            return _eventual(f"the cursor {plan.cursor} holds no times, or times of several forms")
    state = json.dumps(sight.as_json())
    if found is None:
        return Fence(now=None, bound=None, feed_class=FeedClass.EXACT, state=state, at=sight.at)
    skew = timedelta(seconds=plan.skew_s)
    now, bound = render_clock(found, sight.at, plan.time_zone, skew=skew)
    if bound is None and skew:
        bound = _below_newest(connection, relation, found, plan.cursor, bind(plan.cursor, now), skew)
    resume = _resume(previous_state, sight)
    return Fence(
        now=now,
        bound=bound,
        feed_class=FeedClass.EVENTUAL if odd else FeedClass.EXACT,
        reason=odd,
        state=state,
        at=sight.at,
        resume=None if resume is None else render_floor(found, resume - skew, plan.time_zone),
    )


def _eventual(reason: str) -> Fence:
    return Fence(now=None, bound=None, feed_class=FeedClass.EVENTUAL, reason=reason)


def _now(connection: sqlite3.Connection) -> datetime:
    """The database's clock, up to the end of its millisecond."""
    text = connection.execute("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')").fetchone()[0]
    return datetime.fromisoformat(text.decode()).replace(tzinfo=UTC) + timedelta(microseconds=999)


def _among_others(connection: sqlite3.Connection, relation: SqliteRelation, name: str) -> Format | None:
    """The form of the times of a column that holds other values too; None: there are none, or of several
    forms."""
    column = column_sql(name)
    kinds = [extremes(connection, relation, name, where=kind.format(column=column)) for kind in _KINDS]
    found = [recognised for values in kinds if values and (recognised := recognise(values))]
    return found[0] if len(found) == 1 else None


def _below_newest(
    connection: sqlite3.Connection,
    relation: SqliteRelation,
    found: Format,
    cursor: str,
    now: Value,
    skew: timedelta,
) -> str | None:
    """The newest visible row may have been stamped late, the next one to be committed early: twice the
    skew below it. None where there is no row below the clock."""
    column = column_sql(cursor)
    newest = connection.execute(
        f"SELECT max({column}) FROM {relation.source} AS q WHERE {column} <= ?", (now,)
    ).fetchone()[0]
    return None if newest is None else earlier(found, newest, by=2 * skew)


def _resume(previous_state: str | None, sight: ClockSight) -> datetime | None:
    """Where rows may have come from on since the clock was set back; None: it was not."""
    kept = json.loads(previous_state or "{}")
    before = ClockSight.from_json(kept) if kept else None
    set_back = set_back_by(before, sight)
    return before.at - set_back if before is not None and set_back else None


def least(connection: sqlite3.Connection, relation: SqliteRelation, name: str) -> Value | None:
    return _end(connection, relation, f"min({column_sql(name)})")


def extremes(
    connection: sqlite3.Connection, relation: SqliteRelation, name: str, *, where: str = "1"
) -> tuple[Value, ...]:
    """The least and the greatest value, from two statements that an index serves; none when all are null."""
    column = column_sql(name)
    ends = [_end(connection, relation, f"{which}({column})", where=where) for which in ("min", "max")]
    return tuple(end for end in ends if end is not None)


def _end(
    connection: sqlite3.Connection, relation: SqliteRelation, which: str, *, where: str = "1"
) -> Value | None:
    found = connection.execute(f"SELECT {which} FROM {relation.source} AS q WHERE {where}").fetchone()
    value: Value | None = found[0]
    return value
