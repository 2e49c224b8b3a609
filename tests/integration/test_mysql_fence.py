"""The fence of MariaDB against real transactions of other sessions, on a server of its own."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.domain.position import Fence, Position, saved_position
from headrace.domain.vocabulary import FeedClass, PropertyType
from headrace.errors import SourceUnavailableError
from headrace.ports import ColumnFacts, KeyRange, ReadPlan, Relation, Since, TableFacts
from headrace.sources.mysql import MysqlReader
from headrace.sources.mysql_catalogue import MysqlRelation
from headrace.sources.mysql_column import MysqlColumn
from headrace.sources.mysql_connection import MysqlConnection
from headrace.sources.mysql_fence import take_fence
from headrace.sources.mysql_sighting import ServerSighting, Sightings, look
from headrace.sources.steady_clock import SteadyClock
from tests.conftest import mysql_connection
from tests.servers import MariadbServer, mariadb_server

PLAN = ReadPlan(relation=Relation("events"), columns=("id", "at"), key=("id",), cursor="at")
ALL = Since(None, None)


class Session:
    """A session of the application."""

    def __init__(self, url: str, *, autocommit: bool) -> None:
        self._connection = mysql_connection(url, autocommit=autocommit)
        self.number = self._connection.thread_id()

    def __call__(self, statement: str) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def now(self) -> str:
        """The server's clock, as the cursor column shows it."""
        return str(self("SELECT CAST(NOW(6) AS CHAR)")[0][0])

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()


Connect = Callable[..., Session]


@pytest.fixture(scope="module")
def server() -> Iterator[MariadbServer]:
    """A server in a time zone that is not UTC, which may be restarted."""
    settings = {"max-allowed-packet": "64M", "event-scheduler": "ON"}
    with mariadb_server(settings, environment={"TZ": "Australia/Lord_Howe"}) as server:
        yield server


@pytest.fixture
def url(server: MariadbServer) -> Iterator[str]:
    with closing(Session(server.url, autocommit=True)) as root:
        root("CREATE DATABASE fenced CHARACTER SET utf8mb4")
    yield server.database_url("fenced")
    with closing(Session(server.url, autocommit=True)) as root:
        root("DROP DATABASE fenced")


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    with ExitStack() as stack:

        def connect(*, autocommit: bool = False) -> Session:
            return stack.enter_context(closing(Session(url, autocommit=autocommit)))

        yield connect


@pytest.fixture
def app(connect: Connect) -> Session:
    """The application's session, each statement a transaction of its own."""
    app = connect(autocommit=True)
    app("CREATE TABLE events (id int PRIMARY KEY, at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))")
    return app


@pytest.fixture
def reader(url: str, app: Session) -> Iterator[MysqlReader]:
    with closing(MysqlReader("shop", url, nonce="mine", margin_s=0, shared_s=0)) as reader:
        yield reader


def ids(reader: MysqlReader, selection: Since) -> list[str]:
    with reader.read(PLAN, selection) as stream:
        return [text for page in stream for text in page.rows.column("id").to_pylist()]


def is_below(reader: MysqlReader, low: str | None, high: str | None) -> bool:
    assert low is not None
    assert high is not None
    return bool(reader.rank(PLAN, low) < reader.rank(PLAN, high))


def saved(reader: MysqlReader, fence: Fence, lead: Position) -> Position:
    return saved_position(lead=lead, fence=fence, rank=lambda text: reader.rank(PLAN, text))


def read_to_end(reader: MysqlReader, fence: Fence) -> Position:
    """The position that is saved after everything was read."""
    with reader.read(PLAN, Since(None, fence.now)) as stream:
        *_, last = stream
    return saved(reader, fence, last.end)


def wait_at_gate(session: Session) -> None:
    """A statement waits for the lock `gate`, and will until it is released."""
    while not session("SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'"):
        pass


def test_a_transaction_that_has_read_a_table_holds_the_fence_until_it_ends(
    reader: MysqlReader, app: Session, connect: Connect
) -> None:
    other = connect()
    other("SELECT * FROM events")
    other.now()
    start = app.now()
    held = reader.fence(PLAN, None)
    assert held.feed_class is FeedClass.EXACT
    assert not held.reason
    assert is_below(reader, held.bound, start)
    app("INSERT INTO events (id) VALUES (1)")
    position = read_to_end(reader, reader.fence(PLAN, held.state))
    other("INSERT INTO events (id, at) VALUES (2, NOW(6) - INTERVAL 0 SECOND)")
    other("COMMIT")
    assert "2" in ids(reader, Since(position, None))
    after = reader.fence(PLAN, held.state)
    assert is_below(reader, start, after.bound)
    assert after.running == frozenset()


