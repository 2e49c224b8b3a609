"""Which PostgreSQL database answers, and how far its history has come."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from headrace.domain.source_seen import SourceIdentity
from headrace.sources.postgres_catalogue import PostgresRelation, describe_query

Connection = psycopg.Connection[tuple[Any, ...]]

# A database that is dropped and made anew has another oid, a recovery to a point in time and a failover begin
# a new timeline, a copy of files put back has less of the log than was seen. A standby, of which several may
# stand behind one address, tells only which cluster it follows.
_IDENTITY: Final = """
SELECT CASE WHEN has_function_privilege('pg_catalog.pg_control_system()', 'execute')
            THEN (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) ELSE '' END,
       (SELECT oid::text FROM pg_catalog.pg_database WHERE datname = current_database()),
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint END
"""
# Whoever only plans a query locks all that it reads, by whatever views. A partition comes and goes.
_LOCKED: Final = """
SELECT DISTINCT n.nspname || '.' || c.relname, c.oid::text
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
ORDER BY 1
"""


def identity_of(connection: Connection, relation: PostgresRelation) -> SourceIdentity | None:
    """The connection must be in no transaction."""
    found = connection.execute(_IDENTITY).fetchone()
    if found is None:
        return None
    system, database, timeline, progress = found
    return SourceIdentity(
        database=f"system {system or 'unknown'}, database {database}",
        relation="" if relation.oid is None else str(relation.oid),
        reads=_tables_read(connection, relation) if relation.oid is None else (),
        branch=timeline,
        progress=progress,
    )


def _tables_read(connection: Connection, query: PostgresRelation) -> tuple[tuple[str, str], ...]:
    """By name with its oid; nothing is read of them."""
    with connection.transaction():
        describe_query(connection, query.source)
        return tuple(connection.execute(_LOCKED).fetchall())
