"""Servers that crash, have no room left, or another time."""

from __future__ import annotations

import random
import time
from typing import Final

import psycopg

from tests.faults import shop
from tests.faults.kind import Kind, NotNowError
from tests.faults.plan import Fault, KindPlan
from tests.faults.site import Site, run
from tests.faults.writers import Writers
from tests.servers import PostgresCluster

NOT_POLLED_SINCE: Final = """
SELECT source_id FROM feed
 WHERE state = 'active' AND coalesce(last_success_at, '-infinity') < to_timestamp(%s) AND source_id = ANY(%s)
"""
LONGEST_POLL_S: Final = 6.0
"""A poll that was asked before a step may end so long after it, held up by a partition."""
SERVERS: Final = ("source", "store", "control")


class Crash(Kind):
    """Stopped at once, as by a power failure; recovers from its log."""

    plan = KindPlan(
        name="PostgreSQL stopped at once",
        targets=SERVERS,
        lasts_s=(0.2, 2.0),
        occupies="server {target}",
        weight=2,
    )

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        _server(site, fault).stop_immediately()

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        run(_server(site, fault))


def _server(site: Site, fault: Fault) -> PostgresCluster:
    return {"source": site.source, "store": site.store, "control": site.control}[fault.target]


class FullDisk(Kind):
    """Not a byte is left on the store's disk: statements fail, or the whole server does."""

    plan = KindPlan(
        name="disk of the store full", targets=("store",), lasts_s=(2.0, 5.0), occupies="server store"
    )

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        assert site.disk is not None
        with (site.disk / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(1 << 20)):
                    pass
            except OSError:
                return

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        assert site.disk is not None
        (site.disk / "filler").unlink(missing_ok=True)
        run(site.store)


class ClockForward(Kind):
    plan = KindPlan(name="clock of the source stepped forward", occupies="clock")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        _step(site, random.Random(fault.seed).uniform(0.5, 20.0))


class ClockBack(Kind):
    plan = KindPlan(name="clock of the source stepped back", occupies="clock")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        _step(site, -random.Random(fault.seed).uniform(0.5, 20.0))


def _step(site: Site, seconds: float) -> None:
    """The clock is moved, unless a feed has not seen its last step: one that is taken back before anybody
    has looked cannot be noticed."""
    assert site.clock is not None
    with psycopg.connect(site.control_url) as control:
        unseen = control.execute(
            NOT_POLLED_SINCE, (site.stepped_at + LONGEST_POLL_S, list(shop.KEYED))
        ).fetchall()
    if unseen:
        raise NotNowError(f"the last step of the clock was not seen by {unseen}")
    ahead_s = float(site.clock.read_text()) + seconds
    following = site.clock.with_suffix(".new")
    following.write_text(f"{ahead_s:+.3f}\n")
    following.replace(site.clock)  # no reader sees half of it
    site.stepped_at = time.time()
