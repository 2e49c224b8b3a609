"""Records of a first load, appended straight to their table.

A load goes to a temporary table and from there to the records, which costs the server twice the work. The
rows of a `load` batch are probably new, so they are appended to the records at once, the primary key in
place; the first one that is there already undoes it, and the batch takes the common way. What is written is
the same on both ways (tests/conformance/test_record_store.py).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from headrace.domain.vocabulary import CUSTOMER, DELETED, INVALID
from headrace.ports import FeedScope
from headrace.stores.batch import any_deleted
from headrace.stores.dialect import empty_text
from headrace.stores.frame import Frame, names_of
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
    own = (*names_of(frame.model.primary.columns), CUSTOMER)
    constants: dict[str, Any] = {}
    if not frame.dialect.now_by_default:
        constants = dict.fromkeys((CREATED, UPDATED), _moment(frame))
    for source in frame.secondary:
        constants |= {p.name: text for p in source.properties if (text := empty_text(p)) is not None}
    table = rows.drop_columns([DELETED, INVALID]).select(list(own))
    for name, value in constants.items():
        table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
    return frame.session.load_new(frame.records, table)


def _moment(frame: Frame) -> Any:
    """The transaction's moment, as the session reads it."""
    ((moment,),) = frame.session.all(f"SELECT {frame.dialect.now}")
    return moment
