"""Which MySQL or MariaDB server answers, which tables it reads there, and how far its log has come."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from pymysql import err  # type: ignore[import-untyped]
from pymysql.constants import ER  # type: ignore[import-untyped]

from headrace.domain.source_seen import SourceIdentity
from headrace.sources.mysql_column import text_literal
from headrace.sources.mysql_connection import MysqlConnection
from headrace.sources.mysql_dependence import Place, in_from, read_tables

_VARIABLES: Final = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'read_only', 'wsrep_on')"
)
_PROGRESS: Final = "SHOW GLOBAL STATUS LIKE 'Innodb_lsn_current'"
# A partition is a table of InnoDB. The oldest speaks for all: one that is added makes no other table.
_NUMBERS: Final = """
SELECT LOWER(SUBSTRING_INDEX(SUBSTRING_INDEX(name, '#P#', 1), '#p#', 1)) AS whole, MIN(table_id)
FROM information_schema.{view} GROUP BY whole HAVING whole IN ({names})
"""
_DATED: Final = frozenset({"innodb", "myisam", "aria"})
"""Engines that tell when a table was made: of others it may be when they started, or rows were written."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_]")
_UNTOLD: Final = frozenset({ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.UNKNOWN_TABLE})


def identity_of(connection: MysqlConnection, source: str) -> SourceIdentity | None:
    """None of a replica or a cluster's node, of which several may stand behind one address.

    MySQL tells how far its log has come only to those who may see InnoDB's status; MariaDB tells everybody.

    Args:
        source: how FROM names the relation.
    """
    variables = {str(name).lower(): str(value) for name, value in connection.ask(_VARIABLES)}
    server = variables.get("server_uuid") or variables.get("server_uid")
    if not server or "ON" in {variables.get("read_only"), variables.get("wsrep_on")}:
        return None
    progress = connection.ask(_PROGRESS)
    made = _made(connection, source)
    itself = next((place for place in made if in_from(place) == source), None)
    others = () if itself else tuple((".".join(place), since) for place, since in made.items())
    return SourceIdentity(
        database=f"server {server}",
        relation=made[itself] if itself else "",
        reads=others,
        progress=int(progress[0][1]) if progress else None,
    )


def _made(connection: MysqlConnection, source: str) -> Mapping[Place, str]:
    """By table that is read, what differs once it was dropped and made anew, by a dump that is put back or by
    a rebuild: the number that InnoDB gave it; to those who may not see that, when it was made."""
    tables = [table for table in read_tables(connection, source) if table.engine in _DATED]
    numbers = _numbers(connection, [table.place for table in tables if table.engine == "innodb"])
    return {table.place: numbers.get(_name(table.place)) or table.created for table in tables}


def _numbers(connection: MysqlConnection, places: Collection[Place]) -> Mapping[str, str]:
    """By InnoDB's names; nothing where this user may not see them."""
    names = ", ".join(text_literal(_name(place)) for place in places)
    view = "innodb_sys_tables" if connection.is_mariadb else "innodb_tables"
    try:
        return dict(connection.ask(_NUMBERS.format(view=view, names=names))) if names else {}
    except err.MySQLError as error:
        if error.args[0] not in _UNTOLD:
            raise
        return {}


def _name(place: Place) -> str:
    """InnoDB's name of a table, in small letters. Letters beyond ASCII have names of their own there, which
    this is not: such a table is known by when it was made."""
    return "/".join(
        "".join(c if _PLAIN.match(c) else f"@{ord(c):04x}" for c in part) for part in place
    ).lower()
