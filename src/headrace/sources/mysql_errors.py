"""Translates pymysql's errors into Headrace's groups, without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pymysql import err  # type: ignore[import-untyped]
from pymysql.constants import CR, ER  # type: ignore[import-untyped]

from headrace.errors import (
    ConfigurationError,
    ErrorCode,
    HeadraceError,
    SourceDriftError,
    SourceUnavailableError,
)
from headrace.sources.url_secrets import UrlSecrets

_WRONG_VALUE: Final = 1525
_UNKNOWN_TIME_ZONE: Final = 1298
_NO_PASSWORD: Final = 1698
_NO_PLUGIN: Final = 2059
_MISSING: Final = frozenset(
    {
        ER.NO_SUCH_TABLE,
        ER.BAD_FIELD_ERROR,
        ER.BAD_TABLE_ERROR,
        ER.VIEW_INVALID,
        # A text that was the column's is so no longer: its type changed.
        ER.TRUNCATED_WRONG_VALUE,
        ER.CANT_AGGREGATE_2COLLATIONS,
        _WRONG_VALUE,
    }
)
_RIGHTS: Final = frozenset(
    {
        ER.TABLEACCESS_DENIED_ERROR,
        ER.COLUMNACCESS_DENIED_ERROR,
        ER.SPECIFIC_ACCESS_DENIED_ERROR,
        ER.PROCACCESS_DENIED_ERROR,
    }
)
_MISSING_NAMES: Final = {
    ER.NO_SUCH_TABLE: ErrorCode.TABLE_MISSING,
    ER.BAD_TABLE_ERROR: ErrorCode.TABLE_MISSING,
    ER.BAD_FIELD_ERROR: ErrorCode.COLUMN_MISSING,
}
_FOR_A_PERSON: Final = frozenset(
    {ER.PARSE_ERROR, ER.SYNTAX_ERROR, ER.DUP_FIELDNAME, ER.SP_DOES_NOT_EXIST, _UNKNOWN_TIME_ZONE}
)
_REFUSALS: Final = {
    ER.ACCESS_DENIED_ERROR: "correct the user or password in the app's URL",
    _NO_PASSWORD: "correct the user or password in the app's URL",
    ER.DBACCESS_DENIED_ERROR: "GRANT SELECT on the database to this user",
    ER.BAD_DB_ERROR: "correct the database in the app's URL, or create it",
    ER.HOST_NOT_PRIVILEGED: "let the server admit this user from this host",
    ER.HOST_IS_BLOCKED: "FLUSH HOSTS on the server when its network is mended",
    ER.MUST_CHANGE_PASSWORD: "give the user a password that has not expired",
    CR.CR_SSL_CONNECTION_ERROR: "correct ssl_mode and ssl_ca in the app's URL",
    _NO_PLUGIN: "give the user a password of caching_sha2_password or mysql_native_password",
}


class ErrorTranslation:
    """Translates errors of one app's connections; knows which words must never be shown."""

    def __init__(self, app_id: str, url: str) -> None:
        self._app_id = app_id
        self._secrets = UrlSecrets(url)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of pymysql leave as SourceUnavailableError (may pass), SourceDriftError (the relation no
        longer fits) or ConfigurationError (for a person)."""
        try:
            yield
        except err.MySQLError as error:
            raise self._translation(error) from self._secrets.cause(error)

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """The same while connecting, where refusals are told from outages."""
        try:
            yield
        except err.MySQLError as error:
            raise self._translation(error) from self._secrets.cause(error)
        except RuntimeError as error:  # of pymysql: a password that may not cross an unencrypted connection
            raise ConfigurationError(
                f"{self._app_id}: the server takes this user's password only over TLS; let it offer TLS, or"
                " give the user a password of mysql_native_password",
                code=ErrorCode.SOURCE_LOGIN_REFUSED,
            ) from error
        except OSError as error:  # of ssl: a certificate that cannot be read
            why = self._secrets.scrubbed(str(error))
            raise ConfigurationError(
                f"{self._app_id}: {why}; correct ssl_ca, ssl_cert and ssl_key in the app's URL",
                code=ErrorCode.SOURCE_URL_INVALID,
            ) from error

    def _translation(self, error: err.MySQLError) -> HeadraceError:
        code = error.args[0] if error.args else 0
        message = self._message(error)
        if code in _REFUSALS:
            return ConfigurationError(f"{message}; {_REFUSALS[code]}", code=ErrorCode.SOURCE_LOGIN_REFUSED)
        if code in _MISSING or isinstance(error, err.DataError):
            return SourceDriftError(message, code=_MISSING_NAMES.get(code))
        if code in _RIGHTS:
            mend = "GRANT SELECT on what the source reads to the app's user"
            return ConfigurationError(f"{message}; {mend}", code=ErrorCode.SOURCE_RIGHTS_MISSING)
        if code in _FOR_A_PERSON or isinstance(error, (err.ProgrammingError, err.NotSupportedError)):
            return ConfigurationError(message)
        if "certificate" in message.lower():
            mend = "correct ssl_mode and ssl_ca in the app's URL"
            return ConfigurationError(f"{message}; {mend}", code=ErrorCode.SOURCE_URL_INVALID)
        return SourceUnavailableError(message)

    def _message(self, error: err.MySQLError) -> str:
        text = str(error.args[1]) if len(error.args) > 1 else str(error)
        return (
            f"{self._app_id}: {self._secrets.scrubbed(' '.join(text.split()) or 'the connection is closed')}"
        )
