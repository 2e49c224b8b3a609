"""Translates errors of the file system and of Arrow into Headrace's groups."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from headrace.errors import ConfigurationError, ErrorCode, SourceUnavailableError


@contextmanager
def translated(app_id: str, name: str) -> Iterator[None]:
    """Errors leave as ConfigurationError (no right to read) or SourceUnavailableError (gone meanwhile, cut
    off in the middle, a disk that fails): a file that cannot be read is never taken for an empty one."""
    try:
        yield
    except PermissionError as error:
        raise ConfigurationError(
            f'{app_id}: "{name}" may not be read; give the user of Headrace the right to read it',
            code=ErrorCode.SOURCE_FILE_UNUSABLE,
        ) from error
    except FileNotFoundError as error:
        raise SourceUnavailableError(f'{app_id}: "{name}" was removed while it was read') from error
    except (OSError, pa.ArrowException) as error:
        raise SourceUnavailableError(f'{app_id}: "{name}" cannot be read: {error}') from error


@contextmanager
def spill_translated(app_id: str) -> Iterator[None]:
    """Errors of the temporary copy leave as SourceUnavailableError."""
    try:
        yield
    except sqlite3.Error as error:
        raise SourceUnavailableError(
            f"{app_id}: the temporary copy of the files failed: {error}; it needs as much room in $TMPDIR"
            " (or /var/tmp, /tmp) as the columns that are read"
        ) from error
