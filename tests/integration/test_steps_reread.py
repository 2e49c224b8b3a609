"""Reading behind the fence again, on a real PostgreSQL: what it costs, and what it never delays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.domain.position import Position
from headrace.domain.reread import RECHECK
from headrace.ports import Since
from tests.acceptance.lossless.databases import PostgresDatabase
from tests.acceptance.lossless.things import Things, feed_state_bytes, project_of

PROVISIONAL = 20_000


class Watch:
    """A clock that goes on by hand, for the decision alone; durations are told as they are set."""

    def __init__(self) -> None:
        self.at, self.steady = datetime.now(UTC), 0.0
        self.tick_s = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        self.steady += self.tick_s
        return self.steady


@pytest.fixture
def source(postgres_database: str) -> PostgresDatabase:
    database = PostgresDatabase(postgres_database)
    database.make()
    return database


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def things(
    source: PostgresDatabase, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Things]:
    things = Things(project_of(tmp_path / "project", source), source, monkeypatch)
    things.app._fetch = replace(things.app._fetch, clock=watch)
    yield things
    things.close()


@pytest.fixture
def resumed(things: Things, monkeypatch: pytest.MonkeyPatch) -> list[Position | None]:
    """Where each poll resumed."""
    positions: list[Position | None] = []
    lend = things.app.readers.lend

    def watched(app_id):  # type: ignore[no-untyped-def]
        lent = lend(app_id)

        class Lent:
            def __enter__(self):  # type: ignore[no-untyped-def]
                reader = lent.__enter__()
                read = type(reader).read

                def seen(plan, selection):  # type: ignore[no-untyped-def]
                    if isinstance(selection, Since):
                        positions.append(selection.after)
                    return read(reader, plan, selection)

                monkeypatch.setattr(reader, "read", seen)
                return reader

            def __exit__(self, *of):  # type: ignore[no-untyped-def]
                return lent.__exit__(*of)

        return Lent()

    monkeypatch.setattr(things.app.readers, "lend", watched)
    return positions


def kept_waiting(source: PostgresDatabase, things: Things, watch: Watch) -> None:
    """Many rows are provisional, and reading them again has just taken long."""
    with source.session() as session, source.session() as short:
        short.run("BEGIN")
        short.run("SELECT 1")
        rows = f"SELECT n, 'n' || n, clock_timestamp() FROM generate_series(1, {PROVISIONAL}) n"
        session.run(f"INSERT INTO things {rows}")
        things.poll()
        short.run("COMMIT")
        watch.tick_s = 60.0
        things.poll()
        watch.tick_s = 0.0


def test_while_a_transaction_stays_open_polls_read_only_what_is_new(
    source: PostgresDatabase, things: Things, watch: Watch, resumed: list[Position | None]
) -> None:
    with source.session() as idle, source.session() as session:
        idle.run("BEGIN")
        idle.run("SELECT 1")
        kept_waiting(source, things, watch)
        before, fetched = things.journalled(), len(resumed)
        for id_ in range(10):
            session.insert(1_000_000 + id_, "flows")
            report = things.poll()
            assert report.rows_read == 1
            assert 1_000_000 + id_ in things.names(), "new rows never wait"
        assert all(at is not None and at.key is not None for at in resumed[fetched:])
        assert things.journalled() == before + 10
        assert feed_state_bytes(things.project) < 10_000


def test_a_late_commit_is_found_at_the_next_re_read_that_its_share_allows(
    source: PostgresDatabase, things: Things, watch: Watch
) -> None:
    with source.session() as idle, source.session() as late, source.session() as session:
        idle.run("BEGIN")
        idle.run("SELECT 1")
        late.begin()
        late.insert(2_000_000, "late")
        kept_waiting(source, things, watch)
        late.commit()
        session.insert(3_000_000, "new")
        things.poll()
        assert 3_000_000 in things.names()
        assert 2_000_000 not in things.names(), "the last re-read is not paid for yet"
        watch.at += timedelta(hours=1)
        things.poll()
        assert things.names() == session.names()


def test_a_poll_that_somebody_waits_for_finds_what_was_committed_whatever_re_reads_have_cost(
    source: PostgresDatabase, things: Things, watch: Watch
) -> None:
    with source.session() as late, source.session() as session:
        late.begin()
        late.insert(2_000_000, "late")
        kept_waiting(source, things, watch)
        late.commit()
        things.poll()
        assert 2_000_000 not in things.names()
        things.poll(trigger="sync")
        assert things.names() == session.names()


def test_what_was_read_ahead_is_not_journalled_again_by_the_worker_that_read_it(
    source: PostgresDatabase, things: Things, watch: Watch
) -> None:
    with source.session() as idle, source.session() as session:
        idle.run("BEGIN")
        idle.run("SELECT 1")
        kept_waiting(source, things, watch)
        session.insert(1_000_000, "ahead")
        things.poll()
        before = things.journalled()
        watch.at += timedelta(hours=1) + RECHECK
        idle.run("COMMIT")
        things.poll()
        assert things.journalled() == before
        things.poll()
        assert things.journalled() == before
        assert things.names() == session.names()


def test_another_worker_goes_on_at_the_lead(source: PostgresDatabase, things: Things, watch: Watch) -> None:
    with source.session() as idle, source.session() as session:
        idle.run("BEGIN")
        idle.run("SELECT 1")
        kept_waiting(source, things, watch)
        things.restart()
        things.app._fetch = replace(things.app._fetch, clock=watch)
        session.insert(1_000_000, "ahead")
        assert things.poll().rows_read == 1
        watch.at += timedelta(hours=1)
        idle.run("COMMIT")
        things.poll()
        assert things.names() == session.names()
        before = things.journalled()
        things.poll()
        assert things.journalled() == before
