"""Reads CSV files as a stream of Arrow tables of texts, null apart from ''."""

from __future__ import annotations

import csv as python_csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import IO, Any, Final, Literal
from uuid import uuid4

from pyarrow import csv

from headrace.domain.arrow import Array, Table, pa, pc
from headrace.errors import ConfigurationError, SourceUnavailableError
from headrace.sources.files_path import Format, SourceFile
from headrace.sources.files_piece import Piece

BLOCKS: Final = (4 * 1024 * 1024, 64 * 1024 * 1024)
"""A row is never longer than a block: a file with a longer one is read again with the next size."""
_HEAD_BYTES: Final = 1024 * 1024
_SHOWN_CHARACTERS: Final = 300
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class RowTooLongError(Exception):
    """A row does not fit a block of the size that was tried."""


def header_of(app_id: str, file: SourceFile) -> tuple[str, ...]:
    """The names in the first line; a column without a name has the empty one.

    Raises:
        SourceUnavailableError: there is not even that line.
        ConfigurationError: it is in another encoding, or a name is there twice.
    """
    with _opened(file) as stream:
        head = stream.read(_HEAD_BYTES)
    where = f'{app_id}: "{file.name}"'
    if head.startswith(_UTF16) or b"\0" in head.partition(b"\n")[0]:
        raise ConfigurationError(f"{where} is in UTF-16, or no text at all; save it as UTF-8")
    names = _first_line(where, head, _delimiter(file))
    if names is None:
        raise SourceUnavailableError(
            f"{where} is empty: it has not even a header; nothing is read, and nothing removed, until it has"
        )
    repeated = next((name for at, name in enumerate(names) if name and name in names[:at]), None)
    if repeated is not None:
        raise ConfigurationError(f'{where} has two columns "{repeated}"; give each column a name of its own')
    return tuple(names)


def _first_line(where: str, head: bytes, delimiter: str) -> list[str] | None:
    text = io.TextIOWrapper(io.BytesIO(head), "utf-8-sig", newline="")
    try:
        return next((line for line in python_csv.reader(text, delimiter=delimiter) if line), None)
    except (UnicodeDecodeError, python_csv.Error) as error:
        raise ConfigurationError(
            f"{where}: its first line is no header in UTF-8 ({error}); save it as UTF-8"
        ) from error


def read_csv(app_id: str, file: SourceFile, columns: Sequence[str], *, block: int) -> Iterator[Piece]:
    """Every row of the file, in order, as utf8 columns of these names; those that the file lacks are null.

    A line with too few or too many fields, or that is no UTF-8, is unreadable; the others go on.

    Raises:
        RowTooLongError: a row is longer than `block`.
        SourceUnavailableError: the file ends in the middle of a line, or in a quoted text.
    """
    names = [name or f"\0{at}" for at, name in enumerate(header_of(app_id, file))]
    last_row = uuid4().hex
    where = f'{app_id}: "{file.name}"'
    with _opened(file) as raw:
        stream = _Ended(raw, _delimiter(file).join([last_row, *[""] * (len(names) - 1)]).encode())
        ragged: list[Any] = []
        ended = False
        for batch in _batches(stream, names, columns, _delimiter(file), ragged.append, block):
            ended = ended or (batch.num_rows > 0 and batch.column(0)[-1].as_py() == last_row.encode())
            whole = batch.slice(0, batch.num_rows - 1) if ended else batch
            faults, ragged[:] = [_ragged_reason(file, row) for row in ragged], []
            if ended and faults and not stream.closed_line:
                raise SourceUnavailableError(
                    f"{where} ends in the middle of a line: it is still being written, or was cut off;"
                    " nothing of it is read until it is whole. To be read whole at once, write a file under"
                    " another name and rename it"
                )
            yield _piece(file, whole, columns, faults)
    if not ended:
        raise SourceUnavailableError(
            f"{where} ends inside of a quoted text: a quote is opened and never closed, or the file is still"
            " being written; nothing of it is read until it is mended"
        )


