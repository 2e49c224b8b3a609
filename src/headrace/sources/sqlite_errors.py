"""Translates sqlite3's errors into Headrace's groups."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from headrace.errors import ConfigurationError, ErrorCode, SourceDriftError, SourceUnavailableError

_MISSING: Final = ("no such table", "no such column", "ambiguous column", "no such view")
_FOR_A_PERSON: Final = (
    "syntax error",
    "incomplete input",
    "no such function",
    "misuse of aggregate",
    "readonly database",
    "one statement at a time",
    "wrong number of arguments",
)
_NOT_A_DATABASE: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})


@contextmanager
def translated(app_id: str) -> Iterator[None]:
    """Errors of sqlite3 leave as SourceUnavailableError (locked, busy, interrupted), SourceDriftError (the
    relation no longer fits) or ConfigurationError (for a person)."""
    try:
        yield
    except sqlite3.Error as error:
        message = f"{app_id}: {error}"
        if any(words in str(error) for words in _MISSING):
            table = "no such table" in str(error) or "no such view" in str(error)
            code = ErrorCode.TABLE_MISSING if table else ErrorCode.COLUMN_MISSING
            raise SourceDriftError(message, code=code) from error
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_A_DATABASE:
            raise ConfigurationError(
                f"{message}; the app's URL must lead to a readable SQLite file",
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            ) from error
        if isinstance(error, (sqlite3.ProgrammingError, sqlite3.Warning)) or any(
            words in str(error) for words in _FOR_A_PERSON
        ):
            raise ConfigurationError(message) from error
        raise SourceUnavailableError(message) from error
