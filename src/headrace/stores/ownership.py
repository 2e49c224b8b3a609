"""The stamp {workspace, data source, schema} in a data source: whose the tables are."""

from __future__ import annotations

from headrace import logs
from headrace.errors import DataSourceUnfitError
from headrace.stores.dialect import Binds, Connections, Session
from headrace.stores.layout import IDENTITY

log = logs.get(__name__)

Identity = tuple[str, str, str]

_OWN = "own tables"


class Ownership:
    """Looks for the stamp. A URL may lead to another database than it did at `prepare`, after a failover,
    a restore or a change of DNS; or have led to another workspace's all along."""

    def __init__(self, connections: Connections, identity: Identity) -> None:
        self._connections = connections
        self._identity = identity
        self._told: Identity | None = None

    def check(self, session: Session) -> None:
        """The tables are the data source's own. Asked in every merge: a pooler between us and the server may
        lead one connection to two databases.

        Raises:
            DataSourceUnfitError: they are another one's, or nobody's.
        """
        if not self.check_unless_new(session):
            raise DataSourceUnfitError(
                f"data source {self._identity[1]}: what its URL leads to has no tables of it: run"
                " `headrace apply`, or correct the URL"
            )

    def check_once(self, session: Session) -> None:
        """As `check`, asked once on each connection."""
        if _OWN not in session.known:
            self.check(session)

    def check_unless_new(self, session: Session) -> bool:
        """As `check`; False where there is no stamp yet."""
        found = self._found(session)
        if found is None:
            return False
        if found != self._identity:
            self._refuse(found)
        session.known.setdefault(_OWN, 0.0)
        return True

    def stamp(self, session: Session) -> None:
        """The tables are the data source's from now on, unless they were so before."""
        table = session.dialect.table(IDENTITY)
        if session.all(f"SELECT 1 FROM {table}"):
            return
        binds = Binds(session.dialect)
        values = ", ".join(map(binds.text, self._identity))
        session.run(f"INSERT INTO {table} VALUES ({values})", binds)

    def _found(self, session: Session) -> Identity | None:
        if _OWN not in session.known and self._connections.existing(session, IDENTITY) is None:
            return None
        columns = ", ".join(map(session.dialect.quote, ("workspace", "data_source", "schema")))
        rows = session.all(f"SELECT {columns} FROM {session.dialect.table(IDENTITY)}")
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None

    def _refuse(self, found: Identity) -> None:
        if self._told != found:
            # Loud, and once: every transaction finds it from now on.
            log.error(
                "data source leads to tables of another", data_source=self._identity[1], found="/".join(found)
            )
            self._told = found
        raise DataSourceUnfitError(
            "the tables belong to data source {1!r} of schema {2!r} in workspace {0!r}, not to data "
            "source {4!r} of schema {5!r} in workspace {3!r}: give this data source another database "
            "or namespace".format(*found, *self._identity)
        )
