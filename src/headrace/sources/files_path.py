"""Which files a source of an app of files reads, and none outside of the app's directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from headrace.errors import ConfigurationError, ErrorCode, SourceUnavailableError
from headrace.ports import Relation
from headrace.sources.drift import nearest

_WILD: Final = frozenset("*?[")
_LISTED: Final = 10_000


class Format(StrEnum):
    CSV = ".csv"
    TSV = ".tsv"
    PARQUET = ".parquet"


_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of an app's directory.

    Attributes:
        name: its path below the directory, as messages say it and as files are ordered.
        path: where it is, symbolic links followed.
        compression: pyarrow's name of it, None for none.
    """

    name: str
    path: Path
    format: Format
    compression: str | None


class Directory:
    """The directory of an app, found by its URL.

    Raises ConfigurationError for a URL that names none.
    """

    def __init__(self, app_id: str, url: str) -> None:
        self.app_id = app_id
        self.root = _root(app_id, url)

    def files(self, relation: Relation) -> tuple[SourceFile, ...]:
        """The files that a relation is made of, in order of name; at least one.

        Raises:
            SourceUnavailableError: there is none. It may be on its way to be replaced, or its disk not be
                mounted, and must never look like a table without rows.
            ConfigurationError: the path leads out of the directory, or to what cannot be read as a table.
        """
        table = self._table(relation)
        self._require_root()
        found = [self._file(name) for name in self._names(table)]
        if not found:
            raise SourceUnavailableError(
                f'{self.app_id}: table "{table}" does not exist{self._meant(table)}; nothing is read, and'
                " nothing removed, until it is there"
            )
        return tuple(sorted(found, key=lambda file: file.name))

    def everything(self) -> tuple[SourceFile, ...]:
        """Every file that can be read as a table, in order of name, but for those that only links lead to."""
        self._require_root()
        return tuple(self._file(name) for name in sorted(self._walked()))

    def places(self) -> list[str]:
        """What a relation may be named: files, and directories with files."""
        files = list(self._walked())
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        return sorted({*files, *folders})

    def _meant(self, table: str) -> str:
        places = self.places()
        shown = ", ".join(f'"{place}"' for place in places[:10])
        return nearest(table, places) or (
            f"; there are {shown}" if places else "; the directory has no files"
        )

    def _table(self, relation: Relation) -> str:
        if relation.table is None:
            raise ConfigurationError(
                f"{self.app_id}: files have no queries; name a table: a file, a directory or a pattern",
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            )
        parts = PurePosixPath(relation.table).parts
        if not parts or relation.table.startswith("/") or ".." in parts:
            raise ConfigurationError(
                f'{self.app_id}: "{relation.table}" leads out of the app\'s directory',
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            )
        return relation.table

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise SourceUnavailableError(
                f"{self.app_id}: there is no directory {self.root}; mount it, or correct the app's URL"
            )

    def _names(self, table: str) -> Iterator[str]:
        place = self.root / table
        if place.is_dir():
            yield from (
                f"{PurePosixPath(table)}/{name}"
                for name in _tables_of(entry.name for entry in place.iterdir())
            )
        elif place.exists():
            yield str(PurePosixPath(table))
        elif _WILD & set(table):
            matches = (match for match in self.root.glob(table) if not match.is_dir())
            names = [match.relative_to(self.root).as_posix() for match in matches]
            yield from _tables_of(names)

    def _walked(self) -> Iterator[str]:
        seen = 0
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
            below = Path(folder).relative_to(self.root)
            for name in _tables_of(names):
                if not (Path(folder) / name).is_file():
                    continue
                yield (below / name).as_posix()
                seen += 1
                if seen == _LISTED:
                    return

    def _file(self, name: str) -> SourceFile:
        known = format_of(name)
        if known is None:
            raise ConfigurationError(
                f'{self.app_id}: "{name}" is no table by its name; it must end in .csv, .tsv or .parquet'
                " (CSV also in .csv.gz, .csv.zst or .csv.bz2)",
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            )
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise ConfigurationError(
                f'{self.app_id}: "{name}" is a link that leads out of the app\'s directory',
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            )
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(
                f'{self.app_id}: "{name}" is no regular file', code=ErrorCode.SOURCE_FILE_UNUSABLE
            )
        return SourceFile(name=name, path=path, format=known[0], compression=known[1])


def format_of(name: str) -> tuple[Format, str | None] | None:
    """The format and compression that a file's name tells, None when it tells none."""
    path = PurePosixPath(name.lower())
    compression = _COMPRESSIONS.get(path.suffix)
    suffix = path.suffix if compression is None else PurePosixPath(path.stem).suffix
    if suffix not in set(Format) or (compression and suffix == Format.PARQUET):
        return None
    return Format(suffix), compression


def _tables_of(names: Iterable[str]) -> Iterator[str]:
    """Those that are tables by their names. Hidden ones and `_SUCCESS` are other programs' business: so a
    file may be written under such a name, and renamed when it is whole."""
    for name in names:
        hidden = any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
        if not hidden and format_of(name) is not None:
            yield name


def _root(app_id: str, url: str) -> Path:
    """file:///directory, or file://./directory relative to the current one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    path = unquote(parts.path)
    is_file = parts.scheme.lower() == "file" and path.startswith("/")
    if is_file and parts.netloc in {"", "localhost", ".", ".."}:
        return Path(parts.netloc + path) if parts.netloc.startswith(".") else Path(path)
    raise ConfigurationError(
        f"{app_id}: the URL of files is file:///directory, or file://./directory below the current one",
        code=ErrorCode.SOURCE_FILE_UNUSABLE,
    )
