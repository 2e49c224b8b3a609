"""Opens the record store of a data source by its URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.errors import ConfigurationError
from headrace.ports import RecordStore
from headrace.stores.dialect import Connections
from headrace.stores.postgres import PostgresConnections
from headrace.stores.record_store import SqlRecordStore
from headrace.stores.sqlite import SqliteConnections


def open_store(*, data_source_id: str, url: str, namespace: str, workspace: str, schema: str) -> RecordStore:
    """The data source's store; nothing is connected yet.

    Args:
        url: `postgresql://…` or `sqlite:///path`; secrets resolved.
        namespace: the PostgreSQL schema that holds the tables; SQLite has none.
        workspace: the id of the control database that the data source belongs to.
        schema: the id of the schema (folder of data sources).

    Raises:
        ConfigurationError: the URL is of no known kind. It is not told, since it may hold a password.
    """
    identity = (workspace, data_source_id, schema)
    connections: Connections
    match urlsplit(url).scheme:
        case "postgresql" | "postgres":
            connections = PostgresConnections(
                url, namespace=namespace, identity="\0".join(identity), name=data_source_id
            )
        case "sqlite":
            connections = SqliteConnections(Path(unquote(urlsplit(url).path)[1:]), name=data_source_id)
        case _:
            raise ConfigurationError(
                f"data source {data_source_id}: its URL begins with neither postgresql:// nor sqlite:///"
            )
    return SqlRecordStore(connections, identity=identity)
