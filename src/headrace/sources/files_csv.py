"""Reads CSV files as a stream of Arrow tables of texts, null apart from ''."""

from __future__ import annotations

import codecs
import csv as python_csv
import io
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import reduce
from typing import IO, Any, Final, Literal
from uuid import uuid4

from pyarrow import csv

from headrace.domain.arrow import Table, pa, pc
from headrace.domain.unreadable import Unreadable
from headrace.errors import ConfigurationError, ErrorCode, SourceUnavailableError
from headrace.sources.files_path import Format, SourceFile
from headrace.sources.files_piece import Piece

BLOCKS: Final = (1024 * 1024, 8 * 1024 * 1024, 64 * 1024 * 1024)
"""A row is never longer than a block: a file with a longer one is read again with the next size."""
_HEAD_BYTES: Final = 128 * 1024
_SHOWN_CHARACTERS: Final = 300
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_BLOCKS_AHEAD: Final = 2
_LONGEST_WAIT_S: Final = 0.5
_LETTER_BYTES: Final = 4
SUBSTITUTES: Final = ("\x1a", "\x18", "\x10", "\x1e")
"""SUB and others, one byte for one that is no UTF-8: pyarrow cannot tell of a ragged line in another
encoding. A file that is not in UTF-8 and has one of them itself is read again with the next."""
_ERRORS: Final = "headrace.substitute."


def _substituting(substitute: str) -> Callable[[UnicodeError], tuple[str, int]]:
    def replaced(error: UnicodeError) -> tuple[str, int]:
        start, end = (error.start, error.end) if isinstance(error, UnicodeDecodeError) else (0, 1)
        return substitute * (end - start), end

    return replaced


for _each in SUBSTITUTES:
    codecs.register_error(f"{_ERRORS}{ord(_each)}", _substituting(_each))


class CannotReadSoError(Exception):
    """The file cannot be read in the way that was tried; another one may do."""


class RowTooLongError(CannotReadSoError):
    """A row does not fit a block of the size that was tried."""


class SubstituteTakenError(CannotReadSoError):
    """The file is not in UTF-8, and has the substitute that was tried as a character of its own."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a file is read: in blocks of so many bytes, with this substitute."""

    block: int = BLOCKS[0]
    substitute: str = SUBSTITUTES[0]

    def after(self, error: CannotReadSoError) -> Way | None:
        """The way to try when this one failed so; None when there is no other."""
        if isinstance(error, SubstituteTakenError):
            left = SUBSTITUTES[SUBSTITUTES.index(self.substitute) + 1 :]
            return replace(self, substitute=left[0]) if left else None
        bigger = [block for block in BLOCKS if block > self.block]
        return replace(self, block=bigger[0]) if bigger else None


def header_of(app_id: str, file: SourceFile) -> tuple[str, ...]:
    """The names in the first line; a column without a name has the empty one.

    Raises:
        SourceUnavailableError: there is not even that line.
        ConfigurationError: it is in another encoding, or a name is there twice.
    """
    with opened(file) as stream:
        head = stream.read(_HEAD_BYTES)
    where = f'{app_id}: "{file.name}"'
    if head.startswith(_UTF16) or b"\0" in head.partition(b"\n")[0]:
        raise ConfigurationError(
            f"{where} is in UTF-16, or no text at all; save it as UTF-8", code=ErrorCode.SOURCE_FILE_UNUSABLE
        )
    names = _first_line(where, head, delimiter_of(file))
    if names is None:
        raise SourceUnavailableError(
            f"{where} is empty: it has not even a header; nothing is read, and nothing removed, until it has"
        )
    repeated = next((name for at, name in enumerate(names) if name and name in names[:at]), None)
    if repeated is not None:
        raise ConfigurationError(
            f'{where} has two columns "{repeated}"; give each column a name of its own',
            code=ErrorCode.SOURCE_FILE_UNUSABLE,
        )
    return tuple(names)


def _first_line(where: str, head: bytes, delimiter: str) -> list[str] | None:
    text = io.StringIO(head.decode("utf-8-sig", "surrogateescape"), newline="")
    try:
        names = next((line for line in python_csv.reader(text, delimiter=delimiter) if line), None)
        "".join(names or ()).encode()
    except (UnicodeEncodeError, python_csv.Error) as error:
        raise ConfigurationError(
            f"{where}: its first line is no header in UTF-8; save it as UTF-8",
            code=ErrorCode.SOURCE_FILE_UNUSABLE,
        ) from error
    return names


