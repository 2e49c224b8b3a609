"""The live changes of the demo: what an application does, and which records must follow."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.cli.demo_stage import Stage
from headrace.errors import HeadraceError
from headrace.wiring import Application
from workers.sync import SyncReport, run_sync

APP: Final = Path("sources/app.db")
SHOP: Final = Path("sources/shop.db")
ADA: Final = 12
_BUYER: Final = 42
_LEAVER: Final = 72
_RENAMED: Final = 5
_LATE: Final = 4001


@dataclass(frozen=True, slots=True)
class Scene:
    """One live change.

    Attributes:
        play: changes rows, lets Headrace follow, and returns the seconds that this took.
        touches: model and key of the records that must change by it; no other may.
    """

    title: str
    play: Callable[[Stage, Application], float]
    touches: Callable[[], set[tuple[str, int]]]


def scenes() -> tuple[Scene, ...]:
    """The changes in the order in which they are played."""
    return (
        Scene("A user changes her address", _update, lambda: {("users", ADA)}),
        Scene("A purchase whose transaction commits late", _late_commit, lambda: {("users", ADA)}),
        Scene("An account is renamed: every user of it follows", _rename, _of_the_renamed),
        Scene(
            "A purchase turns out to be somebody else's", _move, lambda: {("users", ADA), ("users", _BUYER)}
        ),
        Scene("A user is deleted", _delete, lambda: {("users", _LEAVER), ("accounts", ADA)}),
    )


def synced(app: Application) -> SyncReport:
    """Everything that can be seen now is merged; an error if anything failed."""
    report = run_sync(app)
    if report.failed:
        errors = [feed.error for feed in report.feeds if feed.error]
        errors += [error for merge in report.merges.values() for error in merge.errors]
        raise HeadraceError("; ".join(errors))
    return report


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of the application that owns the database; each statement commits."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield database


def _update(stage: Stage, app: Application) -> float:
    _run(stage, "app", APP, f"UPDATE users SET email = 'ada@analytical.example' WHERE id = {ADA}")
    return _follow(stage, app, "reads what changed, merges it")


def _late_commit(stage: Stage, app: Application) -> float:
    values = f"({_LATE}, 'acme', {ADA}, 'Samovar', '249.00')"
    with connected(SHOP) as shop:
        shop.execute("BEGIN IMMEDIATE")
        shop.execute(f"INSERT INTO purchases (id, tenant, buyer_id, item, amount) VALUES {values}")
        stamp = shop.execute("SELECT updated_at FROM purchases WHERE id = ?", (_LATE,)).fetchone()[0]
        stage.said("till", f"BEGIN; INSERT INTO purchases … VALUES {values}")
        stage.note(f"its updated_at is {stamp[11:]}")
        stage.wait()
        polled = shop.execute("SELECT strftime('%H:%M:%f', 'now')").fetchone()[0]
        synced(app)
        stage.said("headrace", f"polls at {polled}: nothing to see yet")
        stage.wait()
        shop.execute("COMMIT")
    stage.said("till", "COMMIT")
    stage.note("the row is now older than the last poll; who asks for rows since then loses it")
    stage.wait()
    return _follow(stage, app, "goes on after the last row it read, not after a time on a clock")


def _rename(stage: Stage, app: Application) -> float:
    _run(stage, "app", APP, f"UPDATE accounts SET name = 'Initech Aerospace' WHERE id = {_RENAMED}")
    return _follow(stage, app, "reads one row, and finds whom it concerns")


def _of_the_renamed() -> set[tuple[str, int]]:
    with connected(APP) as database:
        users = database.execute("SELECT id FROM users WHERE account_id = ?", (_RENAMED,)).fetchall()
    return {("accounts", _RENAMED)} | {("users", id_) for (id_,) in users}


def _move(stage: Stage, app: Application) -> float:
    _run(stage, "shop", SHOP, f"UPDATE purchases SET buyer_id = {_BUYER} WHERE id = {_LATE}")
    return _follow(stage, app, "recomputes both: who had it, and who has it now")


def _delete(stage: Stage, app: Application) -> float:
    _run(stage, "app", APP, f"DELETE FROM users WHERE id = {_LEAVER}")
    synced(app)
    stage.said("headrace", "polls: a row that is gone has no updated_at to be found by")
    stage.wait()
    for source_id in ("users", "account_users"):
        app.commands.request_reconcile(source_id, full=False, confirm=False)
    return _follow(stage, app, "reconciles: compares the source's keys with its own")


def _run(stage: Stage, who: str, path: Path, statement: str) -> None:
    with connected(path) as database:
        database.execute(statement)
    stage.said(who, statement)
    stage.wait()


def _follow(stage: Stage, app: Application, what: str) -> float:
    started = time.monotonic()
    synced(app)
    took_s = time.monotonic() - started
    stage.said("headrace", what)
    return took_s
