"""A small pool: whoever takes a connection has it alone."""

from __future__ import annotations

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

    @contextmanager
    def connection(self) -> Iterator[C]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            self.close()
            raise
        if len(self._idle) < self._keep:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use close or return by themselves."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return
