"""The file of a backup: a tar, compressed by zstd, of a JSON-lines file a table and a manifest.

It means the same on SQLite and PostgreSQL, and `tar --zstd -xf` shows it to anybody. The manifest comes last
and has the SHA-256 of each table, so that a file that was cut off or changed is recognised before anything is
written.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.errors import ConfigurationError, ErrorCode

FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"
_TABLE_FILE: Final = re.compile(r"[a-z_]+\.jsonl")
_CHUNK_BYTES: Final = 1024 * 1024


class Kind(StrEnum):
    """What a column holds, and so how JSON writes it: times in ISO 8601 (UTC), bytes in base64."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    JSON = "json"
    TIME = "time"
    BYTES = "bytes"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableManifest(_Frozen):
    """A table: its columns in the order of each line's array, and the SHA-256 of its file."""

    name: str
    columns: dict[str, Kind]
    rows: int
    sha256: str


class Manifest(_Frozen):
    """What the backup is of.

    Attributes:
        made_by: the version of Headrace.
        workspace: the installation, which its data sources are stamped with.
        revision: the last migration that the tables had.
        tables: in an order in which none refers to a later one.
    """

    format: int
    made_by: str
    made_at: datetime
    workspace: str
    revision: str
    tables: tuple[TableManifest, ...]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


Row = Sequence[Any]

_TO_JSON: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.TIME: lambda value: value.astimezone(UTC).isoformat(),
    Kind.BYTES: lambda value: base64.b64encode(value).decode(),
}
_FROM_JSON: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.TIME: datetime.fromisoformat,
    Kind.BYTES: base64.b64decode,
}


def write_table(file: Path, name: str, columns: Mapping[str, Kind], rows: Iterable[Row]) -> TableManifest:
    """The rows are in the file, a JSON array a line."""
    convert = [_TO_JSON.get(kind) for kind in columns.values()]
    digest, count = hashlib.sha256(), 0
    with file.open("wb") as stream:
        for row in rows:
            cells = [v if f is None or v is None else f(v) for f, v in zip(convert, row, strict=True)]
            line = json.dumps(cells, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            digest.update(line)
            stream.write(line)
            count += 1
    return TableManifest(name=name, columns=dict(columns), rows=count, sha256=digest.hexdigest())


def read_table(directory: Path, table: TableManifest) -> Iterator[dict[str, Any]]:
    """Each row by the names of its columns."""
    convert = [_FROM_JSON.get(kind) for kind in table.columns.values()]
    with (directory / f"{table.name}.jsonl").open("rb") as lines:
        for line in lines:
            cells = json.loads(line)
            values = [v if f is None or v is None else f(v) for f, v in zip(convert, cells, strict=True)]
            yield dict(zip(table.columns, values, strict=True))


# --- the archive ----------------------------------------------------------------------------------


@contextlib.contextmanager
def archive_to(path: Path) -> Iterator[tarfile.TarFile]:
    """An archive that is written whole or not at all, and that only its owner may read: it holds rows.

    Raises:
        ConfigurationError: there is a file already, or none can be written.
    """
    if path.exists():
        raise ConfigurationError(f"{path} exists already; name another file", code=ErrorCode.BACKUP_EXISTS)
    part = path.with_name(f"{path.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            with (
                pa.CompressedOutputStream(file, "zstd") as packed,
                tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
            ):
                yield archive
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def add_file(archive: tarfile.TarFile, file: Path) -> None:
    entry = tarfile.TarInfo(file.name)
    entry.size, entry.mode = file.stat().st_size, 0o600
    with file.open("rb") as stream:
        archive.addfile(entry, stream)


def add_manifest(archive: tarfile.TarFile, manifest: Manifest, directory: Path) -> None:
    file = directory / _MANIFEST
    file.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    add_file(archive, file)


def unpack(path: Path, directory: Path) -> Manifest:
    """The tables are in the directory, each as its manifest says.

    Raises:
        ConfigurationError: the file is no backup, or not whole.
    """
    try:
        digests = dict(_unpacked(path, directory))
        manifest = Manifest.model_validate_json((directory / _MANIFEST).read_bytes())
    except FileNotFoundError as error:
        if not path.exists():
            raise ConfigurationError(f"there is no file {path}; name a backup") from error
        raise _damaged(path, "its end is missing") from error
    except IsADirectoryError as error:
        raise ConfigurationError(f"{path} is a directory; name a backup") from error
    except (OSError, tarfile.TarError, pa.ArrowInvalid, EOFError) as error:
        raise _damaged(path, "it cannot be unpacked") from error
    except ValidationError as error:
        raise _damaged(path, "its manifest is none that this version of Headrace reads") from error
    if manifest.format != FORMAT:
        raise _damaged(path, f"it is of format {manifest.format}, not {FORMAT}")
    for table in manifest.tables:
        if digests.get(f"{table.name}.jsonl") != table.sha256:
            raise _damaged(path, f"table {table.name} is not as it was written")
    return manifest


def _unpacked(path: Path, directory: Path) -> Iterator[tuple[str, str]]:
    """The name and SHA-256 of each file, as it was unpacked; only files of the names that backups have."""
    with (
        path.open("rb") as file,
        pa.CompressedInputStream(file, "zstd") as packed,
        tarfile.open(fileobj=packed, mode="r|") as archive,
    ):
        for entry in archive:
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is None or not (entry.name == _MANIFEST or _TABLE_FILE.fullmatch(entry.name)):
                raise tarfile.TarError(entry.name)
            with (directory / entry.name).open("wb") as out:
                yield entry.name, _copied(content, out)


def _copied(content: IO[bytes], out: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK_BYTES):
        digest.update(chunk)
        out.write(chunk)
    return digest.hexdigest()


def _damaged(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is no whole backup of a control database: {why}; nothing was changed",
        code=ErrorCode.BACKUP_DAMAGED,
    )