def test_a_transaction_that_has_only_begun_takes_its_time_when_it_writes(
    reader: MysqlReader, app: Session, connect: Connect
) -> None:
    other = connect()
    other("START TRANSACTION")
    app("INSERT INTO events (id) VALUES (1)")
    fence = reader.fence(PLAN, None)
    position = read_to_end(reader, fence)
    other("INSERT INTO events (id) VALUES (2)")
    other("COMMIT")
    assert is_below(reader, fence.bound, str(app("SELECT at FROM events WHERE id = 2")[0][0]))
    assert "2" in ids(reader, Since(position, None))


def test_a_statement_that_runs_and_has_touched_no_table_holds_the_fence(
    reader: MysqlReader, app: Session, connect: Connect
) -> None:
    """Its time is that of its start; InnoDB knows of it only when it writes, long after."""
    slow = connect(autocommit=True)
    app("SELECT GET_LOCK('gate', 0)")
    statement = "INSERT INTO events (id, at) SELECT 2, NOW(6) FROM (SELECT GET_LOCK('gate', 60)) AS g WHERE 1"
    thread = threading.Thread(target=slow, args=(statement,))
    thread.start()
    wait_at_gate(app)
    app("INSERT INTO events (id) VALUES (1)")
    fence = reader.fence(PLAN, None)
    position = read_to_end(reader, fence)
    assert fence.running
    app("SELECT RELEASE_LOCK('gate')")
    thread.join()
    written = str(app("SELECT at FROM events WHERE id = 2")[0][0])
    assert is_below(reader, written, str(app("SELECT at FROM events WHERE id = 1")[0][0]))
    assert "2" in ids(reader, Since(position, None))


def stuck_insert(app: Session, lock: Session, session: Session) -> threading.Thread:
    """A statement that took its time, and waits for the lock of its table for longer than a second: the
    server counts transactions in whole ones."""
    lock("LOCK TABLES events WRITE")
    thread = threading.Thread(target=session, args=("INSERT INTO events (id) VALUES (2)",))
    thread.start()
    while not app("SELECT 1 FROM information_schema.processlist WHERE state LIKE '%metadata lock'"):
        pass
    app("DO SLEEP(1.1)")
    return thread


@pytest.mark.parametrize("looked", ["before it began", "while it waited", "never"])
def test_a_statement_that_waited_for_its_tables_lock_holds_the_fence_until_it_is_committed(
    looked: str, reader: MysqlReader, app: Session, connect: Connect
) -> None:
    """Its time is that of its start, and for InnoDB it began when it got through."""
    late, lock = connect(), connect(autocommit=True)
    reader.describe(PLAN.relation)
    state = reader.fence(PLAN, None).state if looked == "before it began" else None
    began = app.now()
    thread = stuck_insert(app, lock, late)
    if looked == "while it waited":
        state = reader.fence(PLAN, None).state
    lock("UNLOCK TABLES")
    thread.join()
    app("INSERT INTO events (id) VALUES (3)")
    for _ in range(2):
        fence = reader.fence(PLAN, state)
        assert fence.feed_class is FeedClass.EXACT
        assert (looked == "never") == (fence.bound == "0000-00-00 00:00:00")
        position, state = read_to_end(reader, fence), fence.state
    late("COMMIT")
    assert ids(reader, Since(position, None)) == ["2", "3"]
    assert is_below(reader, began, reader.fence(PLAN, state).bound)


