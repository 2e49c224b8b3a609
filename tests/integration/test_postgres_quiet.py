"""A poll that asks PostgreSQL once whether anything is new, with a fence that feeds share, against the plain
reads of one that asks for everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.position import Fence, Position
from headrace.ports import Beyond, NullCursors, ReadPlan, Relation, Selection, Since
from headrace.sources import postgres
from headrace.sources.postgres import PostgresReader
from headrace.sources.shared_look import SHARED_FOR_S, SharedLook
from headrace.sources.steady_clock import SteadyClock
from tests.servers import postgres_cluster

PLAN = ReadPlan(relation=Relation("events"), columns=("id", "at"), key=("id",), cursor="at")
CURSORS = (
    "now()",
    "now() - interval '1 day'",
    "now() + interval '1 day'",
    "NULL",
    "'-infinity'",
    "'infinity'",
)
Session = psycopg.Connection[Any]


@pytest.fixture
def connect(postgres_database: str) -> Iterator[Callable[[], Session]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(psycopg.connect(postgres_database)))


@pytest.fixture
def app(postgres_database: str) -> Iterator[Session]:
    with closing(psycopg.connect(postgres_database, autocommit=True)) as app:
        app.execute("CREATE TABLE events (id serial PRIMARY KEY, at timestamptz)")
        yield app


@dataclass(slots=True)
class Reading:
    """Readers of one app, on a clock that the test moves, and the looks at the database that they took."""

    url: str
    looks: list[Any] = field(default_factory=list)
    later_s: float = 0.0
    stack: ExitStack = field(default_factory=ExitStack)
    shared: SharedLook = field(default_factory=SharedLook)

    def reader(self) -> PostgresReader:
        real = SteadyClock()
        clock = SteadyClock(seconds=lambda: real.seconds() + self.later_s)
        reader = PostgresReader("shop", self.url, nonce="mine", margin_s=0, clock=clock, shared=self.shared)
        self.stack.enter_context(closing(reader))
        reader.describe(PLAN.relation)  # it connects now
        return reader


@pytest.fixture
def reading(postgres_database: str, app: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    reading, look = Reading(postgres_database), postgres.look

    def noted(*arguments: Any) -> Any:
        reading.looks.append(look(*arguments))
        return reading.looks[-1]

    monkeypatch.setattr(postgres, "look", noted)
    with reading.stack:
        yield reading


def text(session: Session, expression: str) -> str:
    session.execute("SET TimeZone = 'UTC'")
    row = session.execute(f"SELECT ({expression})::text".encode()).fetchone()
    assert row is not None
    return str(row[0])


def quiet(reader: PostgresReader, after: Position, state: str | None = None) -> Fence:
    fence = reader.quiet(PLAN, state, after)
    assert fence is not None
    return fence


def is_below(reader: PostgresReader, low: str | None, high: str | None) -> bool:
    assert low is not None
    assert high is not None
    return bool(reader.rank(PLAN, low) < reader.rank(PLAN, high))


# --- what is new ----------------------------------------------------------------------------------------

CHANGES = st.one_of(
    st.sampled_from([f"INSERT INTO events (at) VALUES ({cursor})" for cursor in CURSORS]),
    st.integers(1, 6).map(lambda id_: f"DELETE FROM events WHERE id = {id_}"),
    st.integers(1, 6).map(lambda id_: f"UPDATE events SET at = now() WHERE id = {id_}"),
)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp(0)", "date"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(CHANGES, max_size=4), keyed=st.booleans(), at=st.sampled_from(CURSORS[:3]))
def test_a_source_is_quiet_exactly_when_all_reads_of_a_poll_are_empty(
    app: Session, postgres_database: str, kind: str, changes: list[str], keyed: bool, at: str
) -> None:
    app.execute("DROP TABLE events; CREATE TABLE events (id serial PRIMARY KEY, at timestamptz)")
    app.execute(f"SET TimeZone = 'UTC'; ALTER TABLE events ALTER at TYPE {kind}".encode())
    after = Position(text(app, f"({at})::{kind}"), ("3",) if keyed else None)
    with closing(PostgresReader("shop", postgres_database, nonce="mine")) as reader:
        for change in ("SELECT", *changes):
            app.execute(change.encode())
            fence = reader.fence(PLAN, None)
            assert fence.now is not None
            reads = (Since(after, fence.now), NullCursors(), Beyond(fence.now))
            is_empty = not any(_has_rows(reader, selection) for selection in reads)
            # Rows between the clock and a position beyond it are read by the plain way alone.
            is_beyond = is_below(reader, fence.now, after.cursor)
            assert (reader.quiet(PLAN, None, after) is not None) == (is_empty and not is_beyond)


def _has_rows(reader: PostgresReader, selection: Selection) -> bool:
    with reader.read(PLAN, selection) as pages:
        return any(page.rows.num_rows for page in pages)


def test_a_source_without_a_position_or_a_time_is_never_quiet(reading: Reading, app: Session) -> None:
    assert reading.reader().quiet(PLAN, None, None) is None
    app.execute("ALTER TABLE events ALTER at TYPE bigint USING 1")
    assert reading.reader().quiet(PLAN, None, Position("1", None)) is None


# --- the shared look ------------------------------------------------------------------------------------


def test_feeds_of_one_app_share_a_look_for_a_second(reading: Reading, app: Session) -> None:
    after = Position(text(app, "now()"), None)
    first, second = reading.reader(), reading.reader()
    fences = [quiet(reader, after) for reader in (first, second, first)]
    assert len(reading.looks) == 1
    assert {fence.state for fence in fences} == {fences[0].state}
    reading.later_s = SHARED_FOR_S
    quiet(second, after)
    assert len(reading.looks) == 2


def test_who_connected_after_a_look_takes_its_own(reading: Reading, app: Session) -> None:
    """It may be another server that stands behind the address by now."""
    after = Position(text(app, "now()"), None)
    quiet(reading.reader(), after)
    quiet(reading.reader(), after)
    assert len(reading.looks) == 2


def test_a_feed_that_has_seen_later_takes_no_older_look(reading: Reading, app: Session) -> None:
    after = Position(text(app, "now()"), None)
    first, second = reading.reader(), reading.reader()
    quiet(first, after)
    seen = second.fence(PLAN, None)
    before = len(reading.looks)
    assert quiet(second, after, seen.state).resume is None
    assert len(reading.looks) == before + 1


def test_a_shared_look_is_held_by_whoever_ran_at_it(
    reading: Reading, app: Session, connect: Callable[[], Session]
) -> None:
    first, second, late = reading.reader(), reading.reader(), connect()
    start = text(late, "now()")
    after = Position(start, None)
    quiet(first, after)
    late.execute("INSERT INTO events (at) VALUES (now())")
    shared = quiet(second, after)
    assert len(reading.looks) == 1
    assert is_below(second, shared.bound, start)
    late.commit()
    assert second.quiet(PLAN, shared.state, after) is None, "it has committed: the snapshot is younger"
    assert len(reading.looks) == 1


def test_a_shared_look_is_no_later_than_whoever_began_after_it(
    reading: Reading, app: Session, connect: Callable[[], Session]
) -> None:
    first, second, late = reading.reader(), reading.reader(), connect()
    after = Position(text(app, "now()"), None)
    quiet(first, after)
    start = text(late, "now()")
    late.execute("INSERT INTO events (at) VALUES (now())")
    shared = quiet(second, after)
    assert is_below(second, shared.bound, start)
    assert is_below(second, shared.fresh, start), "it is not among those that are known to run"
    assert is_below(second, second.fence(PLAN, shared.state).bound, start)


def test_who_was_prepared_after_a_shared_look_holds_the_next_fence() -> None:
    with (
        postgres_cluster() as own_cluster,
        closing(psycopg.connect(own_cluster.url, autocommit=True)) as app,
        ExitStack() as stack,
    ):
        app.execute("CREATE TABLE events (id serial PRIMARY KEY, at timestamptz)")
        reading = Reading(own_cluster.url, stack=stack)
        first, second = reading.reader(), reading.reader()
        after = Position(text(app, "now()"), None)
        quiet(first, after)
        late = stack.enter_context(closing(psycopg.connect(own_cluster.url)))
        start = text(late, "now()")
        late.execute("INSERT INTO events (at) VALUES (now())")
        late.execute("PREPARE TRANSACTION 'late'")
        shared = quiet(second, after)
        assert is_below(second, shared.bound, start)
        for _ in range(2):
            fence = second.fence(PLAN, shared.state)
            assert is_below(second, fence.bound, start)
            shared = fence
        late.rollback()
        app.execute("COMMIT PREPARED 'late'")
        assert second.quiet(PLAN, fence.state, after) is None


def test_a_role_that_sees_no_starts_shares_no_look(
    reading: Reading, app: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fences come from looks that each feed counts by itself."""
    monkeypatch.setattr(postgres.Looked, "can_be_shared", property(lambda _: False))
    after = Position(text(app, "now()"), None)
    reader = reading.reader()
    assert reader.quiet(PLAN, None, after) is None
    assert reader.quiet(PLAN, None, after) is None
    assert len(reading.looks) == 2
