"""Notifications of a PostgreSQL database, over a connection that does nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from headrace.sources.postgres_errors import ErrorTranslation

APPLICATION_NAME: Final = "headrace-listener"
_CONNECT_S: Final = 10


class Notification(NamedTuple):
    """What `pg_notify` was called with."""

    channel: str
    payload: str


async def notifications(
    app_id: str, url: str, channels: Collection[str]
) -> AsyncGenerator[Sequence[Notification], None]:
    """The notifications of these channels, as many at once as come together. An empty sequence is the first:
    what is committed after it is told, what was before is not. Closes the connection when it is closed.

    Errors:
        SourceUnavailableError: the connection was lost, or could not be made.
        ConfigurationError: the server refuses; a standby takes no LISTEN.
    """
    errors = ErrorTranslation(app_id, url)
    with errors.connecting():
        connection = await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            application_name=APPLICATION_NAME,
            client_encoding="utf8",
            connect_timeout=_CONNECT_S,
            keepalives_idle=60,
            keepalives_interval=10,
            keepalives_count=6,
        )
    try:
        with errors.translated():
            for channel in sorted(channels):
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        yield ()
        while True:
            with errors.translated():
                # One at least, and all that came in the same packet.
                come = [Notification(n.channel, n.payload) async for n in connection.notifies(stop_after=1)]
            yield come
    finally:
        await connection.close()