def _batches(
    stream: _Ended,
    names: Sequence[str],
    columns: Sequence[str],
    delimiter: str,
    on_ragged: Callable[[Any], None],
    block: int,
) -> Iterator[Any]:
    """The rows as binary columns: the file's first, and those of `columns` that it has."""

    def skip(row: Any) -> Literal["skip"]:
        on_ragged(row)
        return "skip"

    wanted = list(dict.fromkeys([names[0], *(name for name in names if name in columns)]))
    try:
        yield from csv.open_csv(
            pa.PythonFile(stream, "r"),
            read_options=csv.ReadOptions(
                # One thread: only then does a ragged line know its number.
                column_names=list(names),
                skip_rows_after_names=1,
                block_size=block,
                use_threads=False,
            ),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=wanted,
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            raise RowTooLongError from error
        raise


class _Ended:
    """A stream of bytes with one more line at its end: it arrives as a row of its own only when the line
    before it is closed, and every quote."""

    closed = False

    def __init__(self, stream: Any, line: bytes) -> None:
        self._stream = stream
        self._line = line
        self._last = b""
        self._ended = False
        self.closed_line = True
        """The file's last line ends with a line break. Known when all is read."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._ended:
            return b""
        data: bytes = self._stream.read(size)
        if data:
            self._last = data[-1:]
            return data
        self._ended = True
        self.closed_line = self._last in {b"\n", b"\r", b""}
        return (b"" if self.closed_line else b"\n") + self._line + b"\n"


def _piece(file: SourceFile, batch: Any, columns: Sequence[str], faults: list[str]) -> Piece:
    """The batch as texts; a row that is no UTF-8 is no row."""
    texts: dict[str, Array] = {}
    broken = pa.repeat(pa.scalar(False), batch.num_rows)
    for name in columns:
        if name not in batch.schema.names:
            texts[name] = pa.nulls(batch.num_rows, pa.string())
            continue
        column = batch.column(name)
        try:
            texts[name] = column.cast(pa.string())
        except pa.ArrowInvalid:
            cells = [_decoded(cell) for cell in column.to_pylist()]
            broken = pc.or_(broken, pa.array([bad for _, bad in cells]))
            texts[name] = pa.array([text for text, _ in cells], pa.string())
    rows: Table = pa.table(texts)
    if not pc.any(broken).as_py():
        return Piece(rows, tuple(faults))
    faults = faults + [_encoding_reason(file, row) for row in rows.filter(broken).to_pylist()]
    return Piece(rows.filter(pc.invert(broken)), tuple(faults))


def _decoded(cell: bytes | None) -> tuple[str | None, bool]:
    """The text, and whether it is none: shown with `\\xNN` then."""
    if cell is None:
        return None, False
    try:
        return cell.decode(), False
    except UnicodeDecodeError:
        return cell.decode("utf-8", "backslashreplace"), True


def _encoding_reason(file: SourceFile, row: dict[str, str | None]) -> str:
    shown = ", ".join(text for text in row.values() if text is not None)[:_SHOWN_CHARACTERS]
    return f'a line of "{file.name}" is not in UTF-8: {shown}'


def _ragged_reason(file: SourceFile, row: Any) -> str:
    return (
        f'row {row.number} of "{file.name}" has {row.actual_columns} fields, not {row.expected_columns}:'
        f" {row.text[:_SHOWN_CHARACTERS]}"
    )


def _delimiter(file: SourceFile) -> str:
    return "\t" if file.format is Format.TSV else ","


@contextmanager
def _opened(file: SourceFile) -> Iterator[Any]:
    """The file's bytes, decompressed."""
    with ExitStack() as stack:
        raw = stack.enter_context(open_file(file))
        if file.compression is None:
            yield raw
            return
        yield stack.enter_context(
            closing(pa.CompressedInputStream(pa.PythonFile(raw, "r"), file.compression))
        )


def open_file(file: SourceFile) -> IO[bytes]:
    """The file that was found at the path, even if a link takes its place."""
    return os.fdopen(os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")
