"""What runs on a MySQL or MariaDB server: seen as a whole, without a gap.

A statement takes its time when it starts, InnoDB notes a transaction when it first touches a table. So, in
this order: the clock; statements that run; transactions; prepared ones; and, by the caller, the snapshot. A
statement that began before the clock was read either runs when statements are looked at, or has ended: then
its transaction is among those looked at next, or is committed, and the snapshot sees it. When a transaction
began only two sightings tell (`fence_look`).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymysql import err  # type: ignore[import-untyped]
from pymysql.constants import ER  # type: ignore[import-untyped]

from headrace.sources.mysql_connection import MysqlConnection

_CLOCK: Final = "SELECT NOW(6), CONNECTION_ID()"
# A consistent snapshot is a transaction of ours that InnoDB tells of, begun without touching a table.
_BEGIN: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
# A transaction's id changes when it first writes, its session and trx_started do not. That is when its first
# statement touched a row, not when it began: here it is a name, no time. A read-only transaction can write
# nothing, whoever's it is.
_TRANSACTIONS: Final = """
SELECT /* {nonce} */ trx_id, trx_mysql_thread_id, trx_query LIKE '%{nonce}%',
       DATE_FORMAT(trx_started, '%Y-%m-%dT%H:%i:%s')
FROM information_schema.innodb_trx
WHERE trx_is_read_only = 0 OR trx_mysql_thread_id = CONNECTION_ID()
"""
_STANDING: Final = """
SHOW GLOBAL VARIABLES WHERE variable_name IN ('read_only', 'wsrep_on', 'group_replication_group_name')
"""
_IDLE_COMMANDS: Final = frozenset({"Sleep", "Daemon", "Connect", "Binlog Dump", "Binlog Dump GTID"})
_REPLICATING: Final = frozenset({"Slave_IO", "Slave_SQL", "Slave_worker", "Slave_IO_thread"})
_REFUSED: Final = frozenset(
    {ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.XAER_RMERR}
)
_NO_PROCESS: Final = (
    "the app's user lacks the right PROCESS and cannot see transactions that still run: GRANT PROCESS ON *.*"
)
_NO_XA: Final = "the app's user may not see prepared transactions: GRANT XA_RECOVER_ADMIN ON *.*"
_REPLICA: Final = "the app is a replica: transactions that still run on its primary cannot be seen"
_CACHED_S: Final = 0.1
"""InnoDB shows a copy of its transactions, made anew when nobody has looked for so long."""
_ATTEMPTS: Final = 6
_MOST_TRANSACTIONS: Final = 5_000
"""InnoDB shows at most 16 MB of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSighting:
    """What was seen from `at` on, by the server's clock.

    Attributes:
        statements: by session, no later than the start of the one that runs, our own readers' excepted.
        transactions: those of sessions, as `fence_look` names them.
        running: names of the transactions and statements that run.
        detached: names of transactions that no session has: prepared ones (their start is lost in a
            restart), and those that recovery rolls back. None: InnoDB did not tell, for too many look.
        blind: why running transactions cannot be seen; empty when they are.
        partial: why some that commit may not be seen, such as those of other servers; empty when all are.
    """

    at: datetime
    statements: Mapping[str, datetime]
    transactions: frozenset[str]
    running: frozenset[str]
    detached: frozenset[str] | None
    blind: str = ""
    partial: str = ""

    @property
    def oldest(self) -> datetime:
        """No later than the start of any statement that runs."""
        return min([self.at, *self.statements.values()])


