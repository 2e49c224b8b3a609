"""Has a file changed? By its content, hashed again only when its stamp cannot answer."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.errors import SourceUnavailableError
from headrace.sources.files_error import translated
from headrace.sources.files_path import Format, SourceFile

QUANTUM_S: Final = 2.5
"""A file that was touched so shortly before it was read may be written again without a change of its
times: FAT counts in steps of 2 s, kernels in ticks of up to 10 ms."""


_LINE_BREAKS: Final = (b"\n", b"\r", b"")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file without reading it. A write that keeps the modification time
    still moves the time of change; a file renamed into place has another inode."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class _Known:
    stamp: Stamp
    digest: str
    settled: bool


class Identities:
    """The contents of files as digests, remembered while their stamps prove them.

    *Invariant:* two calls give the same digest only for the same content
    (tests/integration/test_files_change.py).
    """

    def __init__(
        self,
        app_id: str,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._app_id = app_id
        self._now_ns = now_ns
        self._wait = wait
        self._known: dict[Path, _Known] = {}

    def of(self, files: Iterable[SourceFile]) -> str:
        """A digest of the files' names and contents.

        Raises:
            SourceUnavailableError: one is gone, or is being written.
        """
        state = hashlib.blake2b(digest_size=16)
        for file in files:
            state.update(f"{file.name}\0{self._content(file)}\0".encode())
        return state.hexdigest()

    def await_ends(self, files: Iterable[SourceFile]) -> None:
        """Each file ends with its last line's break, or nothing was written to it for `QUANTUM_S`: half a
        last value may be a whole one of less."""
        for file in files:
            with translated(self._app_id, file.name):
                if not _may_be_cut(file):
                    continue
                age_s = (self._now_ns() - file.path.stat().st_mtime_ns) / 1e9
                if age_s < QUANTUM_S:
                    self._wait(min(QUANTUM_S - age_s, QUANTUM_S))

    def _content(self, file: SourceFile) -> str:
        with translated(self._app_id, file.name):
            before, now = _stamp(file.path), self._now_ns()
            known = self._known.get(file.path)
            if known is not None and known.settled and known.stamp == before:
                return known.digest
            digest = _digest(file.path)
            if _stamp(file.path) != before:
                raise being_written(self._app_id, file.name)
        settled = max(before.modified_ns, before.changed_ns) + int(QUANTUM_S * 1e9) < now
        self._known[file.path] = _Known(before, digest, settled)
        return digest


def being_written(app_id: str, name: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f'{app_id}: "{name}" was written to while it was read; it is read again. To be read whole at once,'
        " write a file under another name and rename it"
    )


def _stamp(path: Path) -> Stamp:
    seen = path.stat()
    return Stamp(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _may_be_cut(file: SourceFile) -> bool:
    """A text without a line break at its end; a compressed file, and Parquet, tells its end by itself."""
    if file.format is Format.PARQUET or file.compression is not None:
        return False
    with os.fdopen(os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", 0) as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(size - 1, 0))
        return opened.read(1) not in _LINE_BREAKS


def _digest(path: Path) -> str:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", 0) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
