"""Keep leases alive while steps wait for slow sources."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from headrace import logs
from headrace.errors import HeadraceError
from headrace.ports import Feeds, Lease

log = logs.get(__name__)

_TICKS = 6
"""In a lease's time. A lease is renewed at the second tick after it was taken, or before."""


@dataclass(slots=True)
class Keeper:
    """Renews leases by one thread, however many polls there are: most take less time than making a thread.

    The thread ends when it has had nothing to do for a tick.
    """

    feeds: Feeds
    lease_s: float
    _kept: set[Lease] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _runs: bool = False

    @contextmanager
    def kept(self, lease: Lease) -> Iterator[None]:
        """The lease is renewed every third of its time until the context is left.

        A renewal that fails is only logged: the journal's transaction checks the lease anyway, so that a
        reader who has lost it writes nothing.
        """
        with self._lock:
            self._kept.add(lease)
            if not self._runs:
                threading.Thread(target=self._run, name="leases", daemon=True).start()
                self._runs = True
        try:
            yield
        finally:
            with self._lock:
                self._kept.discard(lease)

    def _run(self) -> None:
        before: set[Lease] = set()
        while True:
            time.sleep(self.lease_s / _TICKS)
            with self._lock:
                if not self._kept and not before:
                    self._runs = False
                    return
                now = set(self._kept)
            # One that was taken just now is renewed at the next tick, unless it has ended by then.
            renewed = {lease for lease in now & before if self._renewed(lease)}
            before = now - renewed

    def _renewed(self, lease: Lease) -> bool:
        with self._lock:
            if lease not in self._kept:
                return True
        try:
            self.feeds.renew(lease, lease_s=self.lease_s)
        except HeadraceError as error:
            log.warning("lease not renewed", feed=lease.feed_id, error=str(error))
            return False
        except Exception:  # the leases of others are renewed by this thread too
            log.exception("lease not renewed: a bug of Headrace", feed=lease.feed_id)
            return False
        return True
