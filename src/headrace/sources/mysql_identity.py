"""Which MySQL or MariaDB server answers, and how far its log has come."""

from __future__ import annotations

from typing import Final

from headrace.domain.source_seen import SourceIdentity
from headrace.sources.mysql_connection import MysqlConnection

_VARIABLES: Final = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'read_only', 'wsrep_on')"
)
_PROGRESS: Final = "SHOW GLOBAL STATUS LIKE 'Innodb_lsn_current'"


def identity_of(connection: MysqlConnection) -> SourceIdentity | None:
    """None of a replica or a cluster's node, of which several may stand behind one address.

    MySQL tells how far its log has come only to those who may see InnoDB's status; MariaDB tells everybody.
    """
    variables = {str(name).lower(): str(value) for name, value in connection.ask(_VARIABLES)}
    server = variables.get("server_uuid") or variables.get("server_uid")
    if not server or "ON" in {variables.get("read_only"), variables.get("wsrep_on")}:
        return None
    progress = connection.ask(_PROGRESS)
    return SourceIdentity(database=f"server {server}", progress=int(progress[0][1]) if progress else None)
