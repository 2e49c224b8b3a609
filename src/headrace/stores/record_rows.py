"""Applying rows of a primary source: records come, change, move and go."""

from __future__ import annotations

import pyarrow as pa

from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import CUSTOMER, DELETED, INVALID, PropertyType
from headrace.ports import FeedScope, MergeCounts
from headrace.stores.batch import any_deleted
from headrace.stores.dialect import Binds, empty_value
from headrace.stores.frame import Frame, Temp, names_of
from headrace.stores.layout import CREATED, UPDATED
from headrace.stores.touched import Touched, mapped_property

KNOWN = "_known"


class RecordRows:
    """Writes only what differs. Uses the primary key's index, and the key's own where a row may have
    changed its customer."""

    def __init__(self, frame: Frame, touched: Touched) -> None:
        self._frame = frame
        self._touched = touched
        self._key = names_of(frame.model.key)
        self._record_key = (CUSTOMER, *self._key)
        own = names_of(frame.model.primary.columns)
        self._own = tuple(name for name in own if name not in self._key)

    def apply(self, scope: FeedScope, rows: pa.Table, batch: Temp) -> MergeCounts:
        deleted = self._delete(scope, rows, batch)
        counts = self._insert_all(batch) if self._all_are_new(batch) else self._write_changes(batch)
        return counts + MergeCounts(deleted=deleted)

    def _all_are_new(self, batch: Temp) -> bool:
        """Whether no row of the batch has a record: asked first, since a plain insert takes half the
        time of one that looks for conflicts, and the first row that has one ends the search."""
        frame = self._frame
        known = f"{batch.name} AS b {frame.dialect.driving_join} {frame.records} AS r"
        return not frame.exists(f"SELECT 1 FROM {known} ON {frame.equal(self._record_key, 'r', 'b')}")

    def _delete(self, scope: FeedScope, rows: pa.Table, batch: Temp) -> int:
        """Deleted rows go; so does a record whose row now has another customer."""
        frame, q = self._frame, self._frame.q
        on = frame.equal(self._key, "r", "b")
        binds = frame.binds()
        if scope.customer is None:
            on += f" AND (b.{q(DELETED)} OR r.{q(CUSTOMER)} <> b.{q(CUSTOMER)})"
        elif any_deleted(rows):
            on += f" AND b.{q(DELETED)} AND r.{q(CUSTOMER)} = {binds.text(scope.customer)}"
        else:
            return 0
        using = f"{batch.name} AS b"
        found = f"{using} {frame.dialect.driving_join} {frame.records} AS r ON {on}"
        frame.events.note(f"SELECT {frame.names(self._record_key, 'r')} FROM {found}", binds)
        return frame.run(frame.dialect.delete_joined(frame.records, using=using, on=on), binds)

    def _insert_all(self, batch: Temp) -> MergeCounts:
        """Without looking for conflicts: the lock keeps others away."""
        frame = self._frame
        kept = f"NOT b.{frame.q(DELETED)}"
        binds = frame.binds()
        frame.events.note_new(
            f"SELECT {frame.names(self._record_key, 'b')} FROM {batch.name} AS b WHERE {kept}"
        )
        invalid = frame.dialect.merged_invalid(binds, old="NULL", names=["_"], new=f"b.{frame.q(INVALID)}")
        inserted = self._insert(f"{batch.name} AS b WHERE {kept}", "b", invalid, binds=binds)
        for source in frame.secondary:
            if self._touched.pulls(source):
                keys = frame.names(self._record_key, "b")
                self._touched.add_records(source, f"SELECT {keys} FROM {batch.name} AS b WHERE {kept}")
        return MergeCounts(inserted=inserted)

    def _write_changes(self, batch: Temp) -> MergeCounts:
        frame, q = self._frame, self._frame.q
        pulling = [s for s in frame.secondary if self._touched.pulls(s)]
        delta = self._find_changes(batch, pulling)
        frame.events.note(f"SELECT {frame.names(self._record_key)} FROM {delta.name}")
        for source in pulling:
            self._touch(source, delta)
        assigned = ", ".join(f"{q(c)} = d.{q(c)}" for c in (*self._own, INVALID))
        updated = frame.run(
            f"UPDATE {frame.records} AS r SET {assigned}, {q(UPDATED)} = {frame.dialect.now}"
            f" FROM {delta.name} AS d"
            f" WHERE d.{q(KNOWN)} AND {frame.equal(self._record_key, 'r', 'd')}"
        )
        inserted = self._insert(
            f"{delta.name} AS d WHERE NOT d.{q(KNOWN)}", "d", f"d.{q(INVALID)}", binds=frame.binds()
        )
        frame.drop_temp(delta)
        return MergeCounts(inserted=inserted, updated=updated)

    def _find_changes(self, batch: Temp, pulling: list[SourceShape]) -> Temp:
        """The rows that are new or differ, and per pulling source whether its mapped property does."""
        frame, q, differs = self._frame, self._frame.q, self._frame.dialect.differs
        flag = frame.dialect.types[PropertyType.BOOLEAN]
        moved = [(f"_moved_{s.id}", mapped_property(s)) for s in pulling if mapped_property(s) in self._own]
        delta = frame.make_temp(
            "delta",
            [
                (CUSTOMER, frame.dialect.text),
                *frame.typed(frame.model.primary.columns),
                (INVALID, frame.dialect.json),
                (KNOWN, flag),
                *((name, flag) for name, _ in moved),
            ],
        )
        binds = frame.binds()
        own_names = names_of(frame.model.primary.columns)
        invalid = frame.dialect.merged_invalid(
            binds, old=f"r.{q(INVALID)}", names=own_names, new=f"b.{q(INVALID)}"
        )
        changed = [differs(f"r.{q(c)}", f"b.{q(c)}") for c in self._own]
        changed.append(differs(f"r.{q(INVALID)}", f"({invalid})"))
        flags = [differs(f"r.{q(p)}", f"b.{q(p)}") for _, p in moved]
        columns = frame.names((CUSTOMER, *own_names), "b")
        selected = ", ".join([columns, invalid, f"r.{q(CUSTOMER)} IS NOT NULL", *flags])
        frame.run(
            f"INSERT INTO {delta.name} SELECT {selected} FROM {batch.name} AS b"
            f" LEFT JOIN {frame.records} AS r ON {frame.equal(self._record_key, 'r', 'b')}"
            f" WHERE NOT b.{q(DELETED)} AND (r.{q(CUSTOMER)} IS NULL OR {' OR '.join(changed)})",
            binds,
        )
        return delta

    def _touch(self, source: SourceShape, delta: Temp) -> None:
        frame, q = self._frame, self._frame.q
        moved = mapped_property(source) in self._own
        where = f"NOT d.{q(KNOWN)}" + (f" OR d.{q(f'_moved_{source.id}')}" if moved else "")
        keys = frame.names(self._record_key, "d")
        self._touched.add_records(source, f"SELECT {keys} FROM {delta.name} AS d WHERE {where}")

    def _insert(self, rows: str, alias: str, invalid: str, *, binds: Binds) -> int:
        """Secondary properties start as they are without rows; the recompute pulls what is staged."""
        frame = self._frame
        own = (CUSTOMER, *names_of(frame.model.primary.columns))
        secondary = [p for s in frame.secondary for p in s.properties]
        columns = frame.names([*own, *(p.name for p in secondary), CREATED, UPDATED, INVALID])
        now = frame.dialect.now
        values = [frame.names(own, alias), *map(empty_value, secondary), now, now, invalid]
        return frame.run(
            f"INSERT INTO {frame.records} ({columns}) SELECT {', '.join(values)} FROM {rows}",
            binds,
        )
