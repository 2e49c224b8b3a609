"""Translates psycopg's errors into Headrace's groups, without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import errors

from headrace.errors import (
    ConfigurationError,
    ErrorCode,
    HeadraceError,
    SourceDriftError,
    SourceUnavailableError,
)
from headrace.sources.url_secrets import UrlSecrets

_MISSING: Final = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.InvalidSchemaName,
    errors.UndefinedObject,
    errors.DataError,  # a text that was the column's is so no longer: its type changed
)
_FOR_A_PERSON: Final = (
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.ProgrammingError,
    errors.NotSupportedError,
)
_LOGIN, _URL = ErrorCode.SOURCE_LOGIN_REFUSED, ErrorCode.SOURCE_URL_INVALID
# A refused connection carries no SQLSTATE, only the server's words.
_REFUSALS: Final = {
    "password authentication failed": ("correct the user or password in the app's URL", _LOGIN),
    "no password supplied": ("put a password into the app's URL", _LOGIN),
    "no pg_hba.conf entry": ("let the server's pg_hba.conf admit this host, user and database", _LOGIN),
    "does not exist": ("correct the database or user in the app's URL, or create it", _LOGIN),
    "permission denied for database": ("GRANT CONNECT on the database to this user", _LOGIN),
    "is not permitted to log in": ("give the user the right to LOGIN", _LOGIN),
    "for connection option": ("correct the app's URL", _URL),
    "certificate": ("correct sslmode and sslrootcert in the app's URL", _URL),
}
_MISSING_NAMES: Final = (
    (errors.UndefinedTable, ErrorCode.TABLE_MISSING),
    (errors.UndefinedColumn, ErrorCode.COLUMN_MISSING),
)


class ErrorTranslation:
    """Translates errors of one app's connections; knows which words must never be shown."""

    def __init__(self, app_id: str, url: str) -> None:
        self._app_id = app_id
        self._secrets = UrlSecrets(url)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of psycopg leave as SourceUnavailableError (may pass), SourceDriftError (the relation no
        longer fits) or ConfigurationError (for a person)."""
        try:
            yield
        except psycopg.Error as error:
            raise self._translation(error) from self._secrets.cause(error)

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """The same while connecting, where refusals are told from outages."""
        try:
            yield
        except psycopg.Error as error:
            raise self._refusal(error) from self._secrets.cause(error)

    def _translation(self, error: psycopg.Error) -> HeadraceError:
        message = self._message(error)
        if isinstance(error, _MISSING):
            return SourceDriftError(
                message, code=next((c for k, c in _MISSING_NAMES if isinstance(error, k)), None)
            )
        if isinstance(error, errors.InsufficientPrivilege):
            mend = "GRANT SELECT on what the source reads to the app's user"
            return ConfigurationError(f"{message}; {mend}", code=ErrorCode.SOURCE_RIGHTS_MISSING)
        if isinstance(error, _FOR_A_PERSON):
            return ConfigurationError(message)
        return SourceUnavailableError(message)

    def _refusal(self, error: psycopg.Error) -> HeadraceError:
        message, said = self._message(error), str(error)
        for words, (mend, code) in _REFUSALS.items():
            if words in said:  # not in the message: the password may be one of the words
                return ConfigurationError(f"{message}; {mend}", code=code)
        if isinstance(error, errors.ProgrammingError):
            return ConfigurationError(f"{self._app_id}: the app's URL is not a PostgreSQL URL", code=_URL)
        return SourceUnavailableError(message)

    def _message(self, error: psycopg.Error) -> str:
        # The primary message only: details may quote rows.
        primary = error.diag.message_primary or str(error)
        lines = (" ".join(line.split()) for line in primary.splitlines())
        return f"{self._app_id}: {self._secrets.scrubbed('; '.join(line for line in lines if line))}"
