"""A small pool: whoever takes a connection has it alone."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class ConnectionPool(Generic[C]):
    """Opens connections on demand and keeps a few idle ones. Safe between threads.

    A connection that an error passed through is closed, and the idle ones with it: after a server's
    restart all of them are dead.
    """

    def __init__(self, connect: Callable[[], C], *, keep: int = 4) -> None:
        self._connect = connect
        self._keep = keep
        self._idle: deque[C] = deque()
        self._lock = threading.Lock()
        self.in_use = 0
        """Connections that somebody has now."""

    @contextmanager
    def connection(self) -> Iterator[C]:
        connection = self.take()
        try:
            yield connection
        except BaseException:
            self.discard(connection)
            raise
        self.give_back(connection)

    def take(self) -> C:
        """A connection that is the caller's alone, until it gives it back or discards it."""
        with self._lock:
            self.in_use += 1
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return self._connect()
        except BaseException:
            with self._lock:
                self.in_use -= 1
            raise

    def give_back(self, connection: C) -> None:
        """Somebody else may have it, unless enough are idle or the pool is closed."""
        with self._lock:
            self.in_use -= 1
            kept = len(self._idle) < self._keep
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()

    def discard(self, connection: C) -> None:
        """The connection failed: it is closed, and the idle ones with it."""
        with self._lock:
            self.in_use -= 1
        connection.close()
        self._close_idle()

    def close(self) -> None:
        """No connection is kept any more: those in use are closed when they are given back."""
        with self._lock:
            self._keep = 0
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return
