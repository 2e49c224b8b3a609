"""The kinds of faults: how each begins, and how it is mended."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import psycopg
import redis

from headrace.domain.messages import MergeModel, Message, PollFeed
from headrace.queue import broker as brokers
from headrace.queue.nudges import to_dramatiq
from headrace.queue.topology import FETCH, MERGE
from tests.acceptance.campaign import MODULES, MOMENT
from tests.faults import shop
from tests.faults.changes import Changes
from tests.faults.plan import Fault, KindPlan
from tests.faults.site import LINKS, QUICK, Site
from tests.faults.writers import Writers

WORKERS: Final = tuple(name for name in MODULES if name != "scheduler")
SERVERS: Final = ("source", "store", "control")
MOMENT_LIMIT_S: Final = 1.5
NAMESPACE: Final = QUICK["HEADRACE_QUEUE_NAMESPACE"]


class Kind:
    """One kind of fault. Beginning and ending may raise: they are tried again a little later."""

    plan: ClassVar[KindPlan]

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        raise NotImplementedError

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        """Nothing is left to mend."""


# --- processes ----------------------------------------------------------------------------------


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


# --- the broker ---------------------------------------------------------------------------------


class DoubledNudges(Kind):
    """Every nudge that there can be, several times over, in any order."""

    plan = KindPlan(name="nudges doubled", occupies="server broker")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        chance = random.Random(fault.seed)
        broker = brokers.make(site.broker.url, namespace=NAMESPACE)
        try:
            messages = _all_nudges(site) * chance.randint(3, 8)
            chance.shuffle(messages)
            for message in messages:
                broker.enqueue(to_dramatiq(message, broker))
        finally:
            broker.close()


class DroppedNudges(Kind):
    """What is in the queues is gone, again and again for a while."""

    plan = KindPlan(name="nudges dropped", lasts_s=(1.0, 2.0), occupies="server broker")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        with _redis(site) as client:
            client.delete(*_queues())

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        self.begin(site, writers, fault)


class ReorderedNudges(Kind):
    """What waits is turned around, new nudges among it."""

    plan = KindPlan(name="nudges reordered", occupies="server broker")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        chance = random.Random(fault.seed)
        DoubledNudges().begin(site, writers, fault)
        with _redis(site) as client:
            for queue in _queues():
                waiting = client.lrange(queue, 0, -1)
                assert isinstance(waiting, list)
                chance.shuffle(waiting)
                if waiting:
                    client.pipeline(transaction=True).delete(queue).rpush(queue, *waiting).execute()


class EmptiedBroker(Kind):
    plan = KindPlan(name="Redis emptied", occupies="server broker")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        with _redis(site) as client:
            client.flushall()


class KilledBroker(Kind):
    """It keeps nothing on disk: what it held is lost."""

    plan = KindPlan(name="Redis killed", lasts_s=(0.3, 2.5), occupies="server broker")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.broker.stop_immediately()

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.broker.start()


def _redis(site: Site) -> redis.Redis:
    return redis.Redis.from_url(site.broker.url, socket_timeout=5)


def _queues() -> tuple[str, ...]:
    return tuple(f"{NAMESPACE}:{queue}" for queue in (FETCH, MERGE))


def _all_nudges(site: Site) -> list[Message]:
    with psycopg.connect(site.control_url, autocommit=True) as control:
        feeds = control.execute("SELECT id FROM feed WHERE state = 'active' ORDER BY source_id").fetchall()
    merges = [MergeModel(data_source_id=home, model="users") for home in sorted(set(shop.HOMES.values()))]
    return [*(PollFeed(feed_id=feed) for (feed,) in feeds), *merges]


# --- links --------------------------------------------------------------------------------------


class Reset(Kind):
    plan = KindPlan(name="connections reset", targets=LINKS, occupies="link {target}", weight=2)

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.links[fault.target].reset()


class Slow(Kind):
    plan = KindPlan(name="slow link", targets=LINKS, lasts_s=(2.0, 5.0), occupies="link {target}")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.links[fault.target].delay(random.Random(fault.seed).uniform(0.01, 0.08))

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.links[fault.target].delay(0.0)


class Partition(Kind):
    """Nothing passes; at the end what was held up passes, or every connection is cut."""

    plan = KindPlan(name="partition", targets=LINKS, lasts_s=(1.0, 5.0), occupies="link {target}")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.links[fault.target].stall()

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        link = site.links[fault.target]
        if random.Random(fault.seed).random() < 0.5:
            link.reset()
        link.flow()


# --- servers ------------------------------------------------------------------------------------


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
        _server(site, fault).start()


def _server(site: Site, fault: Fault) -> Any:
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
        if site.store.process is None or site.store.process.poll() is not None:
            site.store.start()


class ClockForward(Kind):
    plan = KindPlan(name="clock of the source stepped forward", occupies="clock")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        _step(site, random.Random(fault.seed).uniform(0.5, 20.0))


class ClockBack(Kind):
    plan = KindPlan(name="clock of the source stepped back", occupies="clock")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        _step(site, -random.Random(fault.seed).uniform(0.5, 20.0))


def _step(site: Site, seconds: float) -> None:
    assert site.clock is not None
    ahead_s = float(site.clock.read_text()) + seconds
    following = site.clock.with_suffix(".new")
    following.write_text(f"{ahead_s:+.3f}\n")
    following.replace(site.clock)  # no reader sees half of it


# --- tables of the source -----------------------------------------------------------------------


class UnusedColumn(Kind):
    """A column that no definition knows comes and goes."""

    plan = KindPlan(
        name="unused column added and dropped",
        targets=("purchases", "accounts"),
        lasts_s=(2.0, 4.0),
        occupies="table {target}",
    )

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        _alter(
            site, writers, fault.target, f"ADD COLUMN IF NOT EXISTS extra_{fault.seed} text DEFAULT 'none'"
        )

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        _alter(site, writers, fault.target, f"DROP COLUMN IF EXISTS extra_{fault.seed}")
        _operate(site, fault.target)


class WiderType(Kind):
    """A column that is used gets a wider type; the operator applies it."""

    plan = KindPlan(
        name="used column widened",
        targets=("purchases", "accounts"),
        lasts_s=(1.0, 3.0),
        occupies="table {target}",
    )
    columns: ClassVar = {"purchases": "item", "accounts": "name"}

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        column = self.columns[fault.target]
        with psycopg.connect(site.shop_url) as source:
            (length,) = source.execute(
                "SELECT character_maximum_length FROM information_schema.columns"
                " WHERE table_name = %s AND column_name = %s",
                (fault.target, column),
            ).fetchone() or (0,)
        _alter(site, writers, fault.target, f"ALTER COLUMN {column} TYPE varchar({length + 1})")

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        _operate(site, fault.target)


class RenamedColumn(Kind):
    """A column that is used has another name for a while; then the operator resumes the feed."""

    plan = KindPlan(
        name="used column renamed and back",
        targets=("purchases", "accounts"),
        lasts_s=(2.0, 5.0),
        occupies="table {target}",
    )
    columns: ClassVar = {"purchases": "amount", "accounts": "seats"}

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        column = self.columns[fault.target]
        _alter(site, writers, fault.target, f"RENAME COLUMN {column} TO {column}_renamed")

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        column = self.columns[fault.target]
        if _has_column(site, fault.target, f"{column}_renamed"):
            _alter(site, writers, fault.target, f"RENAME COLUMN {column}_renamed TO {column}")
        _operate(site, fault.target)


class BulkDelete(Kind):
    plan = KindPlan(name="many rows deleted", targets=shop.SOURCES, occupies="table {target}")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        with (
            writers.window(fault.target),
            psycopg.connect(site.shop_url, autocommit=True, options="-c lock_timeout=2s") as source,
        ):
            Changes(source, random.Random(fault.seed)).bulk_delete(fault.target)


def _alter(site: Site, writers: Writers, table: str, change: str) -> None:
    """As online as it gets: it waits a little for its lock, and is tried again."""
    with (
        writers.window(table),
        psycopg.connect(site.shop_url, autocommit=True, options="-c lock_timeout=2s") as source,
    ):
        source.execute(f"ALTER TABLE {table} {change}".encode())


def _has_column(site: Site, table: str, column: str) -> bool:
    with psycopg.connect(site.shop_url) as source:
        found = source.execute(
            "SELECT 1 FROM information_schema.columns WHERE table_name = %s AND column_name = %s",
            (table, column),
        ).fetchone()
    return found is not None


def _operate(site: Site, table: str) -> None:
    """What an operator does after a change of a source: apply, and resume what drift has paused."""
    site.project.headrace("apply")
    with psycopg.connect(site.control_url) as control:
        paused = control.execute(
            "SELECT 1 FROM feed WHERE source_id = %s AND state = 'active' AND paused", (table,)
        ).fetchone()
    if paused:
        site.project.headrace("resume", table)


def kinds_of(*, disk: bool, clock: bool, clock_back: bool) -> Sequence[Kind]:
    """Every kind that can be had here."""
    everywhere: list[Kind] = [
        Kill(), Freeze(), Restart(), DoubledNudges(), DroppedNudges(), ReorderedNudges(), EmptiedBroker(),
        KilledBroker(), Reset(), Slow(), Partition(), Crash(), UnusedColumn(), WiderType(), RenamedColumn(),
        BulkDelete(),
    ]  # fmt: skip
    if disk:
        everywhere.append(FullDisk())
    if clock:
        everywhere.append(ClockForward())
    if clock and clock_back:
        everywhere.append(ClockBack())
    return everywhere
