"""The application that writes to the shop while everything fails: it reconnects and goes on."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import errors

from tests.faults import shop
from tests.faults.changes import Changes

RECONNECT_S: Final = 0.2
QUICK_PAUSE_S: Final = (0.01, 0.08)
IDLE_S: Final = (0.1, 1.0)
"""Between two long transactions of one writer."""
END_S: Final = 60.0

# What a window, a lock time-out, a deadlock or a renamed column refuse: the application tries something else.
REFUSED: Final = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.UndefinedColumn,
    errors.UniqueViolation,
    errors.InFailedSqlTransaction,
    errors.FeatureNotSupported,
)


@dataclass(slots=True)
class Writers:
    """Threads that change the shop until they are stopped.

    Attributes:
        longest_s: of a transaction.
        done: what was committed, by kind; `refused`: what the source did not take.
    """

    url: str
    seed: int
    longest_s: float
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _windows: dict[str, threading.Event] = field(
        default_factory=lambda: {table: threading.Event() for table in shop.SOURCES}
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _errors: list[BaseException] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """They write inside; afterwards every transaction has ended, the prepared ones too."""
        kinds: list[Callable[[Changes, random.Random], None]] = [
            self._quick, self._quick, self._quick, self._long, self._long, self._long_purchases,
            self._prepared, self._prepared, self._ties,
        ]  # fmt: skip
        threads = [
            threading.Thread(target=self._write, args=(number, kind), name=f"writer-{number}")
            for number, kind in enumerate(kinds)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop()
            for thread in threads:
                thread.join(END_S)
        assert not any(thread.is_alive() for thread in threads), "a writer hangs"
        self._end_prepared("")
        if self._errors:
            raise self._errors[0]

    def stop(self) -> None:
        """Nothing new is begun; long transactions commit now."""
        self._stopping.set()
        for window in self._windows.values():
            window.set()

    @contextmanager
    def window(self, table: str) -> Iterator[None]:
        """Long transactions on the table commit and no new one begins: time for an ALTER."""
        self._windows[table].set()
        try:
            yield
        finally:
            if not self._stopping.is_set():
                self._windows[table].clear()

    # --- a writer -------------------------------------------------------------------------------

    def _write(self, number: int, kind: Callable[[Changes, random.Random], None]) -> None:
        chance = random.Random(f"{self.seed} {number}")
        while not self._stopping.is_set():
            # The source is away now and then; what was open is rolled back, what was prepared is not.
            with suppress(psycopg.OperationalError, psycopg.InterfaceError):
                self._end_prepared(f"w{number}-")
                with psycopg.connect(
                    self.url, autocommit=True, connect_timeout=5, options="-c lock_timeout=500ms"
                ) as connection:
                    self._go_on(number, kind, Changes(connection, chance), chance)
                return
            self._count(self.refused, "source away")
            self._stopping.wait(RECONNECT_S)

    def _go_on(
        self,
        number: int,
        kind: Callable[[Changes, random.Random], None],
        changes: Changes,
        chance: random.Random,
    ) -> None:
        changes.name = f"w{number}-"
        while not self._stopping.is_set():
            try:
                kind(changes, chance)
            except REFUSED as error:
                self._count(self.refused, type(error).__name__)
                changes.roll_back()
                self._stopping.wait(0.05)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                raise
            except BaseException as error:  # noqa: BLE001 - raised again by running()
                self._errors.append(error)
                self._stopping.set()

    def _quick(self, changes: Changes, chance: random.Random) -> None:
        self._count(self.done, changes.one())
        self._stopping.wait(chance.uniform(*QUICK_PAUSE_S))

    def _long(self, changes: Changes, chance: random.Random) -> None:
        self._late(changes, chance, table="users", open_s=(2.0, self.longest_s))

    def _long_purchases(self, changes: Changes, chance: random.Random) -> None:
        self._late(changes, chance, table="purchases", open_s=(0.5, min(8.0, self.longest_s)))

    def _late(
        self, changes: Changes, chance: random.Random, *, table: str, open_s: tuple[float, float]
    ) -> None:
        """A transaction that writes early, or late under its early start, and commits late."""
        if not self._idle(chance, table):
            return
        changes.begin()
        early = chance.random() < 0.5
        if early:
            changes.some(table)
        self._windows[table].wait(chance.uniform(*open_s))
        if not early:
            changes.some(table)
        changes.commit()
        self._count(self.done, f"long transaction on {table}")

    def _prepared(self, changes: Changes, chance: random.Random) -> None:
        table = chance.choice(shop.KEYED)
        if not self._idle(chance, table):
            return
        gid = f"{changes.name}{chance.getrandbits(48):x}"
        changes.begin()
        changes.some(table)
        changes.prepare(gid)
        self._windows[table].wait(chance.uniform(0.2, min(10.0, self.longest_s)))
        changes.commit_prepared(gid)
        self._count(self.done, "prepared transaction")

    def _ties(self, changes: Changes, chance: random.Random) -> None:
        if not self._idle(chance, "purchases"):
            return
        changes.begin()
        changes.many_purchases(chance.randint(50, 300))
        self._windows["purchases"].wait(chance.uniform(0.0, 1.0))
        changes.commit()
        self._count(self.done, "many rows with one timestamp")
        self._stopping.wait(chance.uniform(0.5, 2.0))

    def _idle(self, chance: random.Random, table: str) -> bool:
        """Wait a while; whether a long transaction may begin on the table then."""
        self._stopping.wait(chance.uniform(*IDLE_S))
        return not self._windows[table].is_set()

    def _end_prepared(self, prefix: str) -> None:
        """Prepared transactions of this name that a lost connection left are committed."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            left = connection.execute(
                "SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, %s)", (prefix,)
            ).fetchall()
            for (gid,) in left:
                connection.execute(f"COMMIT PREPARED '{gid}'".encode())
                self._count(self.done, "prepared transaction that outlived its session")

    def _count(self, counter: Counter[str], what: str) -> None:
        with self._lock:
            counter[what] += 1

    def summary(self) -> dict[str, Any]:
        return {"committed": dict(sorted(self.done.items())), "refused": dict(sorted(self.refused.items()))}
