"""Reconciliation: noting the keys that a source no longer has, and removing what is left.

A note is the JSON array of a row's key as text, for records with the customer before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headrace.domain.coercion import canonical_text
from headrace.domain.shape import Column
from headrace.domain.vocabulary import APP, CUSTOMER, DELETED, PropertyType
from headrace.ports import FeedScope, KeyChunk
from headrace.stores.dialect import Binds
from headrace.stores.frame import ORDINAL, Frame, Temp, names_of
from headrace.stores.key_digest import digest_of, one_customer, select_digest
from headrace.stores.layout import GONE
from headrace.stores.touched import Touched, mapped_column

_CUSTOMER_COLUMN = Column(name=CUSTOMER, type=PropertyType.STRING, source_column=CUSTOMER)
_Notes = Callable[[Binds, str], str]
"""Which notes, as a condition on this alias."""
_HELD_ROWS = 100
_HELD_SHARE = 100
SPARED_ROWS = 1_000
"""More rows than this that may not be removed are held: a person has to look at what refuses them."""


@dataclass(frozen=True, slots=True)
class Closed:
    """How the end of a reconciliation went: rows removed, rows that the breaker keeps, keys of those that are
    to be deleted as rows."""

    removed: int = 0
    held: int = 0
    spared: tuple[tuple[str, ...], ...] = ()


class GoneRows:
    """The notes of one feed, and the rows of the store that are the feed's."""

    def __init__(self, frame: Frame, touched: Touched, scope: FeedScope) -> None:
        self._frame = frame
        self._touched = touched
        self._scope = scope
        self._primary = scope.source.primary
        self._rows = frame.records if self._primary else frame.staged(scope.source)
        self._key = scope.source.key
        self._noted = (_CUSTOMER_COLUMN, *self._key) if self._primary else self._key
        self._notes = frame.dialect.table(GONE)

    def forget_applied(self, batch: Temp) -> None:
        """The keys of rows that were seen again are gone no more."""
        if self.noted():
            self._forget(f"{batch.name} AS b WHERE NOT b.{self._frame.q(DELETED)}")

    def noted(self) -> bool:
        """A row of the feed is noted as gone."""
        binds = self._frame.binds()
        return self._frame.exists(f"SELECT 1 FROM {self._notes} AS g WHERE {self._mine(binds, 'g')}", binds)

    def discard_older(self, chunk: KeyChunk) -> None:
        """What older reconciliations have noted is forgotten."""
        frame, binds = self._frame, self._frame.binds()
        frame.run(
            f"DELETE FROM {self._notes} AS g WHERE {self._mine(binds, 'g')}"
            f" AND g.{frame.q('reconciliation')} <> {binds.text(chunk.reconciliation)}",
            binds,
        )

    def are_exactly(self, keys: pa.Table, chunk: KeyChunk) -> bool:
        """The feed's rows of the chunk have these keys and no others, so there is nothing to note or miss.
        False where nobody can tell so cheaply."""
        bounded = chunk.upto is not None or chunk.closes
        digest = digest_of(keys, self._scope) if chunk.opens and bounded else None
        if digest is None or self._has_others():
            return False
        frame, binds = self._frame, self._frame.binds()
        conditions = [self._feeds(binds, "r"), *self._in_range(chunk, binds)]
        customer = one_customer(self._scope)
        if customer is not None:  # the records' key begins with it: an index serves the range
            conditions.append(f"r.{frame.q(CUSTOMER)} = {binds.text(customer)}")
        select = select_digest(frame.dialect, self._scope, rows=self._rows, conditions=conditions)
        return frame.session.all(select, binds) == [(digest,)]

    def _has_others(self) -> bool:
        """There are records of another customer than the feed's, though all should be its own."""
        customer = one_customer(self._scope)
        if customer is None or self._scope.source.many_apps:
            return False
        mine = self._frame.q(CUSTOMER)
        # By ORDER BY, for which a planner without statistics takes the index too.
        ends = [f"(SELECT {mine} FROM {self._rows} ORDER BY {mine} {way} LIMIT 1)" for way in ("ASC", "DESC")]
        ((first, last),) = self._frame.session.all(f"SELECT {', '.join(ends)}")
        return first is not None and {first, last} != {customer}

    def begin(self, chunk: KeyChunk, batch: Temp) -> None:
        """Older reconciliations are discarded; the chunk's missing rows are noted, or taken out again."""
        self.discard_older(chunk)
        if chunk.opens:
            self._note(chunk, batch)
        else:
            self._forget(f"{batch.name} AS b")

    def missing(self, keys: pa.Table, batch: Temp) -> tuple[tuple[str, ...], ...]:
        """The batch's keys that the store has not under their customer, as canonical texts."""
        frame, q, binds = self._frame, self._frame.q, self._frame.binds()
        on = frame.equal((CUSTOMER, *names_of(self._key)), "r", "b")
        found = frame.session.all(
            f"SELECT b.{q(ORDINAL)} FROM {batch.name} AS b WHERE NOT EXISTS"
            f" (SELECT 1 FROM {self._rows} AS r WHERE {on} AND {self._feeds(binds, 'r')})"
            f" ORDER BY b.{q(ORDINAL)}",
            binds,
        )
        if not found:
            return ()
        places = pa.array([ordinal for (ordinal,) in found], pa.int64())
        columns = [canonical_text(keys.column(c.name).take(places)).to_pylist() for c in self._key]
        return tuple(zip(*columns, strict=True))

    def close(self, chunk: KeyChunk) -> Closed:
        """Remove what is still noted, unless that is too much of the feed's rows to be believed, or some may
        only have become unreadable."""
        self._drop_notes(self._without_row)
        if chunk.forbid_removal:
            self._drop_notes(self._mine)
            return Closed()
        left = self._count_notes(self._mine)
        if left and (chunk.incomplete or self._trips(left)):
            return self._hold(self._mine)
        return self._end(self._mine, chunk)

    def remove_held(self, chunk: KeyChunk) -> Closed:
        """Remove every row that a breaker holds; what a reconciliation under way has noted stays noted."""
        return self._end(self._held, chunk)

    def _end(self, which: _Notes, chunk: KeyChunk) -> Closed:
        """The rows that are noted so are removed, or spared."""
        return self._spare(which) if chunk.spares else Closed(removed=self._remove(which))

    def _hold(self, which: _Notes) -> Closed:
        frame, binds = self._frame, self._frame.binds()
        held = binds.typed("true", PropertyType.BOOLEAN)
        which_of = which(binds, "g")
        frame.run(f"UPDATE {self._notes} AS g SET {frame.q('held')} = {held} WHERE {which_of}", binds)
        return Closed(held=self._count_notes(which))

    def _spare(self, which: _Notes) -> Closed:
        """The notes are given back as keys, unless they are too many: then they are held."""
        if self._count_notes(which) > SPARED_ROWS:
            return self._hold(which)
        frame, binds = self._frame, self._frame.binds()
        texts = [frame.dialect.canonical_text(f"r.{frame.q(c.name)}", c.type) for c in self._key]
        on = f"{which(binds, 'g')} AND {self._is_noted('r')} AND {self._feeds(binds, 'r')}"
        select = f"SELECT DISTINCT {', '.join(texts)} FROM {self._notes} AS g JOIN {self._rows} AS r ON {on}"
        spared = tuple(sorted(frame.session.all(select, binds)))
        self._drop_notes(which)
        return Closed(spared=spared)

    def _remove(self, which: _Notes) -> int:
        """Remove every row that is noted so, and the notes."""
        if not self._count_notes(which):
            return 0
        binds = self._frame.binds()
        using = f"{self._notes} AS g"
        on = f"{which(binds, 'g')} AND {self._is_noted('r')} AND {self._feeds(binds, 'r')}"
        removed = self.delete(using=using, on=on, binds=binds)
        self._drop_notes(which)
        return removed

    def remove_customer(self, customer: str) -> int:
        """Remove all rows of the feed that are the customer's."""
        frame, binds = self._frame, self._frame.binds()
        on = f"r.{frame.q(CUSTOMER)} = w.c AND {self._feeds(binds, 'r')}"
        using = f"(SELECT {binds.text(customer)} AS c) AS w"
        return self.delete(using=using, on=on, binds=binds)

    def delete(self, *, using: str, on: str, binds: Binds) -> int:
        """Delete rows of the feed, noting the mapped values that it touches."""
        frame = self._frame
        if not self._primary:
            value = f"r.{frame.q(mapped_column(self._scope.source).name)}"
            self._touched.add_values(
                self._scope.source,
                f"SELECT r.{frame.q(CUSTOMER)}, {value} FROM {using} JOIN {self._rows} AS r ON {on}"
                f" WHERE {value} IS NOT NULL",
                binds,
            )
        else:
            keys = frame.names((CUSTOMER, *names_of(self._key)), "r")
            frame.events.note(f"SELECT {keys} FROM {using} JOIN {self._rows} AS r ON {on}", binds)
        return frame.run(frame.dialect.delete_joined(self._rows, using=using, on=on), binds)

    def _note(self, chunk: KeyChunk, batch: Temp) -> None:
        frame, binds = self._frame, self._frame.binds()
        conditions = [self._feeds(binds, "r"), *self._in_range(chunk, binds)]
        same = frame.equal(names_of(self._noted), "b", "r")
        conditions.append(f"b.{frame.q(ORDINAL)} IS NULL")
        values = [
            binds.text(self._scope.feed_id),
            binds.text(chunk.reconciliation),
            self._note_of("r"),
            binds.typed("false", PropertyType.BOOLEAN),
        ]
        columns = frame.names(["feed", "reconciliation", "key", "held"])
        frame.run(
            f"INSERT INTO {self._notes} ({columns}) SELECT {', '.join(values)}"
            # A join, since SQLite makes an index for it, and none for a correlated NOT EXISTS.
            f" FROM {self._rows} AS r LEFT JOIN {batch.name} AS b ON {same}"
            f" WHERE {' AND '.join(conditions)} ON CONFLICT DO NOTHING",
            binds,
        )

    def _in_range(self, chunk: KeyChunk, binds: Binds) -> list[str]:
        dialect = self._frame.dialect
        key = [dialect.comparable(f"r.{self._frame.q(c.name)}", c.type) for c in self._key]

        def bound(texts: Sequence[str]) -> str:
            values = zip(texts, self._key, strict=True)
            return "(" + ", ".join(binds.typed(text, c.type) for text, c in values) + ")"

        conditions = []
        if chunk.after is not None:
            conditions.append(f"({', '.join(key)}) > {bound(chunk.after)}")
        if chunk.upto is not None:
            conditions.append(f"({', '.join(key)}) <= {bound(chunk.upto)}")
        return conditions

    def _forget(self, keys: str) -> None:
        frame, binds = self._frame, self._frame.binds()
        frame.run(
            f"DELETE FROM {self._notes} AS g WHERE {self._mine(binds, 'g')}"
            f" AND g.{frame.q('key')} IN (SELECT {self._note_of('b')} FROM {keys})",
            binds,
        )

    def _drop_notes(self, which: _Notes) -> None:
        binds = self._frame.binds()
        self._frame.run(f"DELETE FROM {self._notes} AS g WHERE {which(binds, 'g')}", binds)

    def _count_notes(self, which: _Notes) -> int:
        binds = self._frame.binds()
        count = f"SELECT count(*) FROM {self._notes} AS g WHERE {which(binds, 'g')}"
        return int(self._frame.session.all(count, binds)[0][0])

    def _trips(self, left: int) -> bool:
        binds = self._frame.binds()
        feeds = self._feeds(binds, "r")
        rows = self._frame.session.all(f"SELECT count(*) FROM {self._rows} AS r WHERE {feeds}", binds)
        total = int(rows[0][0])
        return left == total or (left > _HELD_ROWS and left * _HELD_SHARE > total)

    def _feeds(self, binds: Binds, alias: str) -> str:
        """The rows of the table that are the feed's."""
        source, q = self._scope.source, self._frame.q
        if not source.many_apps:
            return "1 = 1"
        if self._primary:
            return f"{alias}.{q(CUSTOMER)} = {binds.text(self._scope.customer)}"
        return f"{alias}.{q(APP)} = {binds.text(self._scope.app_id)}"

    def _mine(self, binds: Binds, alias: str) -> str:
        return f"{alias}.{self._frame.q('feed')} = {binds.text(self._scope.feed_id)}"

    def _held(self, binds: Binds, alias: str) -> str:
        return f"{self._mine(binds, alias)} AND {alias}.{self._frame.q('held')}"

    def _without_row(self, binds: Binds, alias: str) -> str:
        """Notes of rows that are gone already; `_is_noted` knows notes as g."""
        mine, feeds = self._mine(binds, alias), self._feeds(binds, "r")
        return (
            f"{mine} AND NOT EXISTS (SELECT 1 FROM {self._rows} AS r WHERE {self._is_noted('r')} AND {feeds})"
        )

    def _note_of(self, alias: str) -> str:
        dialect, q = self._frame.dialect, self._frame.q
        return dialect.json_array([dialect.key_text(f"{alias}.{q(c.name)}", c.type) for c in self._noted])

    def _is_noted(self, alias: str) -> str:
        """Joins by the values that a note holds, so that the row's own index serves."""
        dialect, q = self._frame.dialect, self._frame.q
        note = f"g.{q('key')}"
        return " AND ".join(
            f"{alias}.{q(c.name)} = {dialect.json_part(note, place, c.type)}"
            for place, c in enumerate(self._noted)
        )
