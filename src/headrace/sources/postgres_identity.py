"""Which PostgreSQL database answers, and how far its history has come."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from headrace.domain.source_seen import SourceIdentity

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


def identity_of(connection: Connection, relation: int | None) -> SourceIdentity | None:
    """
    Args:
        relation: the table's oid, None of a query.
    """
    found = connection.execute(_IDENTITY).fetchone()
    if found is None:
        return None
    system, database, timeline, progress = found
    return SourceIdentity(
        database=f"system {system or 'unknown'}, database {database}",
        relation="" if relation is None else str(relation),
        branch=timeline,
        progress=progress,
    )