def read_csv(
    app_id: str, file: SourceFile, columns: Sequence[str], *, way: Way
) -> Generator[Piece, None, None]:
    """Every row of the file, in order, as utf8 columns of these names; those that the file lacks are null.

    A line with too few or too many fields, or that is no UTF-8, is unreadable; the others go on.

    Raises:
        RowTooLongError: a row is longer than a block.
        SubstituteTakenError: a row that is no UTF-8 could not be told from one with the substitute in it.
        SourceUnavailableError: the file ends in the middle of a line, or in a quoted text.
    """
    names = [name or f"\0{at}" for at, name in enumerate(header_of(app_id, file))]
    last_row, substitute = uuid4().hex, way.substitute
    where = f'{app_id}: "{file.name}"'
    with ExitStack() as stack:
        raw = stack.enter_context(opened(file))
        last_line = delimiter_of(file).join([last_row, *[""] * (len(names) - 1)])
        stream = _Ended(raw, last_line.encode(), substitute)
        ragged: list[Any] = []
        ended, last_ragged = False, ""
        batches = stack.enter_context(
            closing(_batches(stream, names, columns, delimiter_of(file), ragged.append, way.block))
        )
        for batch in batches:
            ended = ended or (batch.num_rows > 0 and batch.column(0)[-1].as_py() == last_row)
            whole = batch.slice(0, batch.num_rows - 1) if ended else batch
            last_ragged = ragged[-1].text if ragged else last_ragged
            faults, ragged[:] = [_ragged(file, row, substitute) for row in ragged], []
            found = _piece(file, whole, columns, faults, foreign=substitute * stream.has_foreign_bytes)
            _require_apart(stream)
            yield found
        _require_apart(stream)
    if stream.open_line and last_ragged.encode().endswith(stream.open_line):
        raise SourceUnavailableError(
            f"{where} ends in the middle of a line: it is still being written, or was cut off; nothing of it"
            " is read until it is whole. To be read whole, write a file under another name and rename it"
        )
    if not ended:
        raise SourceUnavailableError(
            f"{where} ends inside of a quoted text: a quote is opened and never closed, or the file is still"
            " being written; nothing of it is read until it is mended"
        )


def _require_apart(stream: _Ended) -> None:
    if stream.has_foreign_bytes and stream.has_own:
        raise SubstituteTakenError