def test_under_steady_load_of_short_transactions_the_fence_goes_on(
    reader: MysqlReader, app: Session, connect: Connect
) -> None:
    """At every look several are open, in sessions that are never idle for long."""
    stop, sessions = threading.Event(), [connect() for _ in range(4)]

    def work(session: Session, number: int) -> None:
        while not stop.is_set():
            session(f"UPDATE events SET at = NOW(6) WHERE id = {number}")
            session("DO SLEEP(0.05)")
            session("COMMIT")

    app("INSERT INTO events (id) VALUES (0), (1), (2), (3)")
    start, state, looks = app.now(), None, 0
    with ThreadPoolExecutor(4) as workers:
        done = [workers.submit(work, session, number) for number, session in enumerate(sessions)]
        try:
            while not is_below(reader, start, (fence := reader.fence(PLAN, state)).bound):
                state, looks = fence.state, looks + 1
                assert looks < 100, f"the fence stays at {fence.bound}"
                app("DO SLEEP(0.1)")
        finally:
            stop.set()
        assert fence.running
        assert [future.result() for future in done] == [None] * 4


def test_an_events_statement_holds_the_fence(reader: MysqlReader, app: Session) -> None:
    app("SELECT GET_LOCK('gate', 0)")
    app(
        "CREATE EVENT e ON SCHEDULE AT CURRENT_TIMESTAMP DO"
        " INSERT INTO events (id) SELECT 6 + GET_LOCK('gate', 60)"
    )
    wait_at_gate(app)
    app("INSERT INTO events (id) VALUES (1)")
    position = read_to_end(reader, reader.fence(PLAN, None))
    app("SELECT RELEASE_LOCK('gate')")
    while not app("SELECT 1 FROM events WHERE id = 7"):
        pass
    assert "7" in ids(reader, Since(position, None))


def test_a_prepared_transaction_holds_the_fence_over_a_restart_of_its_server(
    reader: MysqlReader, app: Session, connect: Connect, server: MariadbServer, url: str
) -> None:
    other = connect(autocommit=True)
    app("INSERT INTO events (id) VALUES (1)")
    state = reader.fence(PLAN, None).state
    other("XA START 'late'")
    other("INSERT INTO events (id) VALUES (2)")
    other("XA END 'late'")
    other("XA PREPARE 'late'")
    written = app.now()
    other.close()
    held = reader.fence(PLAN, state)
    assert is_below(reader, held.bound, written)
    reader.close()
    server.stop_immediately()
    server.start()
    with closing(Session(url, autocommit=True)) as again:
        again("INSERT INTO events (id) VALUES (3)")
        for _ in range(2):
            held = reader.fence(PLAN, held.state)
            assert held.feed_class is FeedClass.EXACT
            assert is_below(reader, held.bound, written), "after a restart it seems to have begun just now"
        position = read_to_end(reader, held)
        again("XA COMMIT 'late'")
        assert "2" in ids(reader, Since(position, None))
        assert is_below(reader, written, reader.fence(PLAN, held.state).bound)


def test_a_transaction_prepared_before_the_first_fence_holds_all(
    reader: MysqlReader, app: Session, connect: Connect
) -> None:
    other = connect(autocommit=True)
    for statement in (
        "XA START 'old'",
        "INSERT INTO events (id) VALUES (2)",
        "XA END 'old'",
        "XA PREPARE 'old'",
    ):
        other(statement)
    app("INSERT INTO events (id) VALUES (1)")
    first = reader.fence(PLAN, None)
    assert saved(reader, first, Position(app.now(), ("1",))) == Position("0000-00-00 00:00:00", None)
    other("XA COMMIT 'old'")
    assert ids(reader, Since(Position(str(first.bound), None), None)) == ["2", "1"]


