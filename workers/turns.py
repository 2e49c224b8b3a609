"""Turns at the threads of a worker: nobody's backlog takes all of them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

PATIENCE_S: Final = 0.1
"""So long a thread waits for a turn to end. Most polls and merges take less."""

Work = TypeVar("Work", bound=Hashable)


class Turns(Generic[Work]):
    """At most so many turns at a time for each owner (an app, a data source); a worker has a thread more,
    which is then free for others. Thread-safe.

    Work that finds all turns of its owner taken waits a moment, unless these take long; then it is put off,
    and the thread goes on with what others want. When a turn ends, what was put off is asked for again,
    at the end of the queue. What was put off longer ago than `keep_s` is left to the scheduler, which has
    asked for it again itself by then.

    Args:
        most: turns of one owner at a time.
        again: asks for work that was put off.
        put_off: is told of each time.
    """

    def __init__(
        self,
        most: int,
        *,
        again: Callable[[Work], None],
        keep_s: float,
        put_off: Callable[[], None] = lambda: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._most = most
        self._again = again
        self._keep_s = keep_s
        self._told = put_off
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._begun: dict[str, list[float]] = defaultdict(list)
        self._put_off: dict[str, dict[Work, float]] = defaultdict(dict)

    def take(self, owner: str, work: Work, do: Callable[[], object]) -> None:
        """`do` is done, or the work is put off."""
        begun = self._begin(owner, work)
        if begun is None:
            self._told()
            return
        try:
            do()
        finally:
            for each in self._end(owner, begun):
                self._again(each)

    def _begin(self, owner: str, work: Work) -> float | None:
        """When the turn began; None: there is none, and the work is put off."""
        with self._changed:
            entered = time.monotonic()
            while len(begun := self._begun[owner]) >= self._most:
                now = time.monotonic()
                patient_until = min(entered, max(begun)) + self._patience_s
                if now >= patient_until:
                    self._put_off[owner].setdefault(work, now)
                    return None
                self._changed.wait(patient_until - now)
            now = time.monotonic()
            begun.append(now)
            self._put_off[owner].pop(work, None)
            return now

    def _end(self, owner: str, begun: float) -> list[Work]:
        """The turn has ended; gives what there are turns for now, of what was put off."""
        with self._changed:
            self._begun[owner].remove(begun)
            free = self._most - len(self._begun[owner])
            known_to_scheduler = time.monotonic() - self._keep_s
            waiting = [work for work, at in self._put_off[owner].items() if at > known_to_scheduler]
            self._put_off[owner] = {work: self._put_off[owner][work] for work in waiting[free:]}
            if not self._begun[owner]:
                del self._begun[owner]
            if not self._put_off[owner]:
                del self._put_off[owner]
            self._changed.notify_all()
            return waiting[:free]
