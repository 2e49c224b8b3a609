"""A small world for histories: a source, a control database, two stores, and processes that crash.

Everything is real but the processes: a crash is an exception raised right before or right after any call
of a step to the world, upon which the application is thrown away, its lease still held.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from headrace import wiring
from headrace.definition.loader import load
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId, RunId
from headrace.errors import HeadraceError, LeaseLostError
from headrace.ports import PollOutcome
from headrace.settings import Settings

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

SCHEMA = f"""
CREATE TABLE users (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, account_id INTEGER, name TEXT,
                    updated_at TEXT DEFAULT ({NOW}));
CREATE TABLE purchases (id INTEGER PRIMARY KEY, buyer_id INTEGER, amount TEXT, item TEXT,
                        tenant TEXT NOT NULL, updated_at TEXT DEFAULT ({NOW}));
CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT, tenant TEXT NOT NULL);
-- Rows that stay, in each data source, of customers who never move: a table that lost all rows would trip
-- the breaker.
INSERT INTO users (id, tenant) VALUES (100, 'e'), (101, 'w'), (102, 'east'), (103, 'west');
INSERT INTO purchases (id, tenant) VALUES (100, 'e'), (101, 'w'), (102, 'east'), (103, 'west');
INSERT INTO accounts (id, tenant) VALUES (100, 'e'), (101, 'w'), (102, 'east'), (103, 'west');
"""

ORACLE = """
SELECT u.tenant, u.id, u.account_id, u.name,
       (SELECT count(p.id) FROM purchases p WHERE p.buyer_id = u.id AND p.tenant = u.tenant),
       (SELECT sum(CAST(p.amount AS INTEGER)) FROM purchases p
         WHERE p.buyer_id = u.id AND p.tenant = u.tenant AND p.amount GLOB '[0-9]*'),
       (SELECT p.item FROM purchases p WHERE p.buyer_id = u.id AND p.tenant = u.tenant
         ORDER BY p.id LIMIT 1),
       (SELECT a.name FROM accounts a WHERE a.id = u.account_id AND a.tenant = u.tenant)
FROM users u ORDER BY 1, 2
"""
"""The merged records by plain SQL over the source: an amount that is no number counts as null."""

RECORDS = """SELECT _customer_id, id, account_id, name, purchase_count, total, first_item, account_name
FROM users ORDER BY 1, 2"""

REFUSE = """
CREATE TRIGGER IF NOT EXISTS refuse_new_user BEFORE INSERT ON users WHEN NEW.name = 'Bo'
  BEGIN SELECT RAISE(ABORT, 'no Bo'); END;
CREATE TRIGGER IF NOT EXISTS refuse_user BEFORE UPDATE OF name ON users
  WHEN NEW.name = 'Bo' AND OLD.name IS NOT 'Bo' BEGIN SELECT RAISE(ABORT, 'no Bo'); END;
CREATE TRIGGER IF NOT EXISTS refuse_new_purchase BEFORE INSERT ON _staged_purchases WHEN NEW.item = 'Bo'
  BEGIN SELECT RAISE(ABORT, 'no Bo'); END;
CREATE TRIGGER IF NOT EXISTS refuse_purchase BEFORE UPDATE OF item ON _staged_purchases
  WHEN NEW.item = 'Bo' AND OLD.item IS NOT 'Bo' BEGIN SELECT RAISE(ABORT, 'no Bo'); END;
