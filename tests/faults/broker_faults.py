"""Nudges that are lost, doubled and reordered, and a Redis that forgets."""

from __future__ import annotations

import random
from typing import Final

import redis

from headrace.queue.topology import FETCH, MERGE
from tests.faults.kind import Kind
from tests.faults.plan import Fault, KindPlan
from tests.faults.redelivery import redeliver
from tests.faults.site import QUICK, Site, run
from tests.faults.writers import Writers

NAMESPACE: Final = QUICK["HEADRACE_QUEUE_NAMESPACE"]


class DoubledNudges(Kind):
    """Every nudge that there can be, several times over, in any order."""

    plan = KindPlan(name="nudges doubled", occupies="server broker")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        chance = random.Random(fault.seed)
        times = chance.randint(3, 8)
        redeliver(site.broker.url, NAMESPACE, control_url=site.control_url, times=times, chance=chance)


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
        run(site.broker)


def _redis(site: Site) -> redis.Redis:
    return redis.Redis.from_url(site.broker.url, socket_timeout=5)


def _queues() -> tuple[str, ...]:
    return tuple(f"{NAMESPACE}:{queue}" for queue in (FETCH, MERGE))
