"""Rows in PostgreSQL's binary COPY format, which the server takes in half the time that it needs for text.

Source: PostgreSQL's manual, `COPY`, "Binary Format"; `numeric_recv` and `jsonb_recv` in its source, for the
two types that a batch holds as text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from pgpq import ArrowToPostgresBinaryEncoder

from headrace.domain.arrow import Array, ChunkedArray, Int64Array, StringArray, Table, pa, pc

_PIECE_ROWS: Final = 5_000
"""Small pieces: where memory for one is asked of the system each time, it takes three times as long."""
_JSONB_VERSION: Final = pa.scalar(b"\x01", pa.binary())
_JOINED: Final = pa.scalar(b"", pa.binary())
_NO_TEXT: Final = pa.scalar(None, pa.string())

_GROUP: Final = 10_000
"""A numeric is sent in groups of four digits, the decimal point between two of them. The server takes zeros
before and after away."""
_DIGITS: Final = 16
"""Four groups, which one number of 64 bits holds."""
_SHORT: Final = 14
"""So many characters fit four groups wherever the point is: 13 digits, and three zeros that fill the last."""
_NEGATIVE: Final = 0x4000
_LOW_BYTES: Final = 0x00FF00FF00FF00FF


def _head(negative: int, scale: int, groups: int, weight: int) -> bytes:
    """
    Args:
        scale: digits behind the point.
        weight: groups before it, less one.
    """
    return struct.pack(">HhHH", groups, weight, _NEGATIVE * negative, scale)


_BEHIND: Final = [-(-scale // 4) for scale in range(_DIGITS + 1)]
"""Groups behind the point, by scale."""
_SHORT_HEADS: Final = pa.array([_head(n, scale, 4, 3 - g) for n in (0, 1) for scale, g in enumerate(_BEHIND)])
_WIDE_HEADS: Final = pa.array([_head(n, scale, 8, 3) for n in (0, 1) for scale in range(_DIGITS + 1)])
_FILLING: Final = pa.array([10 ** (groups * 4 - scale) for scale, groups in enumerate(_BEHIND)], pa.int64())


def binary_copy(rows: Table, types: Sequence[str]) -> Iterator[bytes]:
    """What COPY takes, piece by piece.

    Args:
        types: of the columns, as `PostgresDialect` names them: texts may be numeric or jsonb.
    """
    sent = pa.table(
        [_sent(column, type_) for column, type_ in zip(rows.columns, types, strict=True)],
        names=[str(number) for number in range(rows.num_columns)],
    )
    encoder = ArrowToPostgresBinaryEncoder(sent.schema)
    yield encoder.write_header()
    for piece in sent.to_batches(max_chunksize=_PIECE_ROWS):
        yield encoder.write_batch(piece)
    yield encoder.finish()


def _sent(column: ChunkedArray, type_: str) -> ChunkedArray:
    """Values as they are sent where Arrow has no such type; PostgreSQL's own are sent as the encoder does."""
    match type_:
        case "numeric":
            return pa.chunked_array([numerics(chunk) for chunk in column.chunks], pa.binary())
        case "jsonb":
            return pc.binary_join_element_wise(_JSONB_VERSION, column.cast(pa.binary()), _JOINED)
        case _:
            return column


def numerics(decimals: StringArray) -> Array:
    """Canonical texts of decimals as `numeric` is sent, each with as many decimals as its text has."""
    point = pc.find_substring(decimals, ".")
    length = pc.binary_length(decimals)
    whole = pc.if_else(pc.equal(point, -1), length, point)
    scale = pc.if_else(pc.equal(point, -1), 0, pc.subtract(pc.subtract(length, point), 1))
    short = pc.less_equal(length, _SHORT)
    if pc.all(short).as_py():
        return _short(decimals, scale)
    sent = _short(pc.if_else(short, decimals, _NO_TEXT), pc.if_else(short, scale, 0))
    wide = pc.and_(pc.less_equal(whole, _DIGITS), pc.less_equal(scale, _DIGITS))
    for choice, encode in ((pc.and_not(wide, short), _wide), (pc.invert(wide), _long)):
        chosen = pc.fill_null(choice, False)
        if pc.any(chosen).as_py():
            sent = pc.replace_with_mask(sent, chosen, encode(decimals.filter(chosen), scale.filter(chosen)))
    return sent


def _short(decimals: StringArray, scale: Int64Array) -> Array:
    """The digits are one number, filled up to a whole group."""
    digits = pc.replace_substring(decimals, ".", "").cast(pa.int64())
    number = pc.multiply(pc.abs(digits), _FILLING.take(scale))
    return pc.binary_join_element_wise(_heads(_SHORT_HEADS, decimals, scale), _groups(number), _JOINED)


def _wide(decimals: StringArray, scale: Int64Array) -> Array:
    """The digits before and behind the point are a number each."""
    with_point = pc.if_else(pc.equal(scale, 0), pc.binary_join_element_wise(decimals, ".", ""), decimals)
    parts = pc.split_pattern(with_point, ".")
    whole = pc.abs(pc.list_element(parts, 0).cast(pa.int64()))
    behind = pc.utf8_rpad(pc.list_element(parts, 1), _DIGITS, "0").cast(pa.int64())
    head = _heads(_WIDE_HEADS, decimals, scale)
    return pc.binary_join_element_wise(head, _groups(whole), _groups(behind), _JOINED)


def _heads(heads: Array, decimals: StringArray, scale: Int64Array) -> Array:
    negative = pc.starts_with(decimals, "-").cast(pa.int32())
    return heads.take(pc.add(pc.multiply(negative, _DIGITS + 1), scale))


def _groups(number: Int64Array) -> Array:
    """The last 16 digits as four groups."""
    packed = pa.scalar(0, pa.int64())
    for _ in range(4):  # the last one first, which is sent last
        rest = pc.divide(number, _GROUP)
        group = pc.subtract(number, pc.multiply(rest, _GROUP))
        packed, number = pc.bit_wise_or(pc.shift_left(packed, 16), group), rest
    # Each group's greater byte first.
    low, high = (pc.bit_wise_and(bits, _LOW_BYTES) for bits in (packed, pc.shift_right(packed, 8)))
    return pc.bit_wise_or(pc.shift_left(low, 8), high).view(pa.binary(8)).cast(pa.binary())


def _long(decimals: StringArray, scale: Int64Array) -> Array:
    """One after the other: what is so long is rare."""
    numbers = zip(decimals.to_pylist(), scale.to_pylist(), strict=True)
    return pa.array([_numeric(text, scale) for text, scale in numbers], pa.binary())


def _numeric(text: str, scale: int) -> bytes:
    whole, _, after = text.removeprefix("-").partition(".")
    before, behind = -(-len(whole) // 4), -(-scale // 4)
    digits = whole.zfill(before * 4) + after.ljust(behind * 4, "0")
    groups = [int(digits[at : at + 4]) for at in range(0, len(digits), 4)]
    return _head(text.startswith("-"), scale, len(groups), before - 1) + struct.pack(
        f">{len(groups)}H", *groups
    )
