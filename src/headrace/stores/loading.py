"""The state `loading`: a table that held no row takes those of a first load without a key.

To keep a key up to date costs the server more than to make it once, so an empty table loses its key and
its indexes when a first load begins, and has them again when it ends: from then on the model is as if each
batch had taken the common way (tests/properties/test_loading.py). The state is kept in the contract, so that
whoever comes next knows it and goes on, or ends it. Nothing is recomputed meanwhile; the end touches
all that was loaded.

Of rows with one key in several batches the one of the last merge stays, as on the common way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from headrace import logs
from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, SourceId
from headrace.ports import FeedScope
from headrace.stores.batch import any_deleted
from headrace.stores.dialect import Session
from headrace.stores.frame import Frame, NoEvents, names_of
from headrace.stores.layout import (
    CONTRACT,
    TableLayout,
    create_index,
    model_layout,
    staged_layout,
    staged_name,
)
from headrace.stores.new_records import load_of
from headrace.stores.touched import Touched, mapped_column

log = logs.get(__name__)

LOADING: Final = "loading"
READY: Final = "ready"
LEAST_ROWS: Final = 20_000
"""A load that begins with fewer is not worth two changes of the table."""
_INDEXED_BYTES: Final = 2_000
"""Longer texts may not fit an index, which must refuse them row by row."""


@dataclass(frozen=True, slots=True)
class KeyOf:
    """The key of a source's table.

    Attributes:
        told_by: the columns that tell rows apart, whatever their customer where a row says its own.
    """

    table: str
    columns: tuple[str, ...]
    told_by: tuple[str, ...]


def key_of(source: SourceShape) -> KeyOf:
    """Known from the source alone: an apply ends loads of shapes that are no longer the model's."""
    own = names_of(source.key)
    if source.primary:
        columns = (CUSTOMER, *own)
        return KeyOf(source.model, columns, own if source.customer_in_column else columns)
    columns = (*own, *((APP,) if source.many_apps else ()))
    return KeyOf(staged_name(source.id), columns, columns)


def restore_key(session: Session, key: KeyOf) -> None:
    """The table's key is to be adopted; of rows with one key the one that was loaded last is left."""
    if key.told_by == key.columns and session.attempt(lambda: session.index_key(key.table, key.columns)):
        return
    dropped = session.run(session.dialect.delete_earlier(key.table, key.told_by))
    if dropped:
        log.warning("rows of a first load had one key", table=key.table, rows=dropped)
    session.index_key(key.table, key.columns)


def note_state(frame: Frame, source: SourceShape, state: str) -> None:
    """The contract says that the source's table is `LOADING` or `READY`."""
    q, binds = frame.q, frame.binds()
    frame.run(
        f"UPDATE {frame.dialect.table(CONTRACT)} SET {q('state')} = {binds.text(state)}"
        f" WHERE {q('model')} = {binds.text(frame.model.id)} AND {q('source')} = {binds.text(source.id)}",
        binds,
    )


class Loading:
    """The tables of one model that are in the state, as one transaction knows them."""

    def __init__(self, frame: Frame, touched: Touched) -> None:
        self._frame = frame
        self._touched = touched
        self._read: set[SourceId] | None = None
        self._restored: list[KeyOf] = []

    @property
    def sources(self) -> set[SourceId]:
        """Whose tables are without a key."""
        if self._read is None:
            frame, binds = self._frame, self._frame.binds()
            found = frame.session.all(
                f"SELECT {frame.q('source')} FROM {frame.dialect.table(CONTRACT)}"
                f" WHERE {frame.q('model')} = {binds.text(frame.model.id)}"
                f" AND {frame.q('state')} = {binds.text(LOADING)}",
                binds,
            )
            self._read = {SourceId(source) for (source,) in found}
        return self._read

    def take(self, scope: FeedScope, rows: pa.Table) -> bool:
        """The rows are in the table, whose key waits; False, with nothing written, when they must take
        another way."""
        source = scope.source
        if any_deleted(rows) or not self._fit_indexes(source, rows):
            return False
        if source.id not in self.sources and not self._begin(scope, rows):
            return False
        return load_of(self._frame, scope, rows)

    def end(self) -> None:
        """Every table has its indexes, that of its key among them, and what was loaded is touched."""
        loaded = [s for s in self._frame.model.sources if s.id in self.sources]
        for source in loaded:
            restore_key(self._frame.session, key_of(source))
            self._restored.append(key_of(source))
            layout = self._layout(source)
            for name, _ in layout.indexes:
                self._frame.run(create_index(layout, name, self._frame.dialect))
            self._enter(source, READY)
        if loaded:
            self._touch(loaded)

    def finish(self) -> None:
        """At the end of the transaction, so that readers wait for nothing but its commit."""
        while self._restored:
            self._frame.session.adopt_key(self._restored.pop().table)

    def _begin(self, scope: FeedScope, rows: pa.Table) -> bool:
        frame, layout = self._frame, self._layout(scope.source)
        if scope.source.primary and not isinstance(frame.events, NoEvents):
            return False  # each transaction makes its events, by the key
        if rows.num_rows < LEAST_ROWS or frame.exists(f"SELECT 1 FROM {frame.dialect.table(layout.name)}"):
            return False
        if not frame.session.drop_key(layout.name, [name for name, _ in layout.indexes]):
            return False
        self._enter(scope.source, LOADING)
        return True

    def _enter(self, source: SourceShape, state: str) -> None:
        note_state(self._frame, source, state)
        if state == LOADING:
            self.sources.add(source.id)
        else:
            self.sources.discard(source.id)

    def _touch(self, loaded: list[SourceShape]) -> None:
        frame, q = self._frame, self._frame.q
        if loaded[0].primary:  # every record is new
            keys = frame.names((CUSTOMER, *names_of(frame.model.key)))
            for source in filter(self._touched.pulls, frame.secondary):
                self._touched.add_records(source, f"SELECT {keys} FROM {frame.records}")
            return
        for source in loaded:
            value = q(mapped_column(source).name)
            self._touched.add_values(
                source,
                f"SELECT DISTINCT {q(CUSTOMER)}, {value} FROM {frame.staged(source)}"
                f" WHERE {value} IS NOT NULL",
            )

    def _layout(self, source: SourceShape) -> TableLayout:
        dialect = self._frame.dialect
        return model_layout(self._frame.model, dialect) if source.primary else staged_layout(source, dialect)

    def _fit_indexes(self, source: SourceShape, rows: pa.Table) -> bool:
        layout = self._layout(source)
        indexed = {*layout.key, *(column for _, columns in layout.indexes for column in columns)}
        texts = [c for n, c in zip(rows.column_names, rows.columns, strict=True) if n in indexed]
        return sum(map(_longest, texts)) <= _INDEXED_BYTES


def _longest(column: Any) -> int:
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        return 0
    return int(pc.max(pc.binary_length(column)).as_py() or 0)
