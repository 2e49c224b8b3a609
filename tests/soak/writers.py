"""The application that writes to the clubs: it reconnects when its database was away, and goes on."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from tests.soak import club
from tests.soak.asking import Asking
from tests.soak.lag import BEAT_EVERY_S, Lag, beat

Connection = psycopg.Connection[Any]
RECONNECT_S: Final = 0.2
PAUSE_S: Final = (0.2, 0.6)
READ_EVERY_S: Final = 1.0
LATE_S: Final = (0.5, 4.0)
"""How long a transaction stays open."""

CHANGES: Final = {
    "add member": "INSERT INTO member_{club} (id, tenant, name, score)"
    " SELECT nextval('member_{club}_ids'), %(tenant)s, %(text)s, %(number)s",
    "change member": "UPDATE member_{club} SET name = %(text)s, score = %(number)s,"
    " updated_at = clock_timestamp() WHERE id = %(member)s",
    "delete member": "DELETE FROM member_{club} WHERE id = %(member)s",
    "add visit": "INSERT INTO visit_{club} (id, tenant, member_id, amount)"
    " SELECT nextval('visit_{club}_ids'), %(tenant)s, %(member)s, %(number)s / 4.0",
    "change visit": "UPDATE visit_{club} SET amount = %(number)s / 8.0, updated_at = clock_timestamp()"
    " WHERE id = %(visit)s",
    "move visit": "UPDATE visit_{club} SET member_id = %(member)s, updated_at = clock_timestamp()"
    " WHERE id = %(visit)s",
    "delete visit": "DELETE FROM visit_{club} WHERE id = %(visit)s",
}
WEIGHTS: Final = (3, 8, 1, 8, 6, 3, 3)


@dataclass(slots=True)
class Writers:
    """Threads that write, ask and read until they are left.

    Attributes:
        asking: makes who asks for a thread.
        now_s: the time of the samples.
        done: changes that were made, by kind.
        deleted: keys of rows that were deleted, by table.
    """

    url: str
    seed: int
    lag: Lag
    asking: Callable[[], Asking]
    now_s: Callable[[], float]
    done: Counter[str] = field(default_factory=Counter)
    deleted: dict[str, set[int]] = field(default_factory=lambda: {table: set() for table in club.TABLES})
    asked: list[Asking] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _errors: list[BaseException] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """They write inside; afterwards all that they began is committed or rolled back."""
        works = (self._beat, self._change, self._change, self._commit_late, self._read)
        threads = [
            threading.Thread(target=self._go_on, args=(work, number), name=f"writer-{number}")
            for number, work in enumerate(works)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _go_on(self, work: Callable[[Connection, Asking, random.Random], None], number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        asking = self.asking()
        self.asked.append(asking)
        try:
            while not self._stopping.is_set():
                with (
                    suppress(psycopg.OperationalError),  # the source is away now and then
                    psycopg.connect(self.url, autocommit=True) as connection,
                ):
                    work(connection, asking, chance)
                self._stopping.wait(RECONNECT_S)
        except BaseException as error:  # noqa: BLE001 - raised again by running()
            self._errors.append(error)
            self._stopping.set()
        finally:
            asking.close()

    def _beat(self, connection: Connection, asking: Asking, chance: random.Random) -> None:
        """The probes of all feeds, one after the other."""
        for table in itertools.cycle(club.TABLES):
            number = time.time_ns() // 1_000_000
            beat(connection, table, number)
            self.lag.committed(table, number, self.now_s())
            self._ask(table, asking)
            if self._stopping.wait(BEAT_EVERY_S / len(club.TABLES)):
                return

    def _change(self, connection: Connection, asking: Asking, chance: random.Random) -> None:
        while not self._stopping.wait(chance.uniform(*PAUSE_S)):
            self._one(connection, asking, chance)

    def _one(self, connection: Connection, asking: Asking, chance: random.Random) -> None:
        (kind,) = chance.choices(list(CHANGES), WEIGHTS)
        name = chance.choice(club.CLUBS)
        values = _dice(chance)
        connection.execute(CHANGES[kind].format(club=name).encode(), values)
        verb, table = kind.split()
        gone = values[table] if verb == "delete" else None
        with self._lock:
            self.done[kind] += 1
            if gone is not None:
                self.deleted[f"{table}_{name}"].add(gone)
        self._ask(f"{table}_{name}", asking, None if gone is None else [[gone]])

    def _commit_late(self, connection: Connection, asking: Asking, chance: random.Random) -> None:
        while not self._stopping.wait(chance.uniform(*LATE_S)):
            with connection.transaction():
                self._one(connection, asking, chance)
                self._stopping.wait(chance.uniform(*LATE_S))
            with self._lock:
                self.done["committed late"] += 1

    def _read(self, connection: Connection, asking: Asking, chance: random.Random) -> None:
        while not self._stopping.wait(READ_EVERY_S):
            asking.read(f"club_{chance.choice(club.CLUBS)}", chance.choice(list(club.HOMES)))

    def _ask(self, table: str, asking: Asking, keys: list[list[int]] | None = None) -> None:
        """A feed that is read when asked is asked for: members by message, visits over HTTP."""
        if table.rpartition("_")[2] not in club.ASKED:
            return
        body = {} if keys is None else {"keys": keys}
        if table.startswith("member"):
            asking.publish({"source": table, **body})
        else:
            asking.post(table, body or None)


def _dice(chance: random.Random) -> dict[str, Any]:
    """Values for any change; rows that the lag is measured by are left alone."""
    number = chance.randrange(1_000)
    later = chance.random() < 0.3
    return {
        "tenant": chance.choice(list(club.HOMES)),
        "text": f"name {number}",
        "number": number,
        "member": 1_000 + chance.randrange(100) if later else chance.randint(3, club.FIRST_MEMBERS),
        "visit": 1_000 + chance.randrange(300) if later else chance.randint(3, club.FIRST_VISITS),
    }