def test_reading_sessions_do_not_hold_the_fence(
    reader: MysqlReader, url: str, app: Session, connect: Connect
) -> None:
    """Neither ours, whose statement runs, nor any transaction that is read-only."""
    app("INSERT INTO events (id) SELECT seq FROM seq_1_to_100000")
    other = connect()
    other("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    other("SELECT count(*) FROM events")
    padded = Relation(query="SELECT id, at, REPEAT('x', 1000) AS pad FROM events")
    with (
        closing(MysqlReader("shop", url, nonce="mine")) as busy,
        busy.read(replace(PLAN, relation=padded, columns=("id", "at", "pad"), page_rows=1), ALL) as stream,
    ):
        next(stream)
        assert app(
            "SELECT 1 FROM information_schema.processlist WHERE info LIKE '%headrace-reader:mine%pad%'"
        )
        assert app("SELECT SLEEP(1.1)")
        since = app.now()
        assert is_below(reader, since, reader.fence(PLAN, None).bound)
    with closing(MysqlReader("shop", url, nonce="another", margin_s=0, shared_s=0)) as stranger:
        watch = connect(autocommit=True)
        watch("SELECT GET_LOCK('gate', 0)")
        thread = threading.Thread(
            target=app, args=("SELECT /* headrace-reader:mine */ GET_LOCK('gate', 60)",)
        )
        thread.start()
        wait_at_gate(watch)
        assert stranger.fence(PLAN, None).running, "another workspace's nonce says nothing"
        assert reader.fence(PLAN, None).running == frozenset()
        watch("SELECT RELEASE_LOCK('gate')")
        thread.join()


def test_without_the_right_to_see_others_the_class_says_so(
    url: str, app: Session, server: MariadbServer
) -> None:
    app("CREATE USER plain@'%' IDENTIFIED BY 'p'")
    app("GRANT SELECT ON fenced.* TO plain@'%'")
    try:
        plain = url.replace("root@", "plain:p@")
        with closing(MysqlReader("shop", plain, nonce="mine", shared_s=0)) as reader:
            fence = reader.fence(PLAN, None)
            assert fence.feed_class is FeedClass.EVENTUAL
            assert "GRANT PROCESS" in fence.reason
            assert fence.running is None
            app("GRANT PROCESS ON *.* TO plain@'%'")
        with closing(MysqlReader("shop", plain, nonce="mine", shared_s=0)) as reader:
            seen = reader.fence(PLAN, fence.state)
            assert (seen.feed_class, seen.reason) == (FeedClass.EXACT, "")
    finally:
        app("DROP USER plain@'%'")


def test_a_server_that_is_read_only_is_a_replica_and_bounded(reader: MysqlReader, app: Session) -> None:
    app("SET GLOBAL read_only = ON")
    try:
        fence = reader.fence(PLAN, None)
        assert fence.feed_class is FeedClass.BOUNDED
        assert "replica" in fence.reason
    finally:
        app("SET GLOBAL read_only = OFF")


def test_many_who_look_at_once_share_what_was_seen(
    url: str, app: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InnoDB shows a copy that is made anew only when nobody has looked for a while."""
    monkeypatch.setattr("headrace.sources.mysql._sightings", defaultdict(Sightings))
    with ExitStack() as stack:
        workers = stack.enter_context(ThreadPoolExecutor(6))
        readers = [
            stack.enter_context(closing(MysqlReader("shop", url, nonce="mine", margin_s=0, shared_s=600)))
            for _ in range(6)
        ]
        fences = list(workers.map(lambda reader: reader.fence(PLAN, None), readers))
        assert len({fence.bound for fence in fences}) == 1
        assert {fence.feed_class for fence in fences} == {FeedClass.EXACT}


def test_a_copy_that_others_keep_from_being_made_anew_is_not_believed(
    reader: MysqlReader, app: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InnoDB then answers with an older copy, in which another statement asks. The last fence stays one: it
    is older, and true."""
    app("INSERT INTO events (id) VALUES (1)")
    known = reader.fence(PLAN, None)
    old: list[Any] = []
    ask = MysqlConnection.ask

    def as_once(connection: MysqlConnection, statement: str) -> Any:
        if "innodb_trx" not in statement:
            return ask(connection, statement)
        old.extend(ask(connection, statement.replace("LIKE '%headrace", "LIKE '%once")))
        return old[:1]

    monkeypatch.setattr(MysqlConnection, "ask", as_once)
    unknown = reader.fence(PLAN, known.state)
    assert len(old) > 1, "it was asked for again"
    assert unknown.bound == known.bound
    assert unknown.running is None
    assert unknown.feed_class is FeedClass.EXACT
    monkeypatch.undo()
    assert is_below(reader, known.bound, reader.fence(PLAN, unknown.state).bound)


def test_a_sighting_is_asked_for_again_when_it_is_too_old(
    url: str, app: Session, reader: MysqlReader
) -> None:
    reader.fence(PLAN, None)
    connection = reader._connection
    assert connection is not None
    sightings = Sightings()
    first = sightings.take(connection, "headrace-reader:mine", not_older_s=60)
    assert sightings.take(connection, "headrace-reader:mine", not_older_s=60) is first
    assert sightings.take(connection, "headrace-reader:mine", not_older_s=0) is not first
    assert look(connection, "headrace-reader:mine").at > first.at


# --- from what was seen to a text ---------------------------------------------------------------

AT = datetime(2026, 10, 25, 0, 30, 0, 700_000, tzinfo=UTC)


def fence_of(kind: str, *, digits: int = 0, zone: str = "UTC", skew_s: float = 0, **seen: Any) -> Fence:
    facts = ColumnFacts(
        name="at", native_type=kind, type=PropertyType.DATETIME, nullable=False, portable_order=True
    )
    column = MysqlColumn(facts=facts, kind=kind, digits=digits)  # type: ignore[arg-type]
    relation = MysqlRelation(
        source="t",
        facts=TableFacts(columns=(facts,), primary_key=(), fingerprint=""),
        columns=(column,),
        shape=(),
        engines=frozenset({seen.pop("engine", "innodb")}),
    )
    sighting = ServerSighting(
        **{
            "at": AT,
            "statements": {"9": AT - timedelta(seconds=10)},
            "transactions": frozenset(),
            "running": frozenset(),
            "detached": frozenset(),
        }
        | seen
    )
    return take_fence(
        sighting,
        relation,
        replace(PLAN, time_zone=zone, skew_s=skew_s),
        None,
        clock=SteadyClock().sight(AT, asked_s=0),
        margin_s=2,
    )


def test_bounds_are_below_by_margin_and_quantum_and_clocks_round_up() -> None:
    whole = fence_of("datetime")
    assert (whole.now, whole.bound) == ("2026-10-25 00:30:01", "2026-10-25 00:29:47")
    millis = fence_of("timestamp", digits=3)
    assert (millis.now, millis.bound) == ("2026-10-25 00:30:00.700+00", "2026-10-25 00:29:48.699+00")
    skewed = fence_of("datetime", skew_s=60)
    assert (skewed.now, skewed.bound) == ("2026-10-25 00:31:01", "2026-10-25 00:28:47")
    day = fence_of("date")
    assert (day.now, day.bound) == ("2026-10-25", "2026-10-24")


def test_a_naive_column_near_a_fall_back_is_fenced_below_what_comes_twice() -> None:
    """At 01:00 UTC the clocks of Berlin go from 03:00 back to 02:00."""
    berlin = fence_of("datetime", zone="Europe/Berlin")
    assert (berlin.now, berlin.bound) == ("2026-10-25 02:30:01", "2026-10-25 01:29:47")
    assert fence_of("timestamp", zone="Europe/Berlin").bound == "2026-10-25 00:29:47+00"


def test_transactions_of_an_engine_that_tells_nothing_make_the_class_eventual() -> None:
    fence = fence_of("datetime", engine="rocksdb")
    assert fence.feed_class is FeedClass.EVENTUAL
    assert "rocksdb" in fence.reason


# --- what a setting of the server allows --------------------------------------------------------


def test_a_row_of_more_than_one_packet_arrives_whole(reader: MysqlReader, app: Session) -> None:
    app("CREATE TABLE big (id int PRIMARY KEY, a longtext, b longtext)")
    app("INSERT INTO big VALUES (1, REPEAT('a', 12000000), REPEAT('b', 12000000)), (2, 'x', 'y')")
    plan = ReadPlan(
        relation=Relation("big"),
        columns=("id", "a", "b"),
        key=("id",),
        cursor=None,
        max_cell_bytes=40_000_000,
    )
    with reader.read(plan, KeyRange(None, None, None)) as stream:
        read = [tuple(row.values()) for page in stream for row in page.rows.to_pylist()]
    assert [(row[0], set(row[1]), len(row[1]), len(row[2])) for row in read] == [
        ("1", {"a"}, 12_000_000, 12_000_000),
        ("2", {"x"}, 1, 1),
    ]


def test_what_the_server_sends_when_it_dies_is_no_end_of_rows(
    reader: MysqlReader, app: Session, server: MariadbServer
) -> None:
    app("INSERT INTO events (id) SELECT seq FROM seq_1_to_200000")
    padded = Relation(query="SELECT id, at, REPEAT('x', 1000) AS pad FROM events")
    plan = replace(PLAN, relation=padded, columns=("id", "at", "pad"), page_rows=10)
    try:
        with reader.read(plan, ALL) as stream:
            next(stream)
            server.stop_immediately()
            with pytest.raises(SourceUnavailableError):
                list(stream)
    finally:
        server.start()
