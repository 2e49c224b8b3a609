"""Record events: a page of source texts cut into a typed batch, what is unusable set aside.

A value that does not fit is null in its row and noted in `_invalid`; a row whose key does not fit, or
that has no customer, is set aside whole. Neither stops the rest. Python sees only the bad rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Final

from headrace.domain.arrow import Array, BooleanArray, Int64Array, StringArray, Table, pa, pc
from headrace.domain.coercion import Coerced, coerce
from headrace.domain.oversize import is_oversized, oversized
from headrace.domain.shape import Column
from headrace.domain.unreadable import Unreadable, unreadable_rows
from headrace.domain.vocabulary import ARROW_TYPES, CUSTOMER, DELETED, INVALID, PropertyType
from headrace.errors import InvariantError

RAW_CHARACTERS: Final = 1_000
"""Of each raw text that is remembered."""
CUSTOMER_CHARACTERS: Final = 255
INDEXED_BYTES: Final = 1_600
"""Of a key, and of a value that rows are found by: with the customer, what PostgreSQL's indexes hold."""


class RejectCode(StrEnum):
    """Why a row is set aside (a label of metrics: closed)."""

    KEY_NULL = "key_null"
    KEY_UNFIT = "key_unfit"
    UNREADABLE = "unreadable"
    CUSTOMER_MISSING = "customer_missing"
    CUSTOMER_UNFIT = "customer_unfit"
    CUSTOMER_REFUSED = "customer_refused"
    REFUSED = "refused"
    """By the data source, for its data."""
    KILLED = "killed"
    """Workers that applied it died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A row of the page that no record can be made of.

    Attributes:
        row: its index in the page.
        reason: for a person.
        key: JSON array of the key's texts, whole; null where a part is null or oversized; which line it is
            where a line is no row.
        raw: JSON object of all its texts, each cut to `RAW_CHARACTERS`; of a line that is no row its text.
    """

    row: int
    code: RejectCode
    reason: str
    key: str
    raw: str


@dataclass(frozen=True, slots=True)
class CoercedPage:
    """A page, typed.

    Attributes:
        events: the shape's columns, then `_customer_id` (utf8), `_deleted` (bool), `_invalid` (utf8,
            a JSON object by column of `{"value": text, "reason": …}`, or null).
        kept: for each event the index of its row in the page, ascending (int64).
        rejected: the other rows, ascending.
    """

    events: Table
    kept: Int64Array
    rejected: tuple[SetAside, ...]


def coerce_page(
    rows: Table,
    *,
    columns: tuple[Column, ...],
    key_size: int,
    customer: str | None = None,
    customer_column: str | None = None,
    deleted_column: str | None = None,
    indexed: tuple[str, ...] = (),
    time_zone: str = "UTC",
) -> CoercedPage:
    """Type a page of the source's texts; what cannot be used is set aside.

    Args:
        rows: utf8 columns named by the source, all that the other arguments name.
        columns: the shape's, the key first; each is fed by its `source_column`.
        key_size: how many of them are the key.
        customer: the `provided_id` of every row; used when `customer_column` is None.
        deleted_column: a row is gone when this is set: not null, not empty, not a spelling of false.
        indexed: the shape's columns by which rows or records are found: too long a text does not fit.
        time_zone: IANA name, of naive date-times.
    """
    page = _Page(rows.combine_chunks(), columns, key_size, customer_column, time_zone)
    typed = [page.coerce(column) for column in columns]
    typed = [_short(c) if column.name in indexed else c for column, c in zip(columns, typed, strict=True)]
    arrays = [
        *(column.values for column in typed),
        page.texts(customer_column) if customer_column else _constant(customer, rows.num_rows),
        page.is_set(deleted_column) if deleted_column else _constant(False, rows.num_rows),
        _invalid_notes(page, typed),
    ]
    events = pa.table(arrays, names=[*(column.name for column in columns), CUSTOMER, DELETED, INVALID])
    faults = _faults(page, typed)
    if not faults:
        return CoercedPage(events, page.indexes, ())
    good = pc.invert(pc.is_in(page.indexes, pa.array(list(faults), pa.int64())))
    return CoercedPage(events.filter(good), page.indexes.filter(good), set_aside(rows, page.key, faults))


