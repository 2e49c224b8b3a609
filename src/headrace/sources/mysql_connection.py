"""A connection to MySQL or MariaDB: how its URL is read, what its session is set to, and its rows as sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql  # type: ignore[import-untyped]
from pymysql.connections import Connection, MySQLResult  # type: ignore[import-untyped]
from pymysql.constants import COMMAND, CR  # type: ignore[import-untyped]
from pymysql.converters import encoders  # type: ignore[import-untyped]

from headrace.errors import ConfigurationError, ErrorCode

Row = tuple[Any, ...]

_CHUNK_BYTES: Final = 256 * 1024
_TLS: Final[Mapping[str, Mapping[str, Any]]] = {
    "disabled": {"ssl_disabled": True},
    "preferred": {},
    "required": {"ssl": {"verify_mode": "none"}},
    "verify_ca": {"ssl_verify_cert": True},
    "verify_identity": {"ssl_verify_cert": True, "ssl_verify_identity": True},
}
_FILES: Final = ("ssl_ca", "ssl_cert", "ssl_key", "unix_socket")
_SECONDS: Final = ("connect_timeout", "statement_timeout")
_KNOWN: Final = (*_FILES, *_SECONDS, "ssl_mode")
# The server's own limit may be shorter than the time between two polls.
_IDLE_S: Final = 28_800
_SORT_KEY_BYTES: Final = 4_096
"""More than the 3072 bytes of the longest key: the server orders longer texts by their beginnings alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a source may keep us waiting; `connect_timeout` and `statement_timeout` in the URL win."""

    connect_s: int = 10
    statement_s: int = 300
    lock_s: int = 10
    slack_s: int = 30
    """Beyond the statement's own limit, before silence is taken for a lost connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A URL as pymysql wants it."""

    arguments: Mapping[str, Any]
    timeouts: Timeouts


def read_url(app_id: str, url: str, timeouts: Timeouts) -> Access:
    """`mysql://user:password@host:3306/database?ssl_mode=verify_identity&ssl_ca=…`.

    Raises:
        ConfigurationError: the URL names no database, or an option that is not known.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ConfigurationError(
            f"{app_id}: the app's URL is not a MySQL URL", code=ErrorCode.SOURCE_URL_INVALID
        ) from error
    database = unquote(parts.path.strip("/"))
    if not database:
        raise ConfigurationError(
            f"{app_id}: the app's URL names no database: mysql://host/database",
            code=ErrorCode.SOURCE_URL_INVALID,
        )
    given: dict[str, str] = dict(options)
    _refuse_unknown(app_id, given)
    seconds = {name: int(given[name]) for name in _SECONDS if name in given}
    arguments: dict[str, Any] = {
        "host": unquote(parts.hostname or "127.0.0.1"),
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or "").encode(),
        "database": database,
        **{name: given[name] for name in _FILES if name in given},
        **_TLS[given.get("ssl_mode", "preferred").lower()],
    }
    chosen = Timeouts(
        connect_s=seconds.get("connect_timeout", timeouts.connect_s),
        statement_s=seconds.get("statement_timeout", timeouts.statement_s),
        lock_s=timeouts.lock_s,
        slack_s=timeouts.slack_s,
    )
    return Access(arguments=arguments, timeouts=chosen)


def _refuse_unknown(app_id: str, given: Mapping[str, str]) -> None:
    for name in given.keys() - set(_KNOWN):
        raise ConfigurationError(
            f'{app_id}: the app\'s URL has an unknown option "{name}"; known are {", ".join(_KNOWN)}',
            code=ErrorCode.SOURCE_URL_INVALID,
        )
    for name in _SECONDS:
        if name in given and not (given[name].isdecimal() and int(given[name])):
            raise ConfigurationError(
                f"{app_id}: {name} in the app's URL is a whole number of seconds",
                code=ErrorCode.SOURCE_URL_INVALID,
            )
    if given.get("ssl_mode", "preferred").lower() not in _TLS:
        raise ConfigurationError(
            f"{app_id}: ssl_mode in the app's URL is one of {', '.join(_TLS)}",
            code=ErrorCode.SOURCE_URL_INVALID,
        )


class MysqlConnection(Connection):  # type: ignore[misc]
    """A session that cannot write, in UTC, whose values come as texts: those of binary columns as bytes.

    Rows of a stream are cut out of what the socket gives: pymysql's own way (a packet, four reads and a
    struct for each row) takes 3.8 s for 1,000,000 rows of six columns, this one 1.4 s.
    """

    @property
    def is_mariadb(self) -> bool:
        return "mariadb" in str(self.get_server_info()).lower()

    def ask(self, statement: str) -> tuple[Row, ...]:
        """All rows of one small statement."""
        with self.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def describe(self, statement: str) -> Sequence[Any]:
        """The columns of its result, as the protocol has them."""
        self.query(statement)
        return tuple(self._result.fields)

    def start_rows(self, statement: str) -> int:
        """The statement runs and has so many columns; its rows are to be received."""
        self._execute_command(COMMAND.COM_QUERY, statement)
        result = MySQLResult(self)
        result.init_unbuffered_query()
        result.unbuffered_active = False  # what follows is read here, not by pymysql
        return len(result.fields)

    def receive(self) -> bytes:
        """What the server has sent, at least a byte."""
        try:
            data = self._rfile.read1(_CHUNK_BYTES)
        except OSError as error:
            raise pymysql.OperationalError(
                CR.CR_SERVER_LOST, f"connection lost while reading: {error}"
            ) from error
        if not data:
            raise pymysql.OperationalError(
                CR.CR_SERVER_LOST, "the server closed the connection while sending"
            )
        return bytes(data)

    def abandon(self) -> None:
        """The socket is closed at once, whatever is still on its way; the server then ends the statement."""
        self._force_close()


def connect(access: Access) -> MysqlConnection:
    """A session that is set to what reading needs."""
    timeouts = access.timeouts
    connection = MysqlConnection(
        **access.arguments,
        charset="utf8mb4",
        autocommit=True,
        conv=encoders,  # and no decoders: values stay texts
        connect_timeout=timeouts.connect_s,
        read_timeout=timeouts.statement_s + timeouts.slack_s,
        write_timeout=timeouts.statement_s + timeouts.slack_s,
        program_name="headrace",
    )
    try:
        connection.ask(_settings(timeouts, mariadb=connection.is_mariadb))
        connection.ask("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    except BaseException:
        connection.abandon()
        raise
    return connection


def _settings(timeouts: Timeouts, *, mariadb: bool) -> str:
    limit = (
        f"max_statement_time = {timeouts.statement_s}"
        if mariadb
        else f"max_execution_time = {timeouts.statement_s * 1000}"
    )
    wanted = (
        "time_zone = '+00:00'",
        # Nothing of the server's: a query means the same everywhere, any date can be compared.
        "sql_mode = 'ALLOW_INVALID_DATES'",
        "sql_auto_is_null = 0",
        "sql_big_selects = 1",
        "sql_select_limit = DEFAULT",
        limit,
        f"lock_wait_timeout = {timeouts.lock_s}",
        f"innodb_lock_wait_timeout = {timeouts.lock_s}",
        f"net_write_timeout = {timeouts.statement_s * 2}",  # how long a page may take us
        f"wait_timeout = {_IDLE_S}",
        f"max_sort_length = {_SORT_KEY_BYTES}",
    )
    return "SET SESSION " + ", ".join(wanted)
