"""A digest says whether tables hold the same values in the same order, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.domain import payload
from headrace.errors import InvariantError

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("ok", pa.bool_()),
        ("score", pa.float64()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (bounds are naive)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-5, 5),
        st.none() | st.text("ab\0é", max_size=3),
        st.none() | st.booleans(),
        st.none() | st.floats(-2, 2),
        st.none() | st.dates(),
        st.none() | st.datetimes(EPOCH, timezones=st.just(UTC)),
    ),
    max_size=6,
)


def table_of(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in SCHEMA]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


@settings(max_examples=50)
@given(ROWS, ROWS, ROWS, st.integers(0, 12))
def test_a_digest_is_blind_to_chunks_and_slices(
    before: list[tuple[object, ...]],
    rows: list[tuple[object, ...]],
    after: list[tuple[object, ...]],
    cut: int,
) -> None:
    expected = payload.digest(table_of(rows))
    sliced = table_of(before + rows + after).slice(len(before), len(rows))
    chunked = pa.concat_tables([sliced.slice(0, cut), sliced.slice(min(cut, len(rows)))])
    assert payload.digest(sliced) == expected
    assert payload.digest(chunked) == expected
    assert payload.digest(payload.decode(payload.encode(chunked))) == expected


@settings(max_examples=50)
@given(ROWS, ROWS)
def test_different_rows_have_different_digests(
    some: list[tuple[object, ...]], others: list[tuple[object, ...]]
) -> None:
    assume([tuple(map(repr, row)) for row in some] != [tuple(map(repr, row)) for row in others])
    assert payload.digest(table_of(some)) != payload.digest(table_of(others))


@settings(max_examples=50)
@given(ROWS.filter(lambda rows: len(rows) > 1), st.data())
def test_any_change_changes_the_digest(rows: list[tuple[object, ...]], data: st.DataObject) -> None:
    row, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, len(SCHEMA) - 1))
    value = data.draw(st.sampled_from([None, *(r[column] for r in rows)]))
    assume(repr(value) != repr(rows[row][column]))
    changed = list(rows)
    changed[row] = (*rows[row][:column], value, *rows[row][column + 1 :])
    assert payload.digest(table_of(changed)) != payload.digest(table_of(rows))


@settings(max_examples=50)
@given(ROWS)
def test_what_lies_beneath_nulls_does_not_count(rows: list[tuple[object, ...]]) -> None:
    ids = [row[0] for row in rows]
    mask = pa.array([i is None for i in ids], pa.bool_())
    beneath = pa.array([99 if i is None else i for i in ids], pa.int64())
    validity = pa.array([i is not None for i in ids], pa.bool_()).buffers()[1]
    dirty = pa.Array.from_buffers(pa.int64(), len(ids), [validity, beneath.buffers()[1]])
    assert dirty.null_count == mask.true_count
    clean = pa.table({"id": pa.array(ids, pa.int64())})
    assert payload.digest(pa.table({"id": dirty})) == payload.digest(clean)


@settings(max_examples=50)
@given(ROWS)
def test_a_payload_brings_back_the_table(rows: list[tuple[object, ...]]) -> None:
    table = table_of(rows)
    assert payload.decode(payload.encode(table, level=3)).equals(table)


def test_names_types_and_the_borders_of_texts_count() -> None:
    digests = {
        payload.digest(table)
        for table in (
            pa.table({"a": ["ab", "c"]}),
            pa.table({"a": ["a", "bc"]}),
            pa.table({"b": ["ab", "c"]}),
            pa.table({"a": [b"ab", b"c"]}),
            pa.table({"a": pa.array([None, None], pa.string())}),
            pa.table({"a": ["", ""]}),
            pa.table({"a": pa.array([1, 2], pa.int32())}),
            pa.table({"a": pa.array([1, 2], pa.int64())}),
            pa.table({"a": pa.array([], pa.string())}),
        )
    }
    assert len(digests) == 9


def test_bytes_that_are_no_stream_are_our_fault() -> None:
    with pytest.raises(InvariantError):
        payload.decode(b"junk")
    with pytest.raises(InvariantError):
        payload.digest(pa.table({"a": [[1], [2]]}))
