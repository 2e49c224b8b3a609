"""Processes that are killed, stopped for a while, and restarted."""

from __future__ import annotations

import time
from typing import Final

import psycopg

from tests.acceptance.campaign import MODULES, MOMENT
from tests.faults.kind import Kind
from tests.faults.plan import Fault, KindPlan
from tests.faults.site import Site
from tests.faults.writers import Writers

WORKERS: Final = tuple(name for name in MODULES if name != "scheduler")
MOMENT_LIMIT_S: Final = 1.5


class Kill(Kind):
    plan = KindPlan(name="SIGKILL", targets=tuple(MODULES), weight=4)

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        await_moment(site, fault.target)
        site.fleet.kill(fault.target)


class Freeze(Kind):
    """Longer than the lease of 3 s: another takes its place, then it comes back."""

    plan = KindPlan(name="SIGSTOP past the lease", targets=WORKERS, lasts_s=(4.0, 7.0), weight=2)

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        await_moment(site, fault.target)
        site.fleet.freeze(fault.target)

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.fleet.thaw(fault.target)


class Restart(Kind):
    plan = KindPlan(name="SIGTERM and another one", targets=tuple(MODULES), weight=2)

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.fleet.replace(fault.target)


def await_moment(site: Site, victim: str) -> None:
    """Some worker of the victim's kind has something in hand, or none had for a while."""
    deadline = time.monotonic() + MOMENT_LIMIT_S
    with psycopg.connect(site.control_url, autocommit=True, connect_timeout=5) as control:
        while time.monotonic() < deadline:
            leases, pending, begun = control.execute(MOMENT).fetchone() or ([], 0, 0)
            if victim == "scheduler" or (leases if victim.startswith("fetch") else begun or pending):
                return
            time.sleep(0.002)
