"""The cursors that others read by, each as its documentation says, and generous where that is silent.

Each keeps what a destination that upserts by key would have: the version delivered last.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Protocol

from tests.faults.peers_loss.database import Session

SELECT = "SELECT id, version, updated_at FROM items"
PAGE_ROWS = 200
LAG = timedelta(seconds=1)


class Strategy(Protocol):
    """Something that polls the table again and again.

    Attributes:
        got: the version of each row that it delivered last.
    """

    name: str
    got: dict[int, int]

    def poll(self, session: Session) -> None: ...


class Peer:
    """What they share: the newest cursor seen."""

    name = ""

    def __init__(self) -> None:
        self.got: dict[int, int] = {}
        self.last: datetime | None = None

    def _deliver(self, rows: list[tuple[Any, ...]]) -> None:
        for id_, version, at in rows:
            self.got[id_] = version
            self.last = at if self.last is None else max(self.last, at)

    def _read(self, session: Session, where: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows in the order of the cursor; all of them at the first poll."""
        if self.last is None:
            where, values = "true", ()
        return session.rows(f"{SELECT} WHERE {where} ORDER BY updated_at, id", *values)


class Greater(Peer):
    """`cursor > max`: the incremental append of most tools."""

    name = "naive `>`"

    def poll(self, session: Session) -> None:
        self._deliver(self._read(session, "updated_at > %s", self.last))


class GreaterOrEqual(Peer):
    """`cursor >= max`, rows at the boundary that were delivered already left out: dlt's incremental
    without a lag, Airbyte's cursor, Singer's replication key."""

    name = "`>=` with deduplication"

    def poll(self, session: Session) -> None:
        rows = self._read(session, "updated_at >= %s", self.last)
        self._deliver([row for row in rows if self.got.get(row[0]) != row[1]])


class Keyset(Peer):
    """`(cursor, key) > (c, k)` in pages: no row is lost among ties that are visible."""

    name = "keyset (cursor, key)"

    def __init__(self) -> None:
        super().__init__()
        self.place: tuple[Any, ...] | None = None

    def poll(self, session: Session) -> None:
        while True:
            where = "" if self.place is None else "WHERE (updated_at, id) > (%s, %s)"
            page = session.rows(
                f"{SELECT} {where} ORDER BY updated_at, id LIMIT {PAGE_ROWS}", *(self.place or ())
            )
            self._deliver(page)
            if not page:
                return
            self.place = (page[-1][2], page[-1][0])


class Lookback(Peer):
    """`cursor >= max - lag`: dlt's `lag`, a lookback window."""

    name = "lookback 1 s"

    def poll(self, session: Session) -> None:
        since = None if self.last is None else self.last - LAG
        self._deliver(self._read(session, "updated_at >= %s", since))


class Delay(Peer):
    """`max < cursor <= now - delay`: Kafka Connect JDBC's `timestamp.delay.interval.ms`."""

    name = "delay 1 s"

    def poll(self, session: Session) -> None:
        until = f"updated_at <= {session.second_ago}"
        where = until if self.last is None else f"updated_at > %s AND {until}"
        values = () if self.last is None else (self.last,)
        self._deliver(session.rows(f"{SELECT} WHERE {where} ORDER BY updated_at, id", *values))


class TransactionIds(Peer):
    """The newest time at which every transaction id given out until then has ended by now is the fence;
    reading resumes there. A transaction has no id before it writes, but it has its timestamp."""

    name = "transaction-id fence"
    snapshot = """SELECT statement_timestamp(), pg_snapshot_xmin(s)::text::bigint,
                         pg_snapshot_xmax(s)::text::bigint FROM pg_current_snapshot() s"""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[tuple[datetime, int]] = []
        self.fence: datetime | None = None

    def poll(self, session: Session) -> None:
        ((at, oldest, following),) = session.rows(self.snapshot)
        self.epochs.append((at, following))
        ended = [epoch for epoch in self.epochs if epoch[1] <= oldest]
        since = self.fence
        if ended:
            self.fence = ended[-1][0]
            self.epochs = [epoch for epoch in self.epochs if epoch[1] > oldest]
        if since is None:
            self.last = None
        self._deliver(self._read(session, "updated_at >= %s", since))


NAIVE = Greater.name


def peers(dialect: str) -> list[Strategy]:
    """One of each; transaction ids can be asked only of PostgreSQL."""
    everywhere: list[Strategy] = [Greater(), GreaterOrEqual(), Keyset(), Lookback(), Delay()]
    return [*everywhere, TransactionIds()] if dialect == "postgres" else everywhere
