"""The PostgreSQL fence against real transactions of other sessions."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql

from headrace.domain.position import Fence, Position, saved_position
from headrace.domain.vocabulary import FeedClass
from headrace.ports import ReadPlan, Relation, Since
from headrace.sources import postgres_fence
from headrace.sources.postgres import PostgresReader
from headrace.sources.postgres_catalogue import find_relation
from headrace.sources.postgres_fence import _RUNNING, Looked, _Rendered
from headrace.sources.steady_clock import SteadyClock

PLAN = ReadPlan(relation=Relation("events"), columns=("id", "at"), key=("id",), cursor="at")
Connect = Callable[..., "psycopg.Connection[tuple[Any, ...]]"]


@pytest.fixture
def connect(postgres_database: str) -> Iterator[Connect]:
    with ExitStack() as stack:

        def connect(**options: Any) -> psycopg.Connection[tuple[Any, ...]]:
            return stack.enter_context(closing(psycopg.connect(postgres_database, **options)))

        yield connect


@pytest.fixture
def app(connect: Connect) -> psycopg.Connection[tuple[Any, ...]]:
    """The application's session, each statement a transaction of its own."""
    app = connect(autocommit=True)
    app.execute("CREATE TABLE events (id serial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
    return app


@pytest.fixture
def reader(postgres_database: str, app: object) -> Iterator[PostgresReader]:
    with closing(PostgresReader("shop", postgres_database, nonce="mine", margin_s=0)) as reader:
        yield reader


def ids(reader: PostgresReader, selection: Since) -> list[str]:
    with reader.read(PLAN, selection) as stream:
        return [text for page in stream for text in page.rows.column("id").to_pylist()]


def is_below(reader: PostgresReader, low: str | None, high: str | None) -> bool:
    assert low is not None
    assert high is not None
    return bool(reader.rank(PLAN, low) < reader.rank(PLAN, high))


def started(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """Begin a transaction; its start as a cursor's text."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.commit()
    row = connection.execute("SELECT now()::text").fetchone()
    assert row is not None
    return str(row[0])


def test_an_open_transaction_of_another_session_holds_the_fence(
    reader: PostgresReader, connect: Connect
) -> None:
    other = connect()
    start = started(other)
    fence = reader.fence(PLAN, None)
    assert fence.feed_class is FeedClass.EXACT
    assert is_below(reader, fence.bound, start)
    assert is_below(reader, start, fence.now)
    other.rollback()
    after = reader.fence(PLAN, fence.state)
    assert is_below(reader, start, after.bound)


def test_a_transaction_of_our_own_role_under_another_name_holds_the_fence(
    reader: PostgresReader, connect: Connect
) -> None:
    other = connect(application_name="headrace-reader:other")
    start = started(other)
    assert is_below(reader, reader.fence(PLAN, None).bound, start)


def test_our_own_reading_sessions_do_not_hold_the_fence(
    reader: PostgresReader, postgres_database: str, app: psycopg.Connection[Any]
) -> None:
    app.execute("INSERT INTO events SELECT FROM generate_series(1, 100)")
    with (
        closing(PostgresReader("shop", postgres_database, nonce="mine")) as busy,
        busy.read(replace(PLAN, page_rows=1), Since(None, None)) as stream,
    ):
        next(stream)
        read = app.execute("SELECT clock_timestamp()").fetchone()
        assert read is not None
        held = app.execute("SELECT count(*) FROM pg_stat_activity WHERE xact_start < %s", read).fetchone()
        assert held
        assert held[0] >= 1
        bound = reader.fence(PLAN, None).bound
    row = app.execute("SELECT %s::timestamptz > %s", (bound, read[0])).fetchone()
    assert row == (True,)


def test_what_ended_before_the_look_at_sessions_is_in_the_snapshot(
    reader: PostgresReader, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session shows it any more, so the fence passes it: the snapshot must be younger than the look."""
    late = connect()
    late.execute("INSERT INTO events DEFAULT VALUES")
    look = postgres_fence._sight

    def ended_just_before(*arguments: Any, **options: Any) -> Any:
        late.commit()
        return look(*arguments, **options)

    monkeypatch.setattr(postgres_fence, "_sight", ended_just_before)
    fence = reader.fence(PLAN, None)
    assert ids(reader, Since(None, fence.now)) == ["1"]


def test_a_slow_look_at_sessions_is_no_later_than_its_beginning(connect: Connect) -> None:
    """One that began after the look, and was not seen, must be above the fence."""
    looking = connect(autocommit=True)
    look = _RUNNING.replace("%(reader)s", "'nobody'")
    found = looking.execute(f"SELECT pg_sleep(0.2); {look}".encode())
    assert found.nextset()
    (at, oldest, *_) = found.fetchone() or ()
    (now,) = looking.execute("SELECT clock_timestamp()").fetchone() or ()
    assert (now - at).total_seconds() >= 0.2
    assert oldest <= at


def test_transactions_of_other_databases_do_not_hold_the_fence(
    reader: PostgresReader, postgres_server: str
) -> None:
    with closing(psycopg.connect(postgres_server)) as elsewhere:
        start = started(elsewhere)
        assert is_below(reader, start, reader.fence(PLAN, None).bound)


def test_the_margin_and_the_quantum_are_subtracted(postgres_database: str, app: object) -> None:
    with closing(PostgresReader("shop", postgres_database, nonce="mine", margin_s=5.0)) as reader:
        fence = reader.fence(PLAN, None)
        connection: Any = reader._connection
        row = connection.execute(
            "SELECT %s::timestamptz - %s::timestamptz", (fence.now, fence.bound)
        ).fetchone()
    assert row[0].total_seconds() == pytest.approx(5.000001, abs=1e-9)


def test_a_late_commit_is_seen_at_the_next_poll(
    reader: PostgresReader, connect: Connect, app: psycopg.Connection[Any]
) -> None:
    late = connect()
    late.execute("INSERT INTO events DEFAULT VALUES")
    app.execute("INSERT INTO events DEFAULT VALUES")
    fence = reader.fence(PLAN, None)
    with reader.read(PLAN, Since(None, fence.now)) as stream:
        lead = list(stream)[-1].end
    assert lead.key == ("2",)
    saved = saved_position(lead=lead, fence=fence, rank=lambda text: reader.rank(PLAN, text))
    late.commit()
    assert ids(reader, Since(saved, reader.fence(PLAN, fence.state).now)) == ["1", "2"]


def test_a_transaction_that_only_read_before_the_poll_and_then_writes_is_seen(
    reader: PostgresReader, connect: Connect, app: psycopg.Connection[Any]
) -> None:
    late = connect()
    late.execute("SELECT 1")
    app.execute("INSERT INTO events DEFAULT VALUES")
    fence = reader.fence(PLAN, None)
    with reader.read(PLAN, Since(None, fence.now)) as stream:
        lead = list(stream)[-1].end
    saved = saved_position(lead=lead, fence=fence, rank=lambda text: reader.rank(PLAN, text))
    late.execute("INSERT INTO events DEFAULT VALUES")
    late.commit()
    assert "2" in ids(reader, Since(saved, None))


@pytest.fixture
def plain_role(postgres_server: str, app: psycopg.Connection[Any]) -> Iterator[str]:
    """A role that may read the table and see nothing of other sessions."""
    role = f"headrace_plain_{uuid.uuid4().hex[:8]}"
    name = sql.Identifier(role)
    app.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    app.execute(sql.SQL("GRANT SELECT ON events TO {}").format(name))
    yield role
    app.execute(sql.SQL("DROP OWNED BY {}").format(name))
    app.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.fixture
def plain_reader(postgres_database: str, plain_role: str) -> Iterator[PostgresReader]:
    url = psycopg.conninfo.make_conninfo(postgres_database, user=plain_role)
    with closing(PostgresReader("shop", url, nonce="mine", margin_s=0)) as reader:
        yield reader


def test_a_role_without_rights_is_exact_by_transaction_ids(
    plain_reader: PostgresReader, connect: Connect, app: psycopg.Connection[Any]
) -> None:
    first = plain_reader.fence(PLAN, None)
    assert first.feed_class is FeedClass.EXACT
    late = connect()
    late.execute("INSERT INTO events DEFAULT VALUES")
    start = started_before(late)
    held = plain_reader.fence(PLAN, first.state)
    assert is_below(plain_reader, held.bound, start)
    app.execute("INSERT INTO events DEFAULT VALUES")
    with plain_reader.read(PLAN, Since(None, None)) as stream:
        lead = list(stream)[-1].end
    saved = saved_position(lead=lead, fence=held, rank=lambda text: plain_reader.rank(PLAN, text))
    late.commit()
    assert ids(plain_reader, Since(saved, None)) == ["1", "2"]
    assert is_below(plain_reader, start, plain_reader.fence(PLAN, held.state).bound)


def started_before(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute("SELECT (now() AT TIME ZONE 'UTC')::text || '+00'").fetchone()
    assert row is not None
    return str(row[0])


def test_without_rights_and_without_memory_an_open_transaction_holds_everything(
    plain_reader: PostgresReader, connect: Connect
) -> None:
    connect().execute("SELECT 1")
    assert plain_reader.fence(PLAN, None).bound == "-infinity"


def test_sessions_that_hide_their_activity_are_not_taken_for_idle(
    reader: PostgresReader, connect: Connect
) -> None:
    reader.fence(PLAN, None)
    hidden = connect(options="-c track_activities=off")
    start = started(hidden)
    fence = reader.fence(PLAN, None)
    assert is_below(reader, fence.bound, start)


def test_a_transaction_begun_while_activities_were_not_tracked_holds_the_fence(
    reader: PostgresReader, connect: Connect
) -> None:
    hidden = connect(options="-c track_activities=off", autocommit=True)
    before = reader.fence(PLAN, None)
    hidden.execute("BEGIN")
    start = started_before(hidden)
    hidden.execute("INSERT INTO events DEFAULT VALUES")
    hidden.execute("SET track_activities = on")
    seen = "SELECT state, xact_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    assert hidden.execute(seen).fetchone() == ("active", None)
    fence = reader.fence(PLAN, before.state)
    assert is_below(reader, fence.bound, start)
    assert not is_below(reader, fence.bound, before.bound), "what was closed stays closed"
    hidden.execute("COMMIT")
    assert is_below(reader, start, reader.fence(PLAN, fence.state).bound)


def test_a_session_that_hides_its_activity_and_runs_nothing_holds_no_fence(
    reader: PostgresReader, connect: Connect
) -> None:
    connect(options="-c track_activities=off", autocommit=True).execute("SELECT 1")
    running = connect()
    start = started(running)
    fence = reader.fence(PLAN, None)
    assert fence.bound != "-infinity", "by its start, and not by the ids of who runs"
    assert is_below(reader, fence.bound, start)


def test_transactions_are_hidden_and_not_absent_once_the_right_to_see_them_is_gone(
    plain_reader: PostgresReader, connect: Connect
) -> None:
    """It may be revoked between the question for it and the look."""
    with plain_reader._connected() as plain:
        for running in (0, 1):
            found = plain.execute(_RUNNING, {"reader": "headrace-reader:mine"}).fetchone()
            assert found is not None
            assert found[2] == running
            connect().execute("SELECT 1")


@pytest.mark.parametrize(
    ("kind", "rounded"),
    [
        ("timestamptz(3)", r"\.\d{1,3}\+00|:\d\d\+00"),
        ("timestamp(0)", r":\d\d"),
        ("date", r"-\d\d"),
    ],
)
def test_bounds_have_the_precision_of_the_column(
    reader: PostgresReader, app: psycopg.Connection[Any], kind: str, rounded: str
) -> None:
    app.execute(f"ALTER TABLE events ALTER at TYPE {kind}")  # type: ignore[arg-type]
    fence = reader.fence(PLAN, None)
    app.execute("INSERT INTO events DEFAULT VALUES")
    row = app.execute(f"SELECT at > CAST('{fence.bound}' AS {kind}) FROM events").fetchone()  # type: ignore[arg-type]
    assert row == (True,), "what comes after the fence is above its bound"
    assert fence.now is not None
    assert re.search(f"({rounded})$", fence.now)


def render(app: psycopg.Connection[Any], instant: str) -> Fence:
    column = find_relation(app, "shop", PLAN.relation).column("at")
    moment = datetime.fromisoformat(instant)
    looked = Looked(sees_all=True, seen=None, replayed=None, clock=SteadyClock().sight(moment, asked_s=0.0))
    rendered = _Rendered(app, column, replace(PLAN, time_zone="Europe/Berlin"), looked, margin_s=0)
    return Fence(now=rendered.now()[0], bound=rendered.bound(moment), feed_class=FeedClass.EXACT)


def test_naive_times_stay_below_what_an_autumn_hour_will_bring_again(app: psycopg.Connection[Any]) -> None:
    app.execute("ALTER TABLE events ALTER at TYPE timestamp(0)")
    far = render(app, "2026-10-24T12:00:00+00:00")
    assert (far.now, far.bound) == ("2026-10-24 14:00:00", "2026-10-24 13:59:59")
    # At 01:00 UTC of 25 October, 03:00 summer time becomes 02:00 winter time.
    before = render(app, "2026-10-25T00:59:00+00:00")
    assert (before.now, before.bound) == ("2026-10-25 02:59:00", "2026-10-25 01:58:59")
    after = render(app, "2026-10-25T01:10:00+00:00")
    assert (after.now, after.bound) == ("2026-10-25 03:10:00", "2026-10-25 02:09:59")
    spring = render(app, "2026-03-29T00:30:00+00:00")
    assert (spring.now, spring.bound) == ("2026-03-29 01:30:00", "2026-03-29 01:29:59")


def test_a_number_as_cursor_is_never_called_exact(
    reader: PostgresReader, app: psycopg.Connection[Any]
) -> None:
    app.execute("ALTER TABLE events ADD version bigint DEFAULT 1")
    fence = reader.fence(replace(PLAN, columns=("id", "version"), cursor="version"), None)
    assert fence.feed_class is FeedClass.EVENTUAL
    assert fence.reason == "the cursor version is not a time"


def test_the_lowest_bound_reads_everything_again(
    reader: PostgresReader, app: psycopg.Connection[Any]
) -> None:
    app.execute("INSERT INTO events DEFAULT VALUES")
    assert ids(reader, Since(Position("-infinity", None), None)) == ["1"]