def deletes(
    keys: Sequence[tuple[str, ...]],
    *,
    columns: tuple[Column, ...],
    key_size: int,
    customer: str | None,
) -> Table:
    """Events that delete the rows with these keys (canonical texts); their other columns are null.

    `_customer_id` is null when `customer` is None: nobody can tell any more whose row it was.
    Raises InvariantError when a text is not of its key column's type: such a key was never merged.
    """
    texts = zip(*keys, strict=True) if keys else ((),) * key_size
    arrays = []
    for column, values in zip(columns[:key_size], texts, strict=True):
        typed = coerce(pa.array(values, pa.string()), column.type, time_zone="UTC")
        if typed.values.null_count:
            raise InvariantError(f"a key to delete has a {column.name} that {typed.reason}")
        arrays.append(typed.values)
    arrays += [pa.nulls(len(keys), ARROW_TYPES[column.type]) for column in columns[key_size:]]
    ends = [_constant(customer, len(keys)), _constant(True, len(keys)), pa.nulls(len(keys), pa.string())]
    names = [*(column.name for column in columns), CUSTOMER, DELETED, INVALID]
    return pa.table([*arrays, *ends], names=names)


@dataclass(frozen=True, slots=True)
class _Page:
    """The rows and what they are read by."""

    rows: Table
    columns: tuple[Column, ...]
    key_size: int
    customer_column: str | None
    time_zone: str

    @property
    def key(self) -> tuple[Column, ...]:
        return self.columns[: self.key_size]

    @property
    def indexes(self) -> Int64Array:
        return pa.arange(0, self.rows.num_rows)

    def texts(self, source_column: str) -> StringArray:
        return self.rows[source_column].combine_chunks()

    def coerce(self, column: Column) -> Coerced:
        return coerce(self.rows[column.source_column], column.type, time_zone=self.time_zone)

    def is_set(self, source_column: str) -> BooleanArray:
        texts = self.texts(source_column)
        as_flag = coerce(texts, PropertyType.BOOLEAN, time_zone=self.time_zone).values
        is_false = pc.fill_null(pc.invert(as_flag), False)
        return pc.invert(pc.fill_null(pc.or_(pc.equal(texts, ""), is_false), True))


def _short(column: Coerced) -> Coerced:
    """Texts too long for an index do not fit."""
    if column.values.type != pa.string():
        return column
    long = pc.fill_null(pc.greater(pc.binary_length(column.values), INDEXED_BYTES), False)
    if not pc.any(long).as_py():
        return column
    invalid = long if column.invalid is None else pc.or_(column.invalid, long)
    values = pc.if_else(long, pa.scalar(None, pa.string()), column.values)
    return Coerced(values, invalid, f"{column.reason}, or is longer than {INDEXED_BYTES} bytes")


_Faults = dict[int, tuple[RejectCode, str]]


def _constant(value: str | bool | None, size: int) -> Array:
    arrow_type = pa.bool_() if isinstance(value, bool) else pa.string()
    return pa.repeat(pa.scalar(value, arrow_type), size)