"""
ALLOW = "".join(
    f"DROP TRIGGER IF EXISTS {name};"
    for name in ("refuse_new_user", "refuse_user", "refuse_new_purchase", "refuse_purchase")
)

PREPARED: dict[str, Any] = {
    "apps/app.json": {"name": "App", "type": "sqlite", "url": "sqlite:///${WORLD}/source.db"},
    "schemas/s.json": {"name": "S"},
    "visibility_groups/g.json": {"name": "G"},
    "data_sources/east.json": {
        "nickname": "East", "schema": "s", "default_for": ["g"],
        "type": "sqlite", "url": "sqlite:///${WORLD}/east.db",
    },
    "data_sources/west.json": {
        "nickname": "West", "schema": "s", "type": "sqlite", "url": "sqlite:///${WORLD}/west.db",
    },
    "customers/w.json": {"name": "W", "data_sources": {"s": "west"}},
    "customers/west.json": {"name": "Stays", "data_sources": {"s": "west"}},
    "models/users.json": {"name": "Users", "schema": "s"},
    "sources/users.json": {
        "name": "Users", "model": "users", "primary": True, "app": "app", "table": "users",
        "key": ["id"], "customer": {"column": "tenant"},
        "schedule": {"cursor": "updated_at", "clock": "database", "page_rows": 3},
        "properties": {
            "id": {"type": "integer", "column": "id"},
            "account_id": {"type": "integer", "column": "account_id"},
            "name": {"type": "string", "column": "name"},
        },
    },
    "sources/purchases.json": {
        "name": "Purchases", "model": "users", "app": "app", "table": "purchases", "key": ["id"],
        "mapping": {"buyer_id": "id"}, "customer": {"column": "tenant"},
        "schedule": {"cursor": "updated_at", "clock": "database", "page_rows": 3},
        "properties": {
            "purchase_count": {"type": "integer", "aggregation": "count", "column": "id"},
            "total": {"type": "integer", "aggregation": "sum", "column": "amount"},
            "first_item": {"type": "string", "column": "item"},
        },
    },
    "sources/accounts.json": {
        "name": "Accounts", "model": "users", "app": "app", "table": "accounts", "key": ["id"],
        "mapping": {"id": "account_id"}, "customer": {"column": "tenant"},
        "schedule": {"page_rows": 3},
        "properties": {"account_name": {"type": "string", "column": "name"}},
    },
}  # fmt: skip


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing may catch it."""


@dataclass
class Fuse:
    """Calls of steps to the world, counted; one of them may crash, or let another process in."""

    calls_left: int | None = None
    visitor: Callable[[], None] | None = None

    def tick(self) -> None:
        if self.calls_left is None:
            return
        self.calls_left -= 1
        if self.calls_left >= 0:
            return
        self.calls_left = None
        if self.visitor is None:
            raise Crash
        self.visitor()


class Fused:
    """A port whose every method ticks before and after."""

    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port, self._fuse = port, fuse

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            self._fuse.tick()
            result = method(*args, **kwargs)
            self._fuse.tick()
            return result

        return called


class FusedStores:
    """Stores whose merges tick at each call, before the commit, and after it."""

    def __init__(self, stores: Any, fuse: Fuse) -> None:
        self._stores, self._fuse = stores, fuse

    def open(self, data_source_id: DataSourceId) -> FusedStore:
        return FusedStore(self._stores.open(data_source_id), self._fuse)


class FusedStore:
    def __init__(self, store: Any, fuse: Fuse) -> None:
        self._store, self._fuse = store, fuse
        self.applied = store.applied
        self.created_page = store.created_page

    @contextmanager
    def merging(self, model: Any) -> Iterator[Any]:
        with self._store.merging(model) as transaction:
            yield None if transaction is None else Fused(transaction, self._fuse)
            self._fuse.tick()
        self._fuse.tick()


@dataclass
class Nudges:
    """What was nudged and not yet delivered: may be lost, doubled, reordered. Implements `Nudge`."""

    waiting: list[tuple[str, ...]] = field(default_factory=list)

    def poll(self, feed_id: FeedId) -> None:
        self.waiting.append(("poll", feed_id))

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None:
        self.waiting.append(("merge", data_source_id, model))

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None:
        self.waiting.append(("poll", feed_id))


