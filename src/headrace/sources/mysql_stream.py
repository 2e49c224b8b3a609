"""One SELECT in one snapshot, as columns of what the server sends."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from pymysql import err  # type: ignore[import-untyped]

from headrace.sources.mysql_catalogue import MysqlRelation
from headrace.sources.mysql_connection import MysqlConnection
from headrace.sources.mysql_query import shape_of

Cells = list[bytes | None]

_BEGIN: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
_HEADER: Final = struct.Struct("<I")
_HEADER_BYTES: Final = 4
_LONGEST: Final = 0xFFFFFF
"""A packet of this length is continued by the next one."""
_ERROR: Final = 0xFF
_END: Final = 0xFE
_END_BYTES: Final = 4 + 9
_NULL: Final = 251
_WIDTHS: Final = {252: 2, 253: 3, 254: 8}


class RowStream:
    """Rows of a SELECT under way.

    A row is a packet: a header of four bytes (three of length, a number), then each value after its length.
    """

    def __init__(self, connection: MysqlConnection, statement: str) -> None:
        self._connection = connection
        self._statement = statement
        self._columns = 0
        self._data = b""
        self._at = 0
        self._ended = False

    def open(self, relation: MysqlRelation, columns: Sequence[str]) -> bool:
        """The snapshot is taken, and the statement has begun to answer. False, with neither, when one of the
        columns was altered since the relation was found: its values would be read by a type that holds no
        longer."""
        self._connection.ask(_BEGIN)
        known = {field.name: field for field in relation.shape}
        found = {field.name: field for field in shape_of(self._connection, relation.source)}
        if any(name in found and found[name] != known[name] for name in columns):
            self._connection.ask("ROLLBACK")
            return False
        self._columns = self._connection.start_rows(self._statement)
        return True

    def take(self, rows: int, at_most_bytes: int) -> list[Cells] | None:
        """The next rows, by column: at most so many, and no more once they have so many bytes; None at the
        end."""
        if self._ended:
            return None
        columns: list[Cells] = [[] for _ in range(self._columns)]
        appends = [column.append for column in columns]
        header = _HEADER.unpack_from
        data, at, end = self._data, self._at, len(self._data)
        while rows > 0 and at_most_bytes > 0:
            # The loop of the reader: what is rare is elsewhere, and nothing is looked up twice.
            stop = at + 4
            if stop <= end:
                stop += header(data, at)[0] & _LONGEST
            if stop >= end or stop - at - 4 == _LONGEST:
                data, at, stop = self._received(data, at)
                end = len(data)
            first = data[at + 4]
            if first >= _END and (first == _ERROR or stop - at < _END_BYTES):
                self._finish(data[at + 4 : stop])
                break
            at_most_bytes -= stop - at
            at += 4
            for append in appends:
                length = data[at]
                at += 1
                if length < _NULL:
                    begin = at
                    at += length
                    append(data[begin:at])
                elif length == _NULL:
                    append(None)
                else:
                    begin = at + _WIDTHS[length]
                    at = begin + int.from_bytes(data[at:begin], "little")
                    append(data[begin:at])
            rows -= 1
        self._data, self._at = data, at
        return columns if columns[0] else None

    def _received(self, data: bytes, at: int) -> tuple[bytes, int, int]:
        """The bytes from `at` on, where they begin with a whole row, as one packet that ends at the third."""
        data = self._with(data[at:], _HEADER_BYTES)
        length = _HEADER.unpack_from(data)[0] & _LONGEST
        stop = _HEADER_BYTES + length
        data = self._with(data, stop)
        if length < _LONGEST:
            return data, 0, stop
        payloads = [data[:stop]]
        while length == _LONGEST:
            data = self._with(data[stop:], _HEADER_BYTES)
            length = _HEADER.unpack_from(data)[0] & _LONGEST
            stop = _HEADER_BYTES + length
            data = self._with(data, stop)
            payloads.append(data[_HEADER_BYTES:stop])
        row = b"".join(payloads)
        return row + data[stop:], 0, len(row)

    def _with(self, data: bytes, wanted: int) -> bytes:
        """The bytes and those that come after them, at least `wanted` in all."""
        if len(data) >= wanted:
            return data
        parts, have = [data], len(data)
        while have < wanted:
            parts.append(self._connection.receive())
            have += len(parts[-1])
        return b"".join(parts)

    def _finish(self, payload: bytes) -> None:
        """The server's last word: that all was sent, or the error that ended the statement."""
        self._ended = True
        if payload[0] == _ERROR:
            err.raise_mysql_exception(payload)

    def close(self) -> bool:
        """The transaction is over. False when the connection went with it: the statement had not ended, and
        reading the rest would take as long as it is."""
        if not self._ended and not self._has_end():
            self._connection.abandon()
            return False
        self._connection.ask("ROLLBACK")
        return True

    def _has_end(self) -> bool:
        """What has come already ends the statement: so it is where a limit was met."""
        rest = self._data[self._at :]
        if len(rest) < _HEADER_BYTES + 1 or rest[_HEADER_BYTES] != _END:
            return False
        length: int = _HEADER.unpack_from(rest)[0] & _LONGEST
        return len(rest) == _HEADER_BYTES + length < _END_BYTES
