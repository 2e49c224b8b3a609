"""Takes a sample of all processes and both servers every second, in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import redis

from tests.soak import lag, proc
from tests.soak.sample import Footprint, Sample

EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 0.1
"""At the records, so that a lag is known no later than that."""
CLIENTS: Final = """
SELECT client_port FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND client_port > 0 AND pid <> pg_backend_pid()
"""


@dataclass(slots=True)
class Sampler:
    """Samples of the processes that `running` names, by pid.

    Attributes:
        store_urls: of each data source.
    """

    postgres_url: str
    redis_url: str
    store_urls: Mapping[str, str]
    running: Callable[[], Mapping[str, int]]
    now_s: Callable[[], float]
    lag: lag.Lag = field(default_factory=lag.Lag)
    samples: list[Sample] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _errors: list[BaseException] = field(default_factory=list)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        works = [self._take, *(self._watching(name) for name in self.store_urls)]
        threads = [threading.Thread(target=self._keep, args=(work,), name="sampler") for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _keep(self, work: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - raised again by sampling()
            self._errors.append(error)

    def _watching(self, data_source: str) -> Callable[[], None]:
        def watch() -> None:
            try:
                with psycopg.connect(self.store_urls[data_source], autocommit=True) as connection:
                    while not self._stop.wait(LOOK_EVERY_S):
                        self.lag.seen(lag.shown(connection, data_source))
            except psycopg.OperationalError:
                self._stop.wait(LOOK_EVERY_S)

        return watch

    def _take(self) -> None:
        began = time.monotonic()
        clients = self._clients()
        sockets = proc.sockets()
        footprints = {}
        ours = proc.ports(proc.descriptors(os.getpid()), sockets)
        for name, pid in self.running().items():
            opened = proc.descriptors(pid)
            told = proc.status(pid)
            if "VmRSS" not in told:
                continue
            mine = proc.ports(opened, sockets)
            ran_s, waited_s = proc.scheduled(pid)
            ours |= mine
            footprints[name] = Footprint(
                pid=pid,
                rss_mib=round(told["VmRSS"] / 1024, 2),
                fds=len(opened),
                threads=told["Threads"],
                postgres=len(mine & clients.get("postgres", set())),
                redis=len(mine & clients.get("redis", set())),
                ran_s=round(ran_s, 3),
                waited_s=round(waited_s, 3),
            )
        strangers = len(set().union(*clients.values()) - ours) if len(clients) == 2 else None
        at_s = self.now_s()
        ages = {feed: round(age, 2) for feed, age in self.lag.ages(at_s).items()}
        self.samples.append(
            Sample(at_s=round(at_s, 2), processes=footprints, lag_s=ages, strangers=strangers)
        )
        self._stop.wait(max(0.0, EVERY_S - (time.monotonic() - began)))

    def _clients(self) -> dict[str, set[int]]:
        """The ports of each server's clients; without a server that does not answer."""
        found: dict[str, set[int]] = {}
        try:
            with psycopg.connect(self.postgres_url, autocommit=True, connect_timeout=2) as connection:
                found["postgres"] = {port for (port,) in connection.execute(CLIENTS).fetchall()}
        except psycopg.OperationalError:
            pass
        try:
            with redis.Redis.from_url(
                self.redis_url, socket_timeout=2, single_connection_client=True
            ) as client:
                listed: Any = client.client_list()
                own = str(client.client_id())
                found["redis"] = {int(c["addr"].rpartition(":")[2]) for c in listed if c["id"] != own}
        except redis.RedisError:
            pass
        return found
