"""Applying rows of a primary source: records come, change, move and go."""

from __future__ import annotations

import pyarrow as pa

from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import CUSTOMER, DELETED, INVALID
from headrace.ports import FeedScope, MergeCounts
from headrace.stores.batch import any_deleted, kept_rows
from headrace.stores.dialect import Binds, empty_value
from headrace.stores.frame import Frame, Temp, names_of
from headrace.stores.layout import CREATED, UPDATED
from headrace.stores.touched import Touched, mapped_property


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
        self._keys = frame.names(self._record_key, "b")

    def apply(self, scope: FeedScope, rows: pa.Table, batch: Temp) -> MergeCounts:
        deleted = self._delete(scope, rows, batch)
        if self._all_are_new(batch):
            updated, new = 0, f"{batch.name} AS b WHERE NOT b.{self._frame.q(DELETED)}"
            self._frame.events.note_new(f"SELECT {self._keys} FROM {new}")
        else:
            updated, new = self._update(batch), self._without_record(batch)
        # Where all were updated none is new: not to look for them saves a quarter.
        inserted = self._insert(new) if updated < kept_rows(rows) else 0
        return MergeCounts(inserted=inserted, updated=updated, deleted=deleted)

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

    def _update(self, batch: Temp) -> int:
        """What differs is written, and noted for the sources that a changed property maps."""
        frame, q = self._frame, self._frame.q
        same = frame.equal(self._record_key, "r", "b")
        self._note(batch, same)
        for source in self._pulling():
            if (mapped := mapped_property(source)) in self._own:
                moved = frame.dialect.differs(f"r.{q(mapped)}", f"b.{q(mapped)}")
                known = f"{batch.name} AS b {frame.dialect.driving_join} {frame.records} AS r ON {same}"
                where = f"NOT b.{q(DELETED)} AND {moved}"
                self._touched.add_records(source, f"SELECT {self._keys} FROM {known} WHERE {where}")
        binds = frame.binds()
        assigned = [f"{q(c)} = b.{q(c)}" for c in self._own]
        assigned.append(f"{q(INVALID)} = {self._merged_invalid(binds)}")
        assigned.append(f"{q(UPDATED)} = {frame.dialect.now}")
        return frame.run(
            f"UPDATE {frame.records} AS r SET {', '.join(assigned)} FROM {batch.name} AS b"
            f" WHERE NOT b.{q(DELETED)} AND {same} AND ({self._differs(binds)})",
            binds,
        )

    def _note(self, batch: Temp, same: str) -> None:
        """The events' own look at the batch: what is new or differs."""
        frame, q, binds = self._frame, self._frame.q, self._frame.binds()
        written = f"r.{q(CUSTOMER)} IS NULL OR {self._differs(binds)}"
        frame.events.note(
            f"SELECT {self._keys} FROM {batch.name} AS b LEFT JOIN {frame.records} AS r ON {same}"
            f" WHERE NOT b.{q(DELETED)} AND ({written})",
            binds,
        )

    def _differs(self, binds: Binds) -> str:
        """Whether the row b is to be written over the record r."""
        q, differs = self._frame.q, self._frame.dialect.differs
        changed = [differs(f"r.{q(c)}", f"b.{q(c)}") for c in self._own]
        return " OR ".join([*changed, differs(f"r.{q(INVALID)}", f"({self._merged_invalid(binds)})")])

    def _merged_invalid(self, binds: Binds) -> str:
        q, names = self._frame.q, names_of(self._frame.model.primary.columns)
        old, new = f"r.{q(INVALID)}", f"b.{q(INVALID)}"
        return self._frame.dialect.merged_invalid(binds, old=old, names=names, new=new)

    def _without_record(self, batch: Temp) -> str:
        frame = self._frame
        same = frame.equal(self._record_key, "r", "b")
        known = f"SELECT 1 FROM {frame.records} AS r WHERE {same}"
        return f"{batch.name} AS b WHERE NOT b.{frame.q(DELETED)} AND NOT EXISTS ({known})"

    def _insert(self, new: str) -> int:
        """Without looking for conflicts: the lock keeps others away. Secondary properties start as they are
        without rows; the recompute pulls what is staged."""
        frame = self._frame
        for source in self._pulling():
            self._touched.add_records(source, f"SELECT {self._keys} FROM {new}")
        own = (CUSTOMER, *names_of(frame.model.primary.columns))
        secondary = [p for s in frame.secondary for p in s.properties]
        columns = frame.names([*own, *(p.name for p in secondary), CREATED, UPDATED, INVALID])
        now, binds = frame.dialect.now, frame.binds()
        invalid = frame.dialect.merged_invalid(binds, old="NULL", names=["_"], new=f"b.{frame.q(INVALID)}")
        values = [frame.names(own, "b"), *map(empty_value, secondary), now, now, invalid]
        return frame.run(
            f"INSERT INTO {frame.records} ({columns}) SELECT {', '.join(values)} FROM {new}",
            binds,
        )

    def _pulling(self) -> list[SourceShape]:
        return [source for source in self._frame.secondary if self._touched.pulls(source)]