def _batches(
    stream: _Ended,
    names: Sequence[str],
    columns: Sequence[str],
    delimiter: str,
    on_ragged: Callable[[Any], None],
    block: int,
) -> Generator[Any, None, None]:
    """The rows as texts: the file's first, and those of `columns` that it has."""

    def skip(row: Any) -> Literal["skip"]:
        on_ragged(row)
        return "skip"

    wanted = list(dict.fromkeys([names[0], *(name for name in names if name in columns)]))
    batches: Iterator[Any] = iter(())
    returned = threading.Event()
    try:
        batches = csv.open_csv(
            pa.PythonFile(_Lent(stream, returned), "r"),
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
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=wanted,
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in batches:
            yield batch
            stream.parsed()
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            raise RowTooLongError from error
        raise
    finally:
        stream.end()
        # A thread of Arrow's that still reads ahead when Python ends would abort the process. What comes,
        # and that it is cut off, is of no interest to who stopped reading.
        with suppress(pa.ArrowInvalid):
            deque(batches, maxlen=0)
        del batches
        returned.wait(_LONGEST_WAIT_S)


class _Lent:
    """A stream as Arrow's threads have it; `returned` is set when none of them has it any more."""

    closed = False

    def __init__(self, stream: _Ended, returned: threading.Event) -> None:
        self.readable, self.read = stream.readable, stream.read
        weakref.finalize(self, returned.set).atexit = False


class _Ended:
    """A stream of bytes with one more line at its end: it arrives as a row of its own only when the line
    before it is closed, and every quote."""

    def __init__(self, stream: Any, line: bytes, substitute: str) -> None:
        self._stream = stream
        self._line = line
        self._substitute = substitute.encode()
        self._decoder = codecs.getincrementaldecoder("utf-8")(f"{_ERRORS}{ord(substitute)}")
        self._open = b""
        self._ended = False
        self._ahead = threading.Semaphore(_BLOCKS_AHEAD)
        self._reading = threading.Lock()
        self._given_up = False
        self.has_foreign_bytes = False
        """A byte that is no UTF-8 was replaced."""
        self.has_own = False
        """The file has the substitute as a character of its own."""

    @property
    def open_line(self) -> bytes:
        """The end of a last line without a line break, once all is read; else empty."""
        return self._open

    def readable(self) -> bool:
        return True

    def parsed(self) -> None:
        """A block's rows have been taken."""
        self._ahead.release()

    def end(self) -> None:
        """The stream is at its end for whoever reads it, and no thread waits in it."""
        self._given_up = True
        self._ahead.release()
        with self._reading:  # until it has its answer
            return

    def read(self, size: int = -1) -> bytes:
        with self._reading:
            return b"" if self._given_up else self._next(size)

    def _next(self, size: int) -> bytes:
        # Else Arrow reads 32 blocks ahead. Not for ever: a block of blank lines gives no rows to be taken.
        self._ahead.acquire(timeout=_LONGEST_WAIT_S)
        while not self._ended and not self._given_up:
            # Decoding may hold back a part of a letter: with it the next answer must not be too long.
            data = self._stream.read(size if size < 0 else max(size - _LETTER_BYTES, 1))
            self._ended = not data
            text = self._utf8(data)
            end = (self._open + text[-_SHOWN_CHARACTERS:])[-_SHOWN_CHARACTERS:]
            self._open = end.replace(b"\r", b"\n").rpartition(b"\n")[2]
            if self._ended:
                return text + (b"\n" if self._open else b"") + self._line + b"\n"
            if text:
                return text
        return b""

    def _utf8(self, data: bytes) -> bytes:
        own = data.count(self._substitute)
        self.has_own |= own > 0
        if data.isascii() and data and not self._decoder.getstate()[0]:
            return data
        text = self._decoder.decode(data, final=self._ended).encode()
        self.has_foreign_bytes |= text.count(self._substitute) > own
        return text


def _piece(
    file: SourceFile, batch: Any, columns: Sequence[str], faults: list[Unreadable], *, foreign: str
) -> Piece:
    """The batch with these columns; a row in another encoding is no row.

    Args:
        foreign: what stands for a byte in another encoding; empty where there was none.
    """
    nothing = pa.nulls(batch.num_rows, pa.string())
    present = set(batch.schema.names)
    rows: Table = pa.table({name: batch.column(name) if name in present else nothing for name in columns})
    if not foreign:
        return Piece(rows, tuple(faults))
    found = [pc.fill_null(pc.match_substring(column, foreign), False) for column in rows.columns]
    replaced = reduce(pc.or_, found)
    told = [_not_utf8(file, row, foreign) for row in rows.filter(replaced).to_pylist()]
    return Piece(rows.filter(pc.invert(replaced)), (*faults, *told))


def _not_utf8(file: SourceFile, row: dict[str, str | None], substitute: str) -> Unreadable:
    line = _shown(delimiter_of(file).join(text or "" for text in row.values()), substitute)
    # Its number is not known: rows are only looked at where a byte of some row near them was replaced.
    return Unreadable(
        at=f"{file.name} row {line}", reason=f'a line of "{file.name}" is not in UTF-8', line=line
    )


def _ragged(file: SourceFile, row: Any, substitute: str) -> Unreadable:
    return Unreadable(
        at=f"{file.name} row {row.number}",
        reason=f'row {row.number} of "{file.name}" has {row.actual_columns} fields,'
        f" not {row.expected_columns}",
        line=_shown(row.text, substitute),
    )


def _shown(line: str, substitute: str) -> str:
    return line[:_SHOWN_CHARACTERS].replace(substitute, "\ufffd")


def delimiter_of(file: SourceFile) -> str:
    return "\t" if file.format is Format.TSV else ","


@contextmanager
def opened(file: SourceFile) -> Iterator[Any]:
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
