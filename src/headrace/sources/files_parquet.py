"""Reads Parquet files as a stream of Arrow tables of canonical texts."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from typing import Any, Final

from pyarrow import parquet

from headrace.domain.arrow import Array, DataType, pa
from headrace.domain.vocabulary import PropertyType
from headrace.sources.files_csv import open_file
from headrace.sources.files_path import SourceFile
from headrace.sources.files_piece import Piece

_BATCH_ROWS: Final = 16_384
_BUFFER_BYTES: Final = 1024 * 1024


def schema_of(file: SourceFile) -> Any:
    """The file's Arrow schema."""
    with open_file(file) as raw, parquet.ParquetFile(raw) as opened:
        return opened.schema_arrow


def row_count(file: SourceFile) -> int:
    with open_file(file) as raw, parquet.ParquetFile(raw) as opened:
        return int(opened.metadata.num_rows)


def read_parquet(file: SourceFile, columns: Sequence[str]) -> Generator[Piece, None, None]:
    """Every row of the file, in order, as utf8 columns of these names; those that the file lacks are null."""
    # Buffered: a column of a row group is read piece by piece, however big the group is.
    with open_file(file) as raw, parquet.ParquetFile(raw, buffer_size=_BUFFER_BYTES) as opened:
        present = [name for name in columns if name in opened.schema_arrow.names]
        # In this thread alone: one of Arrow's that still has a Python file when Python ends aborts it.
        for batch in opened.iter_batches(batch_size=_BATCH_ROWS, columns=present, use_threads=False):
            texts = {name: text_of(batch.column(name)) for name in present}
            nothing = pa.nulls(batch.num_rows, pa.string())
            yield Piece(pa.table({name: texts.get(name, nothing) for name in columns}))


def text_of(array: Array) -> Array:
    """The one text of each value: date-times in UTC end in Z, bytes are `\\x…`, lists and structs JSON."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return text_of(array.storage)
    if pa.types.is_dictionary(kind):
        return text_of(array.dictionary_decode())
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return array.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.string())
    if _is_bytes(kind):
        return pa.array([None if v is None else f"\\x{v.hex()}" for v in array.to_pylist()], pa.string())
    if pa.types.is_nested(kind):
        texts = [None if v is None else json.dumps(v, default=str) for v in array.to_pylist()]
        return pa.array(texts, pa.string())
    return array.cast(pa.string())


def is_signed(kind: DataType) -> bool:
    """Whole numbers that SQLite has too."""
    return bool(pa.types.is_integer(kind)) and kind != pa.uint64()


def property_type(kind: DataType) -> PropertyType:
    """The property type that a value of the Arrow type becomes without being asked."""
    if pa.types.is_dictionary(kind):
        return property_type(kind.value_type)
    checks = (
        (pa.types.is_integer, PropertyType.INTEGER),
        (pa.types.is_boolean, PropertyType.BOOLEAN),
        (pa.types.is_decimal, PropertyType.DECIMAL),
        (pa.types.is_floating, PropertyType.FLOAT),
        (pa.types.is_date, PropertyType.DATE),
        (pa.types.is_timestamp, PropertyType.DATETIME),
        (pa.types.is_nested, PropertyType.JSON),
    )
    return next((type_ for holds, type_ in checks if holds(kind)), PropertyType.STRING)


def keeps_order(kind: DataType) -> bool:
    """The texts, or the numbers themselves, are ordered as the store orders what they become. Nanoseconds
    are not: a store keeps microseconds, and two keys would become one."""
    if pa.types.is_timestamp(kind):
        return bool(kind.unit != "ns")
    return is_signed(kind) or bool(
        pa.types.is_date(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )


def _is_bytes(kind: DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))
