"""The small world of the histories, for single interleavings: real SQLite source, control and stores."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.vocabulary import FeedId
from headrace.steps.fetch import PollReport
from tests.properties.history import PREPARED, Crash, World, copy_world

USERS, PURCHASES, ACCOUNTS = "users", "purchases", "accounts"


def prepared(directory: Path, changes: dict[str, dict[str, Any]] | None = None) -> Path:
    """An applied world without rows of its own, its definitions changed by file and key."""
    directory.mkdir()
    changed = {name: {**PREPARED[name], **body} for name, body in (changes or {}).items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD", str(directory))
        for name, body in changed.items():
            patch.setitem(PREPARED, name, body)
        World.prepare(directory, dict(os.environ))
    return directory


@contextmanager
def world_of(template: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    monkeypatch.setenv("WORLD", str(directory))
    copy_world(template, directory)
    world = Seen(directory)
    try:
        yield world
    finally:
        world.close()


class Seen(World):
    """A world that answers what tests ask."""

    def feed(self, source_id: str) -> FeedId:
        return next(f.feed_id for f in self.app.status.feed_status() if f.source_id == source_id)

    def active_feeds(self) -> list[FeedId]:
        return [f.feed_id for f in self.app.status.feed_status()]

    def poll(self, source_id: str) -> PollReport:
        """Reads even a source that has not changed (tests/integration/test_steps_rest.py proves that it need
        not): what the tests are about is what reading finds."""
        self.app._fetch.rests.clear()
        report = self.app.poll(self.feed(source_id))
        assert report.error is None, report
        return report

    def watch(self, told: Callable[[str, tuple[Any, ...]], object]) -> None:
        """`told` is called right after each call of a poll to `Feeds`, with its name and arguments."""
        feeds = self.app.feeds

        class Watched:
            def __getattr__(self, name: str) -> Any:
                def called(*args: Any, **kwargs: Any) -> Any:
                    result = getattr(feeds, name)(*args, **kwargs)
                    told(name, args)
                    return result

                return called

        self.app._fetch = replace(self.app._fetch, feeds=Watched())  # type: ignore[arg-type]

    def poll_dying(self, source_id: str, at: Callable[[str, tuple[Any, ...]], bool]) -> None:
        """The process dies right after the first call of `Feeds` for which `at` is true."""

        def told(name: str, args: tuple[Any, ...]) -> None:
            if at(name, args):
                raise Crash

        self.watch(told)
        with pytest.raises(Crash):
            self.app.poll(self.feed(source_id))
        self.restart()

    def merge(self) -> None:
        for target in self.app.targets():
            self.app.merge(*target)

    def reconcile(self, source_id: str, *, full: bool = False) -> PollReport:
        self.app.commands.request_reconcile(source_id, full=full, confirm=False)
        return self.poll(source_id)

    def asked(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the control database answers."""
        with closing(sqlite3.connect(self.directory / "control.db")) as control:
            return control.execute(query, values).fetchall()

    def batches(self, source_id: str, kind: str | None = None) -> int:
        """Batches of a feed that are in the journal, merged ones too."""
        query = "SELECT count(*) FROM batch WHERE feed_id = ? AND kind = coalesce(?, kind)"
        return int(self.asked(query, self.feed(source_id), kind)[0][0])

    def user_names(self) -> dict[tuple[str, int], str | None]:
        names: dict[tuple[str, int], str | None] = {}
        for name in ("east", "west"):
            with closing(sqlite3.connect(self.directory / f"{name}.db")) as store:
                rows = store.execute("SELECT _customer_id, id, name FROM users WHERE id < 100").fetchall()
            names |= {(customer, id_): text for customer, id_, text in rows}
        return names

    def user(self, id_: int, name: str | None, at: str | None, tenant: str = "e") -> None:
        self.write("INSERT OR REPLACE INTO users VALUES (?, ?, NULL, ?, ?)", (id_, tenant, name, at))

    def account(self, id_: int, name: str, tenant: str = "e") -> None:
        self.write("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", (id_, name, tenant))
