"""The outbox of a data source: one event for each record that a transaction changed, written with it.

Who writes records says before which ones. Of each the row as it was is kept in a temporary table, the first
time that it is named; at the end of the transaction it is compared with the row that is there then. So
several changes of a record are one event, changes that undo each other are none, and no way of writing needs
to know what an event is. Without events nothing of this is done (`frame.NoEvents`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

from headrace.domain.record_event import ChangeKind
from headrace.domain.record_query import record_columns
from headrace.domain.shape import Column
from headrace.domain.vocabulary import CUSTOMER, UPDATED, PropertyType
from headrace.stores.dialect import Binds
from headrace.stores.frame import Frame, Temp, names_of
from headrace.stores.layout import OUTBOX

_KNOWN: Final = "_known"


class EventsOf:
    """The events of one transaction of one model.

    Args:
        merge: names the transaction: an event's id is made of it and the record's key.
    """

    def __init__(self, frame: Frame, *, merge: str) -> None:
        self._frame = frame
        self._merge = merge
        self._before: Temp | None = None
        self._silent: set[str] = set()
        self._key = (CUSTOMER, *names_of(frame.model.key))
        key = names_of(frame.model.key)
        # When it was made, too: a record may go and come again, the same otherwise.
        told = record_columns(frame.model).values()
        self._compared = tuple(c for c in told if c.name not in key and c.name != UPDATED)

    def note(self, records: str, binds: Binds | None = None) -> None:
        """The records whose customer and key the statement selects are about to be written, or removed."""
        frame, q = self._frame, self._frame.q
        named = f"SELECT DISTINCT {frame.names(self._key)} FROM ({records}) AS s"
        columns = [frame.names(self._key, "n"), f"r.{q(CUSTOMER)} IS NOT NULL"]
        columns += [f"r.{q(c.name)}" for c in self._compared]
        frame.run(
            f"INSERT INTO {self._noted().name} SELECT {', '.join(columns)} FROM ({named}) AS n"
            f" LEFT JOIN {frame.records} AS r ON {frame.equal(self._key, 'r', 'n')}"
            " WHERE 1 = 1 ON CONFLICT DO NOTHING",
            binds,
        )

    def note_new(self, records: str, binds: Binds | None = None) -> None:
        """As `note`, of records that are not there: nothing is looked for."""
        frame, known = self._frame, self._frame.binds() if binds is None else binds
        no = known.typed("false", PropertyType.BOOLEAN)
        frame.run(
            f"INSERT INTO {self._noted().name} ({frame.names((*self._key, _KNOWN))})"
            f" SELECT {frame.names(self._key, 's')}, {no} FROM ({records}) AS s"
            " WHERE 1 = 1 ON CONFLICT DO NOTHING",
            known,
        )

    def note_loaded(self, rows: pa.Table) -> None:
        """These rows became records, which were not there before."""
        frame = self._frame
        columns = [(CUSTOMER, frame.dialect.text), *frame.typed(frame.model.key)]
        loaded = frame.make_temp("loaded", columns)
        frame.session.load(loaded.name, columns, rows)
        self.note_new(f"SELECT {frame.names(self._key)} FROM {loaded.name}")
        frame.drop_temp(loaded)

    def silence(self, customers: Iterable[str]) -> None:
        """This transaction makes no event of these customers' records."""
        self._silent |= set(customers)

    def write(self) -> int:
        """The events of all that was noted are in the outbox, at the end of the transaction; how many."""
        if self._before is None:
            return 0
        frame, q, binds = self._frame, self._frame.q, self._frame.binds()
        there, known = f"r.{q(CUSTOMER)} IS NOT NULL", f"b.{q(_KNOWN)}"
        kind = (
            f"CASE WHEN NOT {known} THEN {binds.text(ChangeKind.CREATED)}"
            f" WHEN {there} THEN {binds.text(ChangeKind.UPDATED)} ELSE {binds.text(ChangeKind.DELETED)} END"
        )
        both = f"{known} AND {there}"
        differs = [
            (c, f"{frame.dialect.differs(f'r.{q(c.name)}', f'b.{q(c.name)}')}") for c in self._compared
        ]
        record = self._object("r", record_columns(frame.model).values())
        values = {
            "merge": binds.text(self._merge),
            "model": binds.text(frame.model.id),
            "customer": f"b.{q(CUSTOMER)}",
            "key": self._object("b", frame.model.key),
            "kind": kind,
            "changed": f"CASE WHEN {both} THEN {_names_where(binds, differs)} END",
            "record": f"CASE WHEN {there} THEN {record} END",
            "at": frame.dialect.now,
        }
        changed = " OR ".join(condition for _, condition in differs)
        count = frame.run(
            f"INSERT INTO {frame.dialect.table(OUTBOX)} ({frame.names(values)})"
            f" SELECT {', '.join(values.values())} FROM {self._before.name} AS b"
            f" LEFT JOIN {frame.records} AS r ON {frame.equal(self._key, 'r', 'b')}"
            f" WHERE ((NOT {known} AND {there}) OR ({known} AND NOT ({there})) OR ({both} AND ({changed})))"
            f"{self._not_silent(binds)}",
            binds,
        )
        frame.drop_temp(self._before)
        self._before = None
        return count

    def _noted(self) -> Temp:
        """Rows of records as they were before the transaction, by key."""
        if self._before is None:
            frame, dialect = self._frame, self._frame.dialect
            columns = [
                (CUSTOMER, dialect.text),
                *frame.typed(frame.model.key),
                (_KNOWN, dialect.types[PropertyType.BOOLEAN]),
                *((c.name, dialect.types[c.type]) for c in self._compared),
            ]
            self._before = frame.make_temp("before", columns, key=self._key)
        return self._before

    def _not_silent(self, binds: Binds) -> str:
        if not self._silent:
            return ""
        silent = ", ".join(binds.text(customer) for customer in sorted(self._silent))
        return f" AND b.{self._frame.q(CUSTOMER)} NOT IN ({silent})"

    def _object(self, alias: str, columns: Iterable[Column]) -> str:
        q = self._frame.q
        return self._frame.dialect.json_object([(c.name, f"{alias}.{q(c.name)}", c.type) for c in columns])


def _names_where(binds: Binds, conditions: Sequence[tuple[Column, str]]) -> str:
    """The JSON array of the columns' names whose condition holds, as a text."""
    parts = [
        f"CASE WHEN {condition} THEN {binds.text(',' + json.dumps(column.name))} ELSE '' END"
        for column, condition in conditions
    ]
    return f"('[' || substr({joined(parts)}, 2) || ']')"


def joined(parts: Sequence[str]) -> str:
    """The texts one after the other. In halves: SQLite bounds how deep an expression may be."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({joined(parts[:half])} || {joined(parts[half:])})"