def _faults(page: _Page, typed: list[Coerced]) -> _Faults:
    """Why each unusable row is one: the first reason of its key's columns, then its customer's."""
    faults: _Faults = {}

    def note(mask: Array | None, code: RejectCode, reason: str) -> None:
        if mask is not None:
            for row in pc.indices_nonzero(mask).to_pylist():
                faults.setdefault(row, (code, reason))

    def note_oversized(texts: Array, code: RejectCode, where: str) -> None:
        big = is_oversized(texts)
        for row, text in zip(pc.indices_nonzero(big).to_pylist(), texts.filter(big).to_pylist(), strict=True):
            if (found := oversized(text)) is not None:
                faults.setdefault(row, (code, f"{where} {found.reason}"))

    for column, result in zip(page.key, typed, strict=False):
        where = f"key column {column.source_column}"
        if result.invalid is not None:
            note_oversized(page.texts(column.source_column), RejectCode.KEY_UNFIT, where)
            for row, line in unreadable_rows(page.texts(column.source_column)):
                faults.setdefault(row, (RejectCode.UNREADABLE, line.reason))
        note(pc.is_null(page.texts(column.source_column)), RejectCode.KEY_NULL, f"{where} is null")
        note(result.invalid, RejectCode.KEY_UNFIT, f"{where} {result.reason}")
    note(_long_keys(page), RejectCode.KEY_UNFIT, f"the key is longer than {INDEXED_BYTES} bytes")
    if page.customer_column:
        customers = page.texts(page.customer_column)
        where = f"customer column {page.customer_column}"
        missing = pc.fill_null(pc.equal(customers, ""), True)
        too_long = pc.greater(pc.utf8_length(customers), CUSTOMER_CHARACTERS)
        text = coerce(customers, PropertyType.STRING, time_zone=page.time_zone)
        note(missing, RejectCode.CUSTOMER_MISSING, f"{where} is empty")
        unfit = RejectCode.CUSTOMER_UNFIT
        if text.invalid is not None:
            note_oversized(customers, unfit, where)
        note(too_long, unfit, f"{where} is longer than {CUSTOMER_CHARACTERS} characters")
        note(text.invalid, unfit, f"{where} {text.reason}")
    return faults


def _long_keys(page: _Page) -> BooleanArray:
    sizes = [pc.binary_length(page.texts(column.source_column)) for column in page.key]
    return pc.fill_null(pc.greater(reduce(pc.add, sizes), INDEXED_BYTES), False)


def _invalid_notes(page: _Page, typed: list[Coerced]) -> StringArray:
    notes: dict[int, dict[str, dict[str, str]]] = {}
    for column, result in list(zip(page.columns, typed, strict=True))[page.key_size :]:
        if result.invalid is None:
            continue
        bad = pc.indices_nonzero(result.invalid)
        texts = page.rows[column.source_column].take(bad).to_pylist()
        for row, text in zip(bad.to_pylist(), texts, strict=True):
            big = oversized(text)
            reason = result.reason if big is None else big.reason
            notes.setdefault(row, {})[column.name] = {"value": _raw(text), "reason": reason}
    if not notes:
        return pa.nulls(page.rows.num_rows, pa.string())
    rows = sorted(notes)
    place = pc.index_in(page.indexes, pa.array(rows, pa.int64()))
    return pa.array([_json(notes[row]) for row in rows], pa.string()).take(place)


def set_aside(
    rows: Table, key: Sequence[Column], faults: Mapping[int, tuple[RejectCode, str]]
) -> tuple[SetAside, ...]:
    """The rows with a fault, ascending.

    Args:
        rows: utf8 columns named by the source, at least those of the key.
        faults: why, for a person, by the row's index.
    """
    indexes = sorted(faults)
    names = [column.source_column for column in key]
    return tuple(
        SetAside(
            row=row,
            code=faults[row][0],
            reason=faults[row][1],
            key=key_json([_key_text(texts[name]) for name in names]),
            raw=_raw_row(texts, names),
        )
        for row, texts in zip(indexes, rows.take(indexes).to_pylist(), strict=True)
    )


def _key_text(text: str | None) -> str | None:
    """A part of a key as it is remembered: of a line that is no row, which one it is."""
    line = Unreadable.from_text(text)
    return None if oversized(text) else text if line is None else line.at


def _raw_row(texts: Mapping[str, str | None], key: Sequence[str]) -> str:
    for name in key:
        line = Unreadable.from_text(texts[name])
        if line is not None:
            return _json(_raw(line.line))
    return _json({name: text if text is None else _raw(text) for name, text in texts.items()})


def key_json(texts: Sequence[str | None]) -> str:
    """How a key is written where rejected rows are kept: a JSON array, in ASCII."""
    return json.dumps([text if text is None else _without_nul(text) for text in texts])


def _raw(text: str) -> str:
    """What is remembered of a text: its beginning."""
    big = oversized(text)
    return _without_nul((text if big is None else big.beginning)[:RAW_CHARACTERS])


def _without_nul(text: str) -> str:
    # jsonb holds no NUL: what remembers a bad value must not be refused for it.
    return text.replace("\0", "\ufffd")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
