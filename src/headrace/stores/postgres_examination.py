"""What a PostgreSQL data source says, cheaply, of how it suits the work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from headrace.ports import StoreExamination
from headrace.stores.dialect import Binds, Session

_CLOCK: Final = "SELECT statement_timestamp()"
_STANDBY: Final = "SELECT pg_is_in_recovery()"
_TEMPORARY: Final = "SELECT has_database_privilege(current_database(), 'TEMPORARY')"
_NAMESPACE: Final = """
SELECT n.nspname IS NOT NULL, has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE'),
       has_database_privilege(current_database(), 'CREATE')
FROM (SELECT {namespace} AS wanted) AS w LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.wanted
"""


def examine(session: Session, namespace: str) -> StoreExamination:
    """See `RecordStore.examine`."""
    at: datetime = session.all(_CLOCK)[0][0]
    return StoreExamination(at=at, lacking=tuple(_lacking(session, namespace)))


def _lacking(session: Session, namespace: str) -> Iterator[str]:
    if session.all(_STANDBY)[0][0]:
        yield "the server is a standby, which takes no writes: give its primary"
        return
    if not session.all(_TEMPORARY)[0][0]:
        yield "the role may not make temporary tables: GRANT TEMPORARY ON DATABASE"
    binds = Binds(session.dialect)
    statement = _NAMESPACE.format(namespace=binds.text(namespace))
    exists, uses, makes, makes_namespaces = session.all(statement, binds)[0]
    if not exists and not makes_namespaces:
        yield f"the role may not make the namespace {namespace}: GRANT CREATE ON DATABASE"
    if exists and not uses:
        yield f"the role may not use the namespace {namespace}: GRANT USAGE ON SCHEMA {namespace}"
    if exists and not makes:
        yield f"the role may not make tables in {namespace}: GRANT CREATE ON SCHEMA {namespace}"