class World:
    """One source, one control database, two stores, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = self._writer()
        self.control = self._connect_control()
        self.late: sqlite3.Connection | None = None
        self.nudges = Nudges()
        self.merges_soon = False
        self.fuse = Fuse()
        self.app = self._start()
        self.feeds = self._feeds("true")

    @staticmethod
    def prepare(directory: Path, environ: dict[str, str]) -> None:
        """Make an applied world without rows: histories begin with a copy of it."""
        import json

        for name, body in PREPARED.items():
            file = directory / "config" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(body))
        with sqlite3.connect(directory / "source.db") as source:
            source.executescript(SCHEMA)
        source.close()
        with wiring.build(_settings(directory), process="test") as app:
            report = app.apply(load(directory / "config", environ))
            assert not report.failed, report

    def _writer(self) -> sqlite3.Connection:
        return sqlite3.connect(self.directory / "source.db", isolation_level=None, timeout=0.1)

    def _connect_control(self) -> sqlite3.Connection:
        """Past the application: what no process of it does."""
        return sqlite3.connect(self.directory / "control.db", isolation_level=None)

    def _start(self) -> wiring.Application:
        app = wiring.build(_settings(self.directory), process="test")
        app.nudge = self.nudges
        app.merge_soon = self.merge_soon
        feeds, journal = Fused(app.feeds, self.fuse), Fused(app.journal, self.fuse)
        app._fetch = replace(app._fetch, feeds=feeds)
        merging = replace(app._merge.merging, journal=journal, stores=FusedStores(app.stores, self.fuse))
        app._merge = replace(app._merge, merging=merging)
        moves = Fused(app.moves, self.fuse)
        app._move = replace(app._move, moves=moves, stores=FusedStores(app.stores, self.fuse))
        return app

    def merge_soon(self, data_source_id: DataSourceId, model: ModelId) -> bool:
        """Implements `MergeSoon`, in the midst of the poll."""
        if not self.merges_soon:
            return False
        merged = False
        with suppress(HeadraceError):
            merged = self.app.merge_fresh(data_source_id, model)
        if not merged:
            self.nudges.merge(data_source_id, model)
        return True

    def restart(self) -> None:
        """The process is gone, as it was; another one starts later, when its leases have run out."""
        self.fuse.calls_left = self.fuse.visitor = None
        _end(self.app)
        self.expire_leases()
        self.app = self._start()

    def expire_leases(self) -> None:
        self.control.execute(
            "UPDATE feed SET lease_until = '2000-01-01T00:00:00.000Z' WHERE lease_id IS NOT NULL"
        )
        self.control.execute("UPDATE batch SET next_attempt_at = NULL WHERE next_attempt_at IS NOT NULL")

    def _feeds(self, which: str) -> list[FeedId]:
        rows = self.control.execute(f"SELECT id FROM feed WHERE {which} ORDER BY source_id")
        return [FeedId(id_) for (id_,) in rows]

    def pending(self) -> int:
        """Batches that are journalled and, as far as control knows, not merged."""
        (count,) = self.control.execute("SELECT count(*) FROM batch WHERE state = 'pending'").fetchone()
        return int(count)

    # --- what happens ---------------------------------------------------------------------------

    def write(self, statement: str, values: tuple[Any, ...]) -> None:
        """A change at the source, by the late transaction if one is open (SQLite has one writer)."""
        (self.late or self.source).execute(statement, values)

    def begin_late(self) -> None:
        if self.late is None:
            self.late = self._writer()
            self.late.execute("BEGIN IMMEDIATE")

    def commit_late(self) -> None:
        if self.late is not None:
            self.late.execute("COMMIT")
            self.late.close()
            self.late = None

    def crashing(self, calls: int | None, work: Callable[[], object]) -> bool:
        """Do the work; the process dies at the given call of it, if there are as many. True: it died."""
        self.fuse.calls_left = calls
        try:
            work()
        except Crash:
            return True
        finally:
            self.fuse.calls_left = None
        return False

    def taken_over(self, calls: int, feed_id: FeedId) -> None:
        """A poll of the feed sleeps past its lease at some call; another worker polls meanwhile."""

        def visit() -> None:
            self.expire_leases()
            other = wiring.build(_settings(self.directory), process="test")
            other.nudge = self.nudges
            try:
                other.poll(feed_id)
            finally:
                _end(other)

        self.fuse.visitor, self.fuse.calls_left = visit, calls
        try:
            self.app.poll(feed_id)
        except LeaseLostError:
            return
        finally:
            self.fuse.visitor = self.fuse.calls_left = None

    def deliver(self, nudge: tuple[str, ...]) -> None:
        if nudge[0] == "poll":
            self.app.poll(FeedId(nudge[1]))
        else:
            self.app.merge(DataSourceId(nudge[1]), ModelId(nudge[2]))

    def move(self, customer: str) -> None:
        """Somebody asks for the customer to live in the other data source, or that it stays."""
        known = "SELECT id FROM customer WHERE provided_id = ?"
        for (customer_id,) in self.control.execute(known, (customer,)).fetchall():
            live = [move.id for move in self.app.moves.list(customer_id=customer_id, live=True)]
            for move_id in live:
                self.app.moves.cancel(move_id, actor="test")
            if not live:
                to = DataSourceId("west" if self.home(customer) == "east" else "east")
                self.app.moves.start(customer_id, "s", to, actor="test")

    def home(self, customer: str) -> str | None:
        """Where control says that the customer lives."""
        routing = self.app.routes.resolve(
            schema="s", visibility_group="g", customers=[customer], create_unknown=False
        )
        return routing.data_sources.get(customer)

    def cut(self, feed_id: FeedId, data_source_id: DataSourceId) -> bool:
        """The data source has taken no batches for long, and what waits there is too much."""
        for column in ("journalled_at", "merged_at"):
            self.control.execute(
                f"UPDATE batch SET {column} = '2000-01-01T00:00:00.000Z' WHERE feed_id = ? AND {column} > ''",
                (feed_id,),
            )
        claimed = self.app.feeds.claim(feed_id, lease_s=60)
        assert claimed is not None
        cut = self.app.feeds.cut_stalled(claimed.lease, {data_source_id})
        outcome = PollOutcome(run_id=RunId("cut"), succeeded=True, complete=False)
        self.app.feeds.release(claimed.lease, outcome)
        return bool(cut)

    def in_east(self, statements: str) -> None:
        """What its owner does to the data source."""
        with closing(sqlite3.connect(self.directory / "east.db", isolation_level=None)) as east:
            east.executescript(statements)

    def back_up(self, name: str) -> None:
        _copy(self.directory / f"{name}.db", self.directory / f"{name}.backup")

    def restore(self, name: str) -> None:
        """The database is as it was when it was backed up last; every process was stopped."""
        backup = self.directory / f"{name}.backup"
        if backup.exists():
            self.app.close()
            self.control.close()
            _copy(backup, self.directory / f"{name}.db")
            self.control = self._connect_control()
            self.restart()

    # --- how it ends ----------------------------------------------------------------------------

    def quiesce(self) -> None:
        """Nothing crashes any more: all that is asked for is done, and each feed is reconciled once."""
        self.commit_late()
        self.restart()
        for source_id in ("users", "purchases", "accounts"):
            self.app.commands.request_reconcile(source_id, full=False, confirm=False)
        self.settle()
        self.was_refused = bool(self.refused())
        if self.was_refused:
            self.check_refused()
            self.in_east(ALLOW)
            self.app.runs.replay()
            self.settle()
            assert not self.refused()

    def refused(self) -> list[tuple[str, str, int]]:
        """Source, code and key of open rejected rows."""
        rows = self.app.runs.rejected(limit=100)
        return [(row.source_id, row.code, int(str(row.key[0]))) for row in rows]

    def check_refused(self) -> None:
        """Nothing but refused rows is rejected, and only records that they feed differ from the oracle; a
        row that each of several workers died at, by chance, may be among them."""
        refused, found = self.refused(), {"users": "name", "purchases": "item"}
        if self.app.moves.under_way() or any(code == "killed" for _, code, _ in refused):
            return
        concerned = set()
        for source, _, key in refused:
            now = self.source.execute(f"SELECT {found[source]} FROM {source} WHERE id = ?", (key,)).fetchall()
            assert now in ([], [("Bo",)]), refused
            concerned |= {key} if source == "users" else self._buyers(key)
        lost, ghosts = self.difference()
        assert {row[1] for row in (*lost, *ghosts)} <= concerned, (refused, lost, ghosts)

    def _buyers(self, purchase: int) -> set[int]:
        """Whose record a purchase feeds, at the source and as it was merged last."""
        of = "SELECT buyer_id FROM {} WHERE id = ?"
        buyers = set(self.source.execute(of.format("purchases"), (purchase,)).fetchall())
        with closing(sqlite3.connect(self.directory / "east.db")) as east:
            buyers |= set(east.execute(of.format("_staged_purchases"), (purchase,)).fetchall())
        return {buyer for (buyer,) in buyers}

    def settle(self) -> None:
        self.app.recognise_restored()
        asked = self.feeds
        for _ in range(30):
            self.app.sweep()
            reports = [self.app.poll(feed_id) for feed_id in asked]
            assert [report.error for report in reports if report.error is not None] == []
            for target in self.app.targets():
                self.app.merge(*target)
            self.control.execute("UPDATE batch SET next_attempt_at = NULL WHERE next_attempt_at IS NOT NULL")
            yielded = [report.feed_id for report in reports if not report.complete]
            asked = list(dict.fromkeys((*self._feeds("again"), *yielded)))
            # A move waits for rows that its data source refuses.
            ended = not self.app.moves.under_way() or self.refused()
            if not self.pending() and not asked and ended:
                return
        raise AssertionError(
            f"the world does not come to rest: {self.pending()} batches wait, feeds {asked} are asked again, "
            f"moves {self.app.moves.under_way()}"
        )

    def difference(self) -> tuple[list[Any], list[Any]]:
        """Records that the oracle has and the stores lack, and the other way round."""
        expected = self.source.execute(ORACLE).fetchall()
        found = []
        for name in ("east", "west"):
            store = sqlite3.connect(self.directory / f"{name}.db")
            rows = store.execute(RECORDS).fetchall()
            store.close()
            assert all(self.home(row[0]) == name for row in rows), (name, rows)
            found += rows
        # An empty sum is 0, by the definition of the aggregation.
        expected = [(*row[:5], row[5] or 0, *row[6:]) for row in expected]
        return (
            [r for r in expected if r not in found],
            [r for r in found if r not in expected],
        )

    def close(self) -> None:
        if self.late is not None:
            self.late.close()
        self.source.close()
        self.control.close()
        self.app.close()


def _end(app: wiring.Application) -> None:
    """The process is gone, with its sessions on sources and stores and all that it knew; the engine of
    control serves the next one, and no transaction is open on it."""
    app.readers.close()
    app.stores.close()


def _settings(directory: Path) -> Settings:
    urls = {"control_url": f"sqlite:///{directory}/control.db", "config_dir": directory / "config"}
    return _environment().model_copy(update=urls)


@cache
def _environment() -> Settings:
    return Settings()  # reading it costs as much as a poll


def _copy(origin: Path, target: Path) -> None:
    """As a backup tool does: whole and consistent."""
    for suffix in ("", "-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    source, copy = sqlite3.connect(origin), sqlite3.connect(target)
    with copy:
        source.backup(copy)
    source.close()
    copy.close()


def copy_world(origin: Path, target: Path) -> None:
    shutil.copytree(origin, target)