class Sightings:
    """Sightings of one server, shared by the threads that read it: else each would wait for InnoDB to make a
    new copy, and by looking keep it from doing so. An older one is still a valid bound."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[float, ServerSighting] | None = None

    def take(self, connection: MysqlConnection, reader: str, *, not_older_s: float) -> ServerSighting:
        """One that began at most so long ago."""
        with self._lock:
            began = time.monotonic()
            if self._last is not None and began - self._last[0] < not_older_s:
                return self._last[1]
            sighting = look(connection, reader)
            self._last = (began, sighting)
            return sighting


@dataclass(frozen=True, slots=True)
class _Transactions:
    """Those of sessions, by id and as `fence_look` names them, and those without (see `ServerSighting`)."""

    ids: frozenset[str]
    names: frozenset[str]
    detached: frozenset[str] | None
    blind: str = ""


def look(connection: MysqlConnection, reader: str) -> ServerSighting:
    """A sighting of now; the connection is in no transaction before and after.

    Args:
        reader: what the statements of our own readers say of themselves.
    """
    replica = _replica(connection)
    connection.ask(_BEGIN)
    try:
        now, own = connection.ask(_CLOCK)[0]
        at = moment(now)
        threads = connection.ask("SHOW PROCESSLIST")
        running = _running(threads, own, reader)
        replica = replica or _replication(threads)
        found = _transactions(connection, own)
        prepared, hidden = _prepared(connection)
    finally:
        connection.ask("ROLLBACK")
    statements = {thread[0]: at - timedelta(seconds=_seconds(thread[5]) + 1) for thread in running}
    return ServerSighting(
        at=at,
        statements=statements,
        transactions=found.names,
        running=frozenset(f"{name}@{began:%FT%T}" for name, began in statements.items()) | found.ids,
        detached=None if found.detached is None else found.detached | prepared,
        blind=found.blind,
        partial=replica or hidden,
    )


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _seconds(text: str | None) -> int:
    return max(0, int(text or 0))


def _running(threads: Sequence[Sequence[Any]], own: str, reader: str) -> list[Sequence[Any]]:
    """Sessions in a statement, but for this one and our readers'. An event's session connects for ever, and
    says what it runs."""
    found = []
    for thread in threads:
        number, command, statement = thread[0], thread[4], thread[7]
        idle = command in _IDLE_COMMANDS and not statement
        if number != own and not idle and reader not in (statement or ""):
            found.append(thread)
    return found


def _transactions(connection: MysqlConnection, own: str) -> _Transactions:
    for attempt in range(_ATTEMPTS):
        nonce = f"headrace-{secrets.token_hex(12)}"
        try:
            rows = connection.ask(_TRANSACTIONS.format(nonce=nonce))
        except err.MySQLError as error:
            if error.args[0] not in _REFUSED:
                raise
            return _Transactions(frozenset(), frozenset(), frozenset(), _NO_PROCESS)
        # Ours is in the copy with the very statement that asks for it: so the copy was made just now.
        fresh = any(thread == own and asked == "1" for _id, thread, asked, _at in rows)
        others = [row for row in rows if row[1] != own]
        if fresh and len(others) < _MOST_TRANSACTIONS:
            detached = frozenset(f"trx:{row[0]}" for row in others if row[1] == "0")
            ours = [row for row in others if row[1] != "0"]
            return _Transactions(
                frozenset(f"{row[1]}/{row[0]}" for row in ours),
                frozenset(f"{row[1]}/{row[3]}" for row in ours),
                detached,
            )
        time.sleep(_CACHED_S * (1 + attempt * secrets.randbelow(100) / 100) + 0.01)
    return _Transactions(frozenset(), frozenset(), None)


def _prepared(connection: MysqlConnection) -> tuple[frozenset[str], str]:
    try:
        rows = connection.ask("XA RECOVER")
    except err.MySQLError as error:
        if error.args[0] not in _REFUSED:
            raise
        return frozenset(), _NO_XA
    return frozenset("xa:" + ":".join(_hex(part) for part in row) for row in rows), ""


def _hex(part: str | bytes) -> str:
    return part.hex() if isinstance(part, bytes) else part.encode().hex()


def _replica(connection: MysqlConnection) -> str:
    """Why changes of other servers come here, from what a server says of itself."""
    settings = {name.lower(): value for name, value in connection.ask(_STANDING)}
    if settings.get("read_only", "OFF").upper() in {"ON", "1"}:
        return "the app is read-only, a replica: transactions that still run on its primary cannot be seen"
    if settings.get("wsrep_on", "OFF").upper() in {"ON", "1"} or settings.get("group_replication_group_name"):
        return "the app is one of a cluster: transactions that still run on the others cannot be seen"
    try:
        replicating = connection.ask("SHOW SLAVE STATUS")
    except err.MySQLError as error:
        if error.args[0] not in _REFUSED | {ER.PARSE_ERROR}:
            raise
        return ""  # its threads tell, which whoever has PROCESS sees
    return _REPLICA if replicating else ""


def _replication(threads: Sequence[Sequence[Any]]) -> str:
    applying = any(
        thread[4] in _REPLICATING or (thread[1] == "system user" and thread[4] in {"Connect", "Query"})
        for thread in threads
    )
    return _REPLICA if applying else ""
