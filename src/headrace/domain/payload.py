"""Batches as bytes: Arrow IPC streams with zstd, and digests of their values."""

from __future__ import annotations

import hashlib
import struct

from headrace.domain.arrow import Array, Buffer, Table, pa, pc
from headrace.errors import InvariantError


def encode(table: Table, level: int = 1) -> bytes:
    """The table as an Arrow IPC stream; `level` is zstd's."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=level))
    with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
        stream.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def decode(payload: bytes) -> Table:
    """The table that was encoded. Raises InvariantError when the bytes are not such a stream."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(payload)) as stream:
            return stream.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise InvariantError("a payload is not an Arrow stream") from error


def digest(table: Table) -> str:
    """blake2b over names, types and values in order: 32 hex digits.

    Equal for equal tables however they are chunked, sliced or padded, and whatever lies beneath nulls
    (tests/properties/test_payload.py); different when any value, null or order is.
    """
    rows = RowsDigest()
    rows.add(table)
    return rows.hexdigest()


class RowsDigest:
    """The digest of tables of one schema, put together row by row: blind to where they were cut."""

    def __init__(self) -> None:
        self._rows = 0
        self._columns: dict[bytes, _ColumnDigest] = {}

    def add(self, table: Table) -> None:
        """The table's rows come after all that were added before."""
        self._rows += table.num_rows
        for field, column in zip(table.schema, table.columns, strict=True):
            head = f"{field.name}\0{field.type}".encode()
            if head not in self._columns:
                self._columns[head] = _ColumnDigest()
            self._columns[head].add(column.combine_chunks())

    @property
    def rows(self) -> int:
        return self._rows

    def hexdigest(self) -> str:
        """Of all rows that were added until now."""
        state = hashlib.blake2b(digest_size=16)
        for head, column in self._columns.items():
            state.update(struct.pack("<QQ", len(head), self._rows) + head + column.digest())
        return state.hexdigest()


class _ColumnDigest:
    """Which cells are null, how long the others are (texts), and what they hold: three streams, for in
    one their order would tell where a table was cut."""

    def __init__(self) -> None:
        self._valid, self._lengths, self._values = (hashlib.blake2b(digest_size=16) for _ in range(3))

    def add(self, column: Array) -> None:
        self._valid.update(_fixed_bytes(pc.is_valid(column).cast(pa.uint8()), 1))
        if column.null_count:
            column = column.drop_null()
        if pa.types.is_boolean(column.type):
            self._values.update(_fixed_bytes(column.cast(pa.uint8()), 1))
        elif pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            self._lengths.update(_fixed_bytes(pc.binary_length(column), 4))
            self._values.update(_text_bytes(column))
        elif pa.types.is_primitive(column.type):
            self._values.update(_fixed_bytes(column, column.type.bit_width // 8))
        else:
            raise InvariantError(f"no digest for columns of {column.type}")

    def digest(self) -> bytes:
        return self._valid.digest() + self._lengths.digest() + self._values.digest()


def _fixed_bytes(column: Array, width: int) -> Buffer:
    data = column.buffers()[1]
    return data.slice(column.offset * width, len(column) * width) if data is not None else b""


def _text_bytes(column: Array) -> Buffer:
    if not len(column):
        return b""
    _, offsets, data = column.buffers()
    (start,) = struct.unpack_from("=i", offsets, 4 * column.offset)
    (end,) = struct.unpack_from("=i", offsets, 4 * (column.offset + len(column)))
    return data.slice(start, end - start) if data is not None else b""
