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
    state = hashlib.blake2b(digest_size=16)
    for field, column in zip(table.schema, table.columns, strict=True):
        head = f"{field.name}\0{field.type}".encode()
        state.update(struct.pack("<QQ", len(head), len(column)) + head)
        _hash_column(state, column.combine_chunks())
    return state.hexdigest()


def _hash_column(state: hashlib.blake2b, column: Array) -> None:
    if column.null_count == len(column):
        state.update(b"\2")
        return
    state.update(b"\1" if column.null_count else b"\0")
    if column.null_count:
        state.update(_fixed_bytes(pc.is_valid(column).cast(pa.uint8()), 1))
        column = column.drop_null()
    if pa.types.is_boolean(column.type):
        state.update(_fixed_bytes(column.cast(pa.uint8()), 1))
    elif pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        lengths = pc.binary_length(column)
        state.update(_fixed_bytes(lengths, 4))
        state.update(_text_bytes(column))
    elif pa.types.is_primitive(column.type):
        state.update(_fixed_bytes(column, column.type.bit_width // 8))
    else:
        raise InvariantError(f"no digest for columns of {column.type}")


def _fixed_bytes(column: Array, width: int) -> Buffer:
    data = column.buffers()[1]
    return data.slice(column.offset * width, len(column) * width) if data is not None else b""


def _text_bytes(column: Array) -> Buffer:
    _, offsets, data = column.buffers()
    (start,) = struct.unpack_from("=i", offsets, 4 * column.offset)
    (end,) = struct.unpack_from("=i", offsets, 4 * (column.offset + len(column)))
    return data.slice(start, end - start) if data is not None else b""
