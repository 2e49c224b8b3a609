"""Rows of a first load, appended straight to their table.

A load goes to a temporary table and from there to the records, which costs the server twice the work. The
rows of a `load` batch are probably new, so they are appended to the records at once, the primary key in
place; the first one that is there already undoes it, and the batch takes the common way. What is written is
the same on both ways (tests/conformance/test_record_store.py). Without the key, see `loading`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from headrace.domain.vocabulary import APP, ARROW_TYPES, CUSTOMER, INVALID
from headrace.ports import FeedScope
from headrace.stores.batch import any_deleted
from headrace.stores.dialect import empty_text
from headrace.stores.frame import Frame
from headrace.stores.layout import CREATED, UPDATED
from headrace.stores.touched import Touched


def append_new(frame: Frame, touched: Touched, scope: FeedScope, rows: pa.Table) -> bool:
    """The rows are records now; False, with nothing written, when they must take the common way: one is
    known, deleted or has an invalid value, may have another customer elsewhere, or pulls staged rows."""
    plain = scope.customer is not None and not any_deleted(rows)
    if not plain or rows.column(INVALID).null_count < rows.num_rows:
        return False
    if any(touched.pulls(source) for source in frame.secondary):
        return False
    return load_of(frame, scope, rows)


def load_of(frame: Frame, scope: FeedScope, rows: pa.Table) -> bool:
    """The rows are in their table; False, with nothing written, when it refuses one of them."""
    source, session = scope.source, frame.session
    into = frame.records if source.primary else frame.staged(source)
    columns = [*frame.typed(source.columns), (CUSTOMER, frame.dialect.text)]
    if not source.primary or rows.column(INVALID).null_count < rows.num_rows:
        columns.append((INVALID, frame.dialect.json))
    table = rows
    for name, type_, value in _constants(frame, scope):
        columns.append((name, type_))
        table = table.append_column(name, pa.repeat(value, rows.num_rows))
    loaded = session.attempt(lambda: session.load(into, columns, table))
    if loaded and source.primary:
        frame.events.note_loaded(rows)
    return loaded


def _constants(frame: Frame, scope: FeedScope) -> Iterator[tuple[str, str, Any]]:
    """What all the rows have in the columns that a batch has not: name, type, value."""
    dialect, source = frame.dialect, scope.source
    if not source.primary:
        if source.many_apps:
            yield APP, dialect.text, pa.scalar(scope.app_id, pa.string())
        return
    if not dialect.now_by_default:
        moment = pa.scalar(_moment(frame))
        yield CREATED, dialect.timestamp, moment
        yield UPDATED, dialect.timestamp, moment
    for shape in (shape for secondary in frame.secondary for shape in secondary.properties):
        if (text := empty_text(shape)) is not None:
            yield shape.name, dialect.types[shape.type], pa.scalar(text).cast(ARROW_TYPES[shape.type])


def _moment(frame: Frame) -> Any:
    """The transaction's moment, as the session reads it."""
    ((moment,),) = frame.session.all(f"SELECT {frame.dialect.now}")
    return moment
