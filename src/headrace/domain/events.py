"""Record events: a page of source texts cut into a typed batch, what is unusable set aside.

A value that does not fit is null in its row and noted in `_invalid`; a row whose key does not fit, or
that has no customer, is set aside whole. Neither stops the rest. Python sees only the bad rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain.coercion import Coerced, coerce
from headrace.domain.shape import Column
from headrace.domain.vocabulary import CUSTOMER, DELETED, INVALID, PropertyType

RAW_CHARACTERS: Final = 1_000
"""Of each raw text that is remembered."""
CUSTOMER_CHARACTERS: Final = 255


class RejectCode(StrEnum):
    """Why a row is set aside (a label of metrics: closed)."""

    KEY_NULL = "key_null"
    KEY_UNFIT = "key_unfit"
    CUSTOMER_MISSING = "customer_missing"
    CUSTOMER_UNFIT = "customer_unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A row of the page that no record can be made of.

    Attributes:
        row: its index in the page.
        reason: for a person.
        key: JSON array of the key's texts (or nulls), whole.
        raw: JSON object of all its texts, each cut to `RAW_CHARACTERS`.
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

    events: pa.Table
    kept: pa.Int64Array
    rejected: tuple[SetAside, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRules:
    """How the pages of a feed are typed.

    Attributes:
        columns: the shape's, the key first; each is fed by its `source_column` of the page.
        key_size: how many of them are the key.
        customer: the `provided_id` of every row, or None with `customer_column` set.
        deleted_column: a row is gone when this column of the page is set.
        time_zone: IANA name, of naive date-times.
    """

    columns: tuple[Column, ...]
    key_size: int
    customer: str | None
    customer_column: str | None
    deleted_column: str | None
    time_zone: str = "UTC"


def coerce_page(rows: pa.Table, rules: PageRules) -> CoercedPage:
    """Type the page's texts; see the module for what becomes of those that do not fit."""
    page = rows.combine_chunks()
    coerced = [
        coerce(page[column.source_column], column.type, time_zone=rules.time_zone)
        for column in rules.columns
    ]
    invalid = _invalid_notes(page, rules, coerced)
    arrays = [column.values for column in coerced]
    names = [column.name for column in rules.columns]
    events = pa.table(
        [*arrays, _customers(page, rules), _deleted(page, rules), invalid],
        names=[*names, CUSTOMER, DELETED, INVALID],
    )
    faults = _faults(page, rules, coerced)
    everything = pa.array(range(page.num_rows), pa.int64())
    if not faults:
        return CoercedPage(events, everything, ())
    bad = pc.is_in(everything, pa.array(list(faults), pa.int64()))
    good = pc.invert(bad)
    return CoercedPage(events.filter(good), everything.filter(good), _set_aside(page, rules, faults))


def _customers(page: pa.Table, rules: PageRules) -> pa.Array:
    if rules.customer_column is None:
        return pa.repeat(pa.scalar(rules.customer, pa.string()), page.num_rows)
    return _texts(page, rules.customer_column)


def _deleted(page: pa.Table, rules: PageRules) -> pa.Array:
    """True where the column is set: not null, not empty, not a spelling of false."""
    if rules.deleted_column is None:
        return pa.repeat(pa.scalar(False), page.num_rows)  # noqa: FBT003
    texts = _texts(page, rules.deleted_column)
    as_flag = coerce(texts, PropertyType.BOOLEAN, time_zone=rules.time_zone).values
    unset = pc.or_(pc.equal(texts, ""), pc.fill_null(pc.invert(as_flag), False))  # noqa: FBT003
    return pc.invert(pc.fill_null(unset, True))  # noqa: FBT003


def _faults(
    page: pa.Table, rules: PageRules, coerced: list[Coerced]
) -> dict[int, tuple[RejectCode, str]]:
    """Why each unusable row is one: the first reason of its key's columns, then its customer's."""
    faults: dict[int, tuple[RejectCode, str]] = {}

    def note(mask: pa.Array, code: RejectCode, reason: str) -> None:
        for row in pc.indices_nonzero(mask).to_pylist():
            faults.setdefault(row, (code, reason))

    key = list(zip(rules.columns, coerced, strict=True))[: rules.key_size]
    for column, result in key:
        texts = page[column.source_column]
        if texts.null_count:
            note(_one(texts.is_null()), RejectCode.KEY_NULL, f"key column {column.source_column} is null")
        if result.invalid is not None:
            reason = f"key column {column.source_column} {result.reason}"
            note(result.invalid, RejectCode.KEY_UNFIT, reason)
    if rules.customer_column is not None:
        customers = _texts(page, rules.customer_column)
        where = f"customer column {rules.customer_column}"
        missing = pc.fill_null(pc.equal(customers, ""), True)  # noqa: FBT003
        note(missing, RejectCode.CUSTOMER_MISSING, f"{where} is empty")
        too_long = pc.greater(pc.utf8_length(customers), CUSTOMER_CHARACTERS)
        note(too_long, RejectCode.CUSTOMER_UNFIT, f"{where} is longer than {CUSTOMER_CHARACTERS} characters")
        nul = coerce(customers, PropertyType.STRING, time_zone=rules.time_zone)
        if nul.invalid is not None:
            note(nul.invalid, RejectCode.CUSTOMER_UNFIT, f"{where} {nul.reason}")
    return faults


def _invalid_notes(page: pa.Table, rules: PageRules, coerced: list[Coerced]) -> pa.Array:
    notes: dict[int, dict[str, dict[str, str]]] = {}
    values = list(zip(rules.columns, coerced, strict=True))[rules.key_size :]
    for column, result in values:
        if result.invalid is None:
            continue
        rows = pc.indices_nonzero(result.invalid)
        texts = page[column.source_column].take(rows).to_pylist()
        for row, text in zip(rows.to_pylist(), texts, strict=True):
            note = {"value": _raw(text), "reason": result.reason}
            notes.setdefault(row, {})[column.name] = note
    if not notes:
        return pa.nulls(page.num_rows, pa.string())
    bad_rows = sorted(notes)
    texts = pa.array([_json(notes[row]) for row in bad_rows], pa.string())
    place = pc.index_in(pa.array(range(page.num_rows), pa.int64()), pa.array(bad_rows, pa.int64()))
    return texts.take(place)


def _set_aside(
    page: pa.Table, rules: PageRules, faults: dict[int, tuple[RejectCode, str]]
) -> tuple[SetAside, ...]:
    indexes = sorted(faults)
    key = [column.source_column for column in rules.columns[: rules.key_size]]
    rejected = []
    for row, texts in zip(indexes, page.take(pa.array(indexes)).to_pylist(), strict=True):
        code, reason = faults[row]
        raw = {name: None if text is None else _raw(text) for name, text in texts.items()}
        rejected.append(
            SetAside(
                row=row,
                code=code,
                reason=reason,
                key=_json([None if texts[name] is None else _without_nul(texts[name]) for name in key]),
                raw=_json(raw),
            )
        )
    return tuple(rejected)


def _texts(page: pa.Table, column: str) -> pa.Array:
    return _one(page[column])


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()


def _raw(text: str) -> str:
    return _without_nul(text[:RAW_CHARACTERS])


def _without_nul(text: str) -> str:
    # jsonb holds no NUL: what remembers a bad value must not be refused for it.
    return text.replace("\0", "\ufffd")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
