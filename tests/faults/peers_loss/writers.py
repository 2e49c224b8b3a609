"""An application that writes as applications do: transactions that commit late, prepared ones, ties."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from tests.faults.peers_loss.database import Session, Source

WRITERS: Final = 8
OPEN_S: Final = (0.05, 3.0)
"""How long a transaction stays open between its start or write and its commit."""
HOT_ROWS: Final = 20
"""Rows that every writer updates, shortly: newer versions of them may carry older cursors."""
KINDS: Final = {"quick": 10, "early": 4, "late": 4, "prepared": 3, "ties": 2}
"""How often, each: at once; a transaction that begins early and writes late; one that writes early and
commits late; one in two phases; many rows with one cursor."""


@dataclass(slots=True)
class Load:
    """What was written.

    Attributes:
        transactions: by kind.
    """

    source: Source
    seed: int
    transactions: dict[str, int] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: count(HOT_ROWS))
    _versions: Iterator[int] = field(default_factory=lambda: count(1))
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Writers write inside; afterwards all that they began is committed."""
        with self.source.connected() as session:
            for id_ in range(HOT_ROWS):
                self._insert(session, id_)
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="writer") as pool:
            writing = [pool.submit(self._write, number) for number in range(WRITERS)]
            try:
                yield
            finally:
                self._stopping.set()
            counts = [written.result() for written in writing]
        self.transactions = {kind: sum(c.get(kind, 0) for c in counts) for kind in KINDS}

    def _write(self, number: int) -> dict[str, int]:
        chance, own = random.Random(f"{self.seed} {number}"), list[int]()
        done: dict[str, int] = {}
        with self.source.connected() as session:
            while not self._stopping.is_set():
                (kind,) = chance.choices(list(KINDS), KINDS.values())
                getattr(self, f"_{kind}")(session, chance, own)
                done[kind] = done.get(kind, 0) + 1
                self._stopping.wait(chance.uniform(0.0, 0.1))
        return done

    def _quick(self, session: Session, chance: random.Random, own: list[int]) -> None:
        if chance.random() < 0.3:
            self._update(session, chance.randrange(HOT_ROWS))
        else:
            self._some(session, chance, own)

    def _early(self, session: Session, chance: random.Random, own: list[int]) -> None:
        session.begin()
        session.rows(f"SELECT {session.now}")
        self._pause(chance)
        self._some(session, chance, own)
        self._update(session, chance.randrange(HOT_ROWS))
        session.commit()

    def _late(self, session: Session, chance: random.Random, own: list[int]) -> None:
        session.begin()
        self._some(session, chance, own)
        self._pause(chance)
        session.commit()

    def _prepared(self, session: Session, chance: random.Random, own: list[int]) -> None:
        name = f"w{chance.getrandbits(64):x}"
        session.begin_two_phase(name)
        self._some(session, chance, own)
        session.prepare(name)
        self._pause(chance)
        session.commit_prepared(name)

    def _ties(self, session: Session, chance: random.Random, own: list[int]) -> None:
        session.begin()
        ids = [next(self._ids) for _ in range(chance.randint(20, 60))]
        rows = ", ".join(f"({id_}, {next(self._versions)})" for id_ in ids)
        session.run(f"INSERT INTO items (id, version) VALUES {rows}")
        self._pause(chance)
        session.commit()
        own += ids

    def _some(self, session: Session, chance: random.Random, own: list[int]) -> None:
        """A few rows that no other writer touches."""
        for _ in range(chance.randint(1, 3)):
            if own and chance.random() < 0.4:
                self._update(session, chance.choice(own))
            else:
                own.append(next(self._ids))
                self._insert(session, own[-1])

    def _insert(self, session: Session, id_: int) -> None:
        session.run("INSERT INTO items (id, version) VALUES (%s, %s)", id_, next(self._versions))

    def _update(self, session: Session, id_: int) -> None:
        change = f"UPDATE items SET version = %s, updated_at = {session.now} WHERE id = %s"
        session.run(change, next(self._versions), id_)

    def _pause(self, chance: random.Random) -> None:
        """The transaction stays open; not longer than the writers are asked to go on."""
        self._stopping.wait(chance.uniform(*OPEN_S))
