"""Keep a lease alive while a step waits for a slow source."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headrace import logs
from headrace.errors import HeadraceError
from headrace.ports import Feeds, Lease

log = logs.get(__name__)


@contextmanager
def kept(feeds: Feeds, lease: Lease, *, lease_s: float) -> Iterator[None]:
    """The lease is renewed every third of its time until the context is left.

    A renewal that fails is only logged: the journal's transaction checks the lease anyway, so that a
    reader who has lost it writes nothing.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(lease_s / 3):
            try:
                feeds.renew(lease, lease_s=lease_s)
            except HeadraceError as error:
                log.warning("lease not renewed", feed=lease.feed_id, error=str(error))

    keeper = threading.Thread(target=renew, name=f"lease-{lease.feed_id}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
