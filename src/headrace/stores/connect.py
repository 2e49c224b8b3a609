"""Opens the record store of a data source by its URL."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from headrace.errors import ConfigurationError, ErrorCode, RefusedError
from headrace.stores.dialect import Connections
from headrace.stores.postgres import PostgresConnections
from headrace.stores.postgres_reading import PostgresReading
from headrace.stores.reading_connections import ReadingConnections
from headrace.stores.reading_role import ReadingRole
from headrace.stores.record_query import SqlRecordReader
from headrace.stores.record_store import SqlRecordStore
from headrace.stores.sqlite import SqliteConnections
from headrace.stores.sqlite_reading import SqliteReading

_READING_KEPT: Final = 10
"""Idle connections that a data source's reading keeps."""


def as_given(url: str) -> str:
    return url


def open_store(
    *,
    data_source_id: str,
    url: str,
    namespace: str,
    workspace: str,
    schema: str,
    read_url: str | None = None,
    shared: bool = True,
    events: bool = False,
    pinned: Callable[[str], str] = as_given,
) -> SqlRecordStore:
    """The data source's store; nothing is connected yet.

    Args:
        url: `postgresql://…` or `sqlite:///path`; secrets resolved.
        namespace: the PostgreSQL schema that holds the tables; SQLite has none.
        workspace: the id of the control database that the data source belongs to.
        schema: the id of the schema (folder of data sources).
        read_url: that of the role for reading, which `prepare` lets read the records.
        events: what changes is written to its outbox.
        shared: it serves more than one customer: to that role each read shows one customer's.
        pinned: makes of the URL, at each connect, what to connect with (`AllowedHosts.pinned`). What it
            refuses is told as ConfigurationError.

    Raises:
        ConfigurationError: the URL is of no known kind. It is not told, since it may hold a password.
    """
    identity = (workspace, data_source_id, schema)
    place = _placed(data_source_id, url, pinned)
    connections: Connections
    role = None
    match urlsplit(url).scheme:
        case "postgresql" | "postgres":
            connections = PostgresConnections(
                place, namespace=namespace, identity="\0".join(identity), name=data_source_id
            )
            if read_url is not None:
                name = _user_of(data_source_id, read_url)
                role = ReadingRole(name=name, namespace=namespace, sees_one_customer=shared)
        case "sqlite":
            connections = SqliteConnections(lambda: _file_of(place()), name=data_source_id)
        case _:
            raise _unknown(data_source_id)
    new_id = _transaction_name if events else None
    return SqlRecordStore(connections, identity=identity, reading_role=role, new_id=new_id)


def _transaction_name() -> str:
    return uuid.uuid4().hex


def _user_of(data_source_id: str, read_url: str) -> str:
    try:
        user = conninfo_to_dict(read_url).get("user")
    except ProgrammingError:  # which quotes the URL
        user = None
    if not user:
        raise ConfigurationError(
            f"data source {data_source_id}: its read_url names no user", code=ErrorCode.STORE_MISCONFIGURED
        )
    return str(user)


def _file_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)[1:])


def open_record_reader(
    *,
    data_source_id: str,
    url: str,
    read_url: str | None,
    namespace: str,
    workspace: str,
    schema: str,
    pinned: Callable[[str], str] = as_given,
) -> SqlRecordReader:
    """What reads the data source's records; nothing is connected yet.

    Args:
        url: the owner's, which is read with where there is no `read_url`.
        read_url: the URL of the role for reading.
        pinned: as for `open_store`.

    Raises:
        ConfigurationError: the URL is of no known kind.
    """
    identity = (workspace, data_source_id, schema)
    used = read_url or url
    place = _placed(data_source_id, used, pinned)
    connections: ReadingConnections
    match urlsplit(used).scheme:
        case "postgresql" | "postgres":
            connections = PostgresReading(
                place,
                namespace=namespace,
                identity=identity,
                name=data_source_id,
                keep=_READING_KEPT,
                own_role=read_url is not None,
            )
        case "sqlite":
            connections = SqliteReading(
                lambda: _file_of(place()), identity=identity, name=data_source_id, keep=_READING_KEPT
            )
        case _:
            raise _unknown(data_source_id)
    return SqlRecordReader(connections)


def _placed(data_source_id: str, url: str, pinned: Callable[[str], str]) -> Callable[[], str]:
    def place() -> str:
        try:
            return pinned(url)
        except RefusedError as error:
            raise ConfigurationError(
                f"data source {data_source_id}: {error.detail}", code=ErrorCode.STORE_MISCONFIGURED
            ) from error

    return place


def _unknown(data_source_id: str) -> ConfigurationError:
    return ConfigurationError(
        f"data source {data_source_id}: its URL begins with neither postgresql:// nor sqlite:///",
        code=ErrorCode.STORE_MISCONFIGURED,
    )
