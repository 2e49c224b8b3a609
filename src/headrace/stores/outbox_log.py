"""`ports.relaying.Outbox` over a SQL database, whatever its dialect.

The merges of a model exclude each other, and an event is numbered and committed while its merge's lock is
held: so of one model a higher number is never visible before a lower one, and a position per model loses
nothing. (Over several models numbers do become visible out of order.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final

from headrace.domain.record_event import ChangeKind, RecordEvent
from headrace.domain.vocabulary import ModelId, PropertyType
from headrace.errors import LeaseLostError
from headrace.ports.relaying import BACKLOG_COUNTED, Backlog, Position, Stream
from headrace.stores.dialect import Binds, Dialect, Session
from headrace.stores.layout import ASIDE, OUTBOX, POSITION

_PAGE_CHARACTERS: Final = 8 * 1024 * 1024
_PRUNED_AT_ONCE: Final = 10_000
_FREE: Final = "NULL"


class SqlOutbox:
    """The outbox of one data source. Safe between threads.

    Args:
        reading, writing: open a transaction in which the tables are known to be the data source's own.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        reading: Callable[[], AbstractContextManager[Session]],
        writing: Callable[[], AbstractContextManager[Session]],
    ) -> None:
        self._dialect = dialect
        self._reading = reading
        self._writing = writing
        self._outbox, self._position, self._aside = map(dialect.table, (OUTBOX, POSITION, ASIDE))
        self._q = dialect.quote

    # --- who is given what --------------------------------------------------------------------------

    def begin(self, sinks: Sequence[str], models: Sequence[ModelId]) -> None:
        with self._writing() as session:
            for table in (self._position, self._aside):
                binds = Binds(self._dialect)
                gone = f" WHERE {self._q('sink')} NOT IN ({self._listed(binds, sinks)})" if sinks else ""
                session.run(f"DELETE FROM {table}{gone}", binds)
            for sink in sinks:
                for model in models:
                    self._begin(session, sink, model)

    def _begin(self, session: Session, sink: str, model: ModelId) -> None:
        binds, q = Binds(self._dialect), self._q
        own = f"{self._outbox} WHERE {q('model')} = {binds.text(model)}"
        last = f"SELECT COALESCE(max({q('seq')}), 0) FROM {own}"
        session.run(
            f"INSERT INTO {self._position} ({self._names('sink', 'model', 'seq', 'failures')})"
            f" VALUES ({binds.text(sink)}, {binds.text(model)}, ({last}), 0) ON CONFLICT DO NOTHING",
            binds,
        )

    # --- streams ----------------------------------------------------------------------------------------

    def waiting(self, sink: str) -> tuple[ModelId, ...]:
        binds, q = Binds(self._dialect), self._q
        # The greatest by its index, and not whether there is a greater: that may be looked for in all rows.
        last = f"SELECT max(o.{q('seq')}) FROM {self._outbox} AS o WHERE o.{q('model')} = p.{q('model')}"
        again = (
            f"SELECT 1 FROM {self._aside} AS a JOIN {self._outbox} AS o ON o.{q('seq')} = a.{q('seq')}"
            f" WHERE a.{q('sink')} = p.{q('sink')} AND a.{q('again')} AND o.{q('model')} = p.{q('model')}"
        )
        with self._reading() as session:
            found = session.all(
                f"SELECT p.{q('model')} FROM {self._position} AS p WHERE p.{q('sink')} = {binds.text(sink)}"
                f" AND {self._is_free('p')} AND {self._may_try('p')}"
                f" AND (({last}) > p.{q('seq')} OR EXISTS ({again})) ORDER BY p.{q('model')}",
                binds,
            )
        return tuple(ModelId(model) for (model,) in found)

    def lease(self, stream: Stream, *, lease_s: float) -> Position | None:
        binds, q = Binds(self._dialect), self._q
        free = f"({self._is_free('p')} OR p.{q('holder')} = {binds.text(stream.holder)})"
        now = self._told_at(self._dialect.now)
        with self._writing() as session:
            held = session.all(
                f"UPDATE {self._position} AS p SET {self._until(binds, stream, lease_s)}"
                f" WHERE {self._of(stream, binds, 'p')} AND {free} AND {self._may_try('p')}"
                f" RETURNING {q('seq')}, {q('failures')}, {self._told_at(q('failing_since'))}, {now}",
                binds,
            )
        if not held:
            return None
        ((seq, failures, since, now),) = held
        failing_s = 0.0 if since is None else _moment(now) - _moment(since)
        return Position(seq=seq, failures=failures, failing_s=failing_s)

    def renew(self, stream: Stream, *, lease_s: float) -> None:
        with self._writing() as session:
            self._write(session, stream, lambda binds: self._until(binds, stream, lease_s))

    def events(self, model: ModelId, *, after: int, limit: int) -> tuple[RecordEvent, ...]:
        binds, q = Binds(self._dialect), self._q
        size = f"length(COALESCE({q('record')}, ''))"
        wanted = (
            f"SELECT *, {size} AS size FROM {self._outbox} WHERE {q('model')} = {binds.text(model)}"
            f" AND {q('seq')} > {binds.add(after)} ORDER BY {q('seq')} LIMIT {binds.add(limit)}"
        )
        # By the size of all before: the first one is told however big it is.
        added = f"SELECT *, sum(size) OVER (ORDER BY {q('seq')}) AS total FROM ({wanted}) AS w"
        return self._events(f"({added}) AS o WHERE o.total - o.size <= {_PAGE_CHARACTERS}", binds)

    def advance(self, stream: Stream, seq: int, *, lease_s: float) -> None:
        def moved(binds: Binds) -> str:
            return (
                f"{self._q('seq')} = {binds.add(seq)}, {self._well()}, {self._until(binds, stream, lease_s)}"
            )

        with self._writing() as session:
            self._write(session, stream, moved)

    def back_off(self, stream: Stream, error: str, *, delay_s: float) -> None:
        q, now = self._q, self._dialect.now

        def waits(binds: Binds) -> str:
            return (
                f"{q('failures')} = {q('failures')} + 1, {q('error')} = {binds.text(error)},"
                f" {q('failing_since')} = COALESCE({q('failing_since')}, {now}),"
                f" {q('retry_at')} = {self._dialect.later(binds, delay_s)}, {self._given_back()}"
            )

        with self._writing() as session:
            self._write(session, stream, waits)

    def set_aside(self, stream: Stream, seq: int, reason: str) -> None:
        with self._writing() as session:
            self._write(session, stream, lambda b: f"{self._q('seq')} = {b.add(seq)}, {self._well()}")
            binds = Binds(self._dialect)
            no = binds.typed("false", PropertyType.BOOLEAN)
            values = [binds.text(stream.sink), binds.add(seq), binds.text(reason), self._dialect.now, no]
            session.run(
                f"INSERT INTO {self._aside} ({self._names('sink', 'seq', 'reason', 'at', 'again')})"
                f" VALUES ({', '.join(values)}) ON CONFLICT DO NOTHING",
                binds,
            )

    def set_aside_older(self, stream: Stream, older_s: float, reason: str) -> int:
        q = self._q
        with self._writing() as session:
            binds = Binds(self._dialect)
            old = f"o.{q('at')} < {self._dialect.later(binds, -older_s)}"
            own = f"o.{q('model')} = {binds.text(stream.model)} AND {old}"
            position = (
                f"{self._position} AS p ON {self._of(stream, binds, 'p')} AND o.{q('seq')} > p.{q('seq')}"
            )
            no = binds.typed("false", PropertyType.BOOLEAN)
            values = [binds.text(stream.sink), f"o.{q('seq')}", binds.text(reason), self._dialect.now, no]
            count = session.run(
                f"INSERT INTO {self._aside} ({self._names('sink', 'seq', 'reason', 'at', 'again')})"
                f" SELECT {', '.join(values)} FROM {self._outbox} AS o JOIN {position} WHERE {own}"
                " ON CONFLICT DO NOTHING",
                binds,
            )

            def moved(binds: Binds) -> str:
                joined = f"{self._outbox} AS o ON o.{q('seq')} = a.{q('seq')}"
                mine = f"a.{q('sink')} = {binds.text(stream.sink)}"
                own = f"{mine} AND o.{q('model')} = {binds.text(stream.model)}"
                last = f"SELECT max(a.{q('seq')}) FROM {self._aside} AS a JOIN {joined} WHERE {own}"
                least = f"COALESCE(({last}), 0)"
                return f"{q('seq')} = CASE WHEN {least} > {q('seq')} THEN {least} ELSE {q('seq')} END"

            self._write(session, stream, moved)
            return count

    def release(self, stream: Stream) -> None:
        binds, q = Binds(self._dialect), self._q
        with self._writing() as session:
            session.run(
                f"UPDATE {self._position} AS p SET {self._given_back()} WHERE {self._of(stream, binds, 'p')}"
                f" AND p.{q('holder')} = {binds.text(stream.holder)}",
                binds,
            )

    # --- what a person asks for -------------------------------------------------------------------------

    def asked_again(self, stream: Stream, *, limit: int) -> tuple[RecordEvent, ...]:
        binds, q = Binds(self._dialect), self._q
        asked = (
            f"SELECT a.{q('seq')} FROM {self._aside} AS a WHERE a.{q('sink')} = {binds.text(stream.sink)}"
            f" AND a.{q('again')}"
        )
        own = f"{self._outbox} AS o WHERE o.{q('model')} = {binds.text(stream.model)}"
        return self._events(f"{own} AND o.{q('seq')} IN ({asked})", binds, limit=limit)

    def refused_again(self, stream: Stream, reason: str, *, seq: int | None = None) -> None:
        binds, q = Binds(self._dialect), self._q
        no = binds.typed("false", PropertyType.BOOLEAN)
        told = f"{q('again')} = {no}, {q('reason')} = {binds.text(reason)}"
        asked = f"a.{q('sink')} = {binds.text(stream.sink)} AND a.{q('again')}"
        own = (
            f"SELECT o.{q('seq')} FROM {self._outbox} AS o WHERE o.{q('model')} = {binds.text(stream.model)}"
        )
        alone = "" if seq is None else f" AND a.{q('seq')} = {binds.add(seq)}"
        with self._writing() as session:
            session.run(
                f"UPDATE {self._aside} AS a SET {told} WHERE {asked} AND a.{q('seq')} IN ({own}){alone}",
                binds,
            )

    def delivered_again(self, stream: Stream, seqs: Sequence[int]) -> None:
        binds, q = Binds(self._dialect), self._q
        listed = ", ".join(map(binds.add, seqs))
        with self._writing() as session:
            session.run(
                f"DELETE FROM {self._aside} WHERE {q('sink')} = {binds.text(stream.sink)}"
                f" AND {q('seq')} IN ({listed})",
                binds,
            )

    def replay(self, sink: str) -> int:
        binds, q = Binds(self._dialect), self._q
        yes = binds.typed("true", PropertyType.BOOLEAN)
        with self._writing() as session:
            return session.run(
                f"UPDATE {self._aside} SET {q('again')} = {yes} WHERE {q('sink')} = {binds.text(sink)}", binds
            )

    def rewind(self, sink: str, *, since_s: float) -> int:
        binds, q = Binds(self._dialect), self._q
        before = (
            f"SELECT max(o.{q('seq')}) FROM {self._outbox} AS o WHERE o.{q('model')} = p.{q('model')}"
            f" AND o.{q('at')} < {self._dialect.later(binds, -since_s)}"
        )
        back = f"COALESCE(({before}), 0)"
        least = f"CASE WHEN {back} < p.{q('seq')} THEN {back} ELSE p.{q('seq')} END"
        with self._writing() as session:
            # Whoever holds the stream must not go on from where it was.
            session.run(
                f"UPDATE {self._position} AS p SET {q('seq')} = {least}, {self._well()}, {self._given_back()}"
                f" WHERE p.{q('sink')} = {binds.text(sink)}",
                binds,
            )
            return sum(counted for _, _, counted, _ in self._pending(session, sink))

    def prune(self, sinks: Sequence[str], *, keep_s: float, keep_aside_s: float) -> int:
        if not sinks:
            return 0
        with self._writing() as session:
            binds = Binds(self._dialect)
            old = f"{self._q('at')} < {self._dialect.later(binds, -keep_aside_s)}"
            session.run(f"DELETE FROM {self._aside} WHERE {old}", binds)
        removed = 0
        while (some := self._prune(sinks, keep_s)) == _PRUNED_AT_ONCE:
            removed += some
        return removed + some

    def _prune(self, sinks: Sequence[str], keep_s: float) -> int:
        binds, q = Binds(self._dialect), self._q
        old = f"o.{q('at')} < {self._dialect.later(binds, -keep_s)}"
        wanted = (
            f"SELECT 1 FROM {self._position} AS p WHERE p.{q('model')} = o.{q('model')}"
            f" AND p.{q('seq')} < o.{q('seq')} AND p.{q('sink')} IN ({self._listed(binds, sinks)})"
        )
        aside = f"SELECT 1 FROM {self._aside} AS a WHERE a.{q('seq')} = o.{q('seq')}"
        # The first by number are the oldest: no more than those are looked at.
        first = (
            f"SELECT o.* FROM {self._outbox} AS o WHERE NOT EXISTS ({aside})"
            f" ORDER BY o.{q('seq')} LIMIT {_PRUNED_AT_ONCE}"
        )
        done = f"SELECT o.{q('seq')} FROM ({first}) AS o WHERE {old} AND NOT EXISTS ({wanted})"
        with self._writing() as session:
            self._in_order(session)
            return session.run(f"DELETE FROM {self._outbox} WHERE {q('seq')} IN ({done})", binds)

    def backlog(self) -> tuple[Backlog, ...]:
        q = self._q
        aside = (
            f"SELECT count(*) FROM {self._aside} AS a JOIN {self._outbox} AS o ON o.{q('seq')} = a.{q('seq')}"
            f" WHERE a.{q('sink')} = p.{q('sink')} AND o.{q('model')} = p.{q('model')}"
        )
        with self._reading() as session:
            pending = {(sink, model): (n, at) for sink, model, n, at in self._pending(session)}
            rows = session.all(
                f"SELECT p.{q('sink')}, p.{q('model')}, ({aside}), p.{q('failures')}, p.{q('error')}"
                f" FROM {self._position} AS p ORDER BY p.{q('sink')}, p.{q('model')}"
            )
        return tuple(
            Backlog(
                sink=sink,
                model=ModelId(model),
                pending=pending[sink, model][0],
                oldest_at=pending[sink, model][1],
                set_aside=set_aside,
                failures=failures,
                error=error,
            )
            for sink, model, set_aside, failures, error in rows
        )

    # --- pieces -------------------------------------------------------------------------------------------

    def _pending(
        self, session: Session, sink: str | None = None
    ) -> Iterator[tuple[str, str, int, float | None]]:
        binds, q = Binds(self._dialect), self._q
        beyond = f"o.{q('model')} = p.{q('model')} AND o.{q('seq')} > p.{q('seq')}"
        some = f"SELECT 1 FROM {self._outbox} AS o WHERE {beyond} LIMIT {BACKLOG_COUNTED}"
        first = f"SELECT o.{q('at')} FROM {self._outbox} AS o WHERE {beyond} ORDER BY o.{q('seq')} LIMIT 1"
        where = "" if sink is None else f" WHERE p.{q('sink')} = {binds.text(sink)}"
        self._in_order(session)
        rows = session.all(
            f"SELECT p.{q('sink')}, p.{q('model')}, (SELECT count(*) FROM ({some}) AS s),"
            f" {self._told_at(f'({first})')} FROM {self._position} AS p{where}",
            binds,
        )
        for of_sink, model, counted, at in rows:
            yield of_sink, model, counted, None if at is None else _moment(at)

    def _events(self, rows: str, binds: Binds, *, limit: int | None = None) -> tuple[RecordEvent, ...]:
        q = self._q
        at = self._told_at(f"o.{q('at')}")
        told = ", ".join(f"o.{q(name)}" for name in _COLUMNS[:-1])
        end = "" if limit is None else f" LIMIT {binds.add(limit)}"
        with self._reading() as session:
            self._in_order(session)
            found = session.all(f"SELECT {told}, {at} FROM {rows} ORDER BY o.{q('seq')}{end}", binds)
        return tuple(
            RecordEvent(
                seq=seq,
                merge=merge,
                model=ModelId(model),
                customer=customer,
                key=key,
                kind=ChangeKind(kind),
                changed=() if changed is None else tuple(json.loads(changed)),
                record=record,
                at=at,
            )
            for seq, merge, model, customer, key, kind, changed, record, at in found
        )

    def _in_order(self, session: Session) -> None:
        for statement in self._dialect.index_order:
            session.run(statement)

    def _write(self, session: Session, stream: Stream, assigned: Callable[[Binds], str]) -> None:
        binds, q = Binds(self._dialect), self._q
        written = session.run(
            f"UPDATE {self._position} AS p SET {assigned(binds)} WHERE {self._of(stream, binds, 'p')}"
            f" AND p.{q('holder')} = {binds.text(stream.holder)} AND p.{q('until')} >= {self._dialect.now}",
            binds,
        )
        if not written:
            raise LeaseLostError(f"events of {stream.model} for {stream.sink}: another relay has them")

    def _of(self, stream: Stream, binds: Binds, alias: str) -> str:
        q = self._q
        mine = f"{alias}.{q('sink')} = {binds.text(stream.sink)}"
        return f"{mine} AND {alias}.{q('model')} = {binds.text(stream.model)}"

    def _is_free(self, alias: str) -> str:
        until = f"{alias}.{self._q('until')}"
        return f"({until} IS NULL OR {until} < {self._dialect.now})"

    def _may_try(self, alias: str) -> str:
        retry_at = f"{alias}.{self._q('retry_at')}"
        return f"({retry_at} IS NULL OR {retry_at} <= {self._dialect.now})"

    def _until(self, binds: Binds, stream: Stream, lease_s: float) -> str:
        q, until = self._q, self._dialect.later(binds, lease_s)
        return f"{q('holder')} = {binds.text(stream.holder)}, {q('until')} = {until}"

    def _given_back(self) -> str:
        return f"{self._q('holder')} = {_FREE}, {self._q('until')} = {_FREE}"

    def _well(self) -> str:
        cleared = ", ".join(f"{self._q(name)} = {_FREE}" for name in ("retry_at", "failing_since", "error"))
        return f"{self._q('failures')} = 0, {cleared}"

    def _told_at(self, expression: str) -> str:
        return self._dialect.canonical_text(expression, PropertyType.DATETIME)

    def _listed(self, binds: Binds, texts: Sequence[str]) -> str:
        return ", ".join(map(binds.text, texts))

    def _names(self, *names: str) -> str:
        return ", ".join(map(self._q, names))


_COLUMNS: Final = ("seq", "merge", "model", "customer", "key", "kind", "changed", "record", "at")


def is_drained(session: Session) -> bool:
    """Every sink has every event of the outbox, or has set it aside."""
    q, table = session.dialect.quote, session.dialect.table
    further = (
        f"SELECT 1 FROM {table(OUTBOX)} AS o WHERE o.{q('model')} = p.{q('model')}"
        f" AND o.{q('seq')} > p.{q('seq')}"
    )
    behind = f"SELECT 1 FROM {table(POSITION)} AS p WHERE EXISTS ({further}) LIMIT 1"
    return not session.all(behind) and not session.all(f"SELECT 1 FROM {table(ASIDE)} LIMIT 1")


def _moment(text: str) -> float:
    """Unix time of a canonical text."""
    return datetime.fromisoformat(text).timestamp()
