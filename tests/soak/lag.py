"""How far each feed is behind, seen from outside: when a row was changed, and when its record shows it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from tests.soak import club

BEAT_EVERY_S: Final = 5.0
"""One row of each feed changes so often."""


@dataclass(slots=True)
class Lag:
    """Beats that were committed at the source, by feed, until they are seen. Safe between threads."""

    _unseen: dict[str, deque[tuple[int, float]]] = field(
        default_factory=lambda: {table: deque() for table in club.TABLES}
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def committed(self, table: str, beat: int, at_s: float) -> None:
        with self._lock:
            self._unseen[table].append((beat, at_s))

    def seen(self, beats: Mapping[str, int]) -> None:
        """The latest beat that the records show, by feed."""
        with self._lock:
            for table, latest in beats.items():
                unseen = self._unseen[table]
                while unseen and unseen[0][0] <= latest:
                    unseen.popleft()

    def ages(self, now_s: float) -> dict[str, float]:
        """The age of the oldest change that is not seen yet, by feed; 0 where all is."""
        with self._lock:
            return {
                table: max(0.0, now_s - unseen[0][1]) if unseen else 0.0
                for table, unseen in self._unseen.items()
            }


def beat(connection: psycopg.Connection[Any], table: str, number: int) -> None:
    """The probe of the feed changes."""
    name = table.rpartition("_")[2]
    connection.execute(
        f"UPDATE {table} SET beat = %s, updated_at = clock_timestamp() WHERE id = %s".encode(),
        (number, club.probe(name)),
    )


def shown(connection: psycopg.Connection[Any], data_source: str) -> dict[str, int]:
    """The latest beat that the records of this data source show, by feed."""
    rows = connection.execute(_SHOWN[data_source].encode()).fetchall()
    found = {}
    for name, member, visit in rows:
        found[f"member_{name}"], found[f"visit_{name}"] = member or 0, visit or 0
    return found


_SHOWN: Final = {
    home: " UNION ALL ".join(
        f"SELECT '{name}', beat, visit_beat FROM headrace.club_{name} WHERE id = {club.probe(name)}"
        for name in club.CLUBS
        if club.home(name) == home
    )
    for home in club.HOMES.values()
}
