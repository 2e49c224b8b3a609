"""Record events reach a consumer, whatever is killed on the way: none is lost, each record's are in order."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.procfile import Running
from tests.acceptance.project import Project, execute, query
from tests.acceptance.small_shop import USERS, definitions, until
from tests.acceptance.survival import ENVIRONMENT
from tests.integration.event_consumer import Consumer
from tests.proxy import Proxy
from tests.servers import PostgresCluster, postgres_cluster

pytestmark = pytest.mark.services

PROCESSES = {
    "scheduler": "producers.scheduler",
    "fetch": "workers.fetch",
    "merge": "workers.merge",
    "relay-1": "workers.relay",
    "relay-2": "workers.relay",
}
ROUNDS = 6


class Site:
    """A shop whose data source is in a PostgreSQL of its own, and whose broker of events is behind a link."""

    def __init__(self, project: Project, cluster: PostgresCluster, proxy: Proxy, consumer: Consumer) -> None:
        self.project, self.cluster, self.proxy, self.consumer = project, cluster, proxy, consumer
        self.fleet = Running()

    def start(self, name: str) -> None:
        self.fleet.start(self.project, name, PROCESSES[name])

    def change(self, round_: int) -> None:
        """Every user changes a few times, some come and some go."""
        url = self.project.environment["SHOP_URL"]
        for step in range(3):
            told = f"{round_}.{step}"
            execute(
                url,
                f"INSERT INTO users SELECT n, 'acme', 'u{told}@x.io' FROM generate_series(1, {20 + round_}) n"
                " ON CONFLICT (id) DO UPDATE SET email = excluded.email, updated_at = clock_timestamp()",
            )

    def records(self) -> dict[int, str]:
        return dict(query(self.project.environment["STORE_URL"], "SELECT id, email FROM headrace.users"))

    def at_rest(self) -> bool:
        """The data source has what the source has, and the consumer what the data source has."""
        source = dict(query(self.project.environment["SHOP_URL"], "SELECT id, email FROM users"))
        try:
            return self.records() == source == self.consumer.copy
        except psycopg.OperationalError:
            return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with postgres_cluster() as cluster:
        yield cluster


@pytest.fixture(params=["redis", "rabbitmq"])
def site(
    request: pytest.FixtureRequest,
    new_database: NewDatabase,
    redis_server: str,
    cluster: PostgresCluster,
    tmp_path: Path,
) -> Iterator[Site]:
    server: str = request.getfixturevalue(f"{request.param}_server")
    parts = urlsplit(server)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    with ExitStack() as stack:
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {request.param}".encode())
        shop, control = stack.enter_context(new_database()), stack.enter_context(new_database())
        proxy = stack.enter_context(closing(Proxy(parts.hostname or "", parts.port or 0)))
        execute(shop, USERS.format(timestamp="timestamptz"))
        namespace = f"headrace_test_{uuid.uuid4().hex[:12]}"
        given = definitions("postgres", "1s")
        given["data_sources/main"]["events"] = True
        environment = ENVIRONMENT | {
            "SHOP_URL": shop,
            "STORE_URL": cluster.database_url(request.param),
            "HEADRACE_CONTROL_URL": control,
            "HEADRACE_BROKER_URL": redis_server,
            "HEADRACE_EVENTS_URL": urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}")),
            "HEADRACE_QUEUE_NAMESPACE": namespace,
        }
        project = Project.create(tmp_path / "shop", given, environment, warm=True)
        project.headrace("db", "upgrade")
        project.headrace("apply")
        consumer = Consumer(server, namespace)
        made = Site(project, cluster, proxy, consumer)
        with consumer.consuming():
            try:
                yield made
            finally:
                for process in made.fleet.processes.values():
                    process.discard()


def test_events_survive_the_death_of_relays_of_the_broker_s_link_and_of_the_database(site: Site) -> None:
    for name in PROCESSES:
        site.start(name)
    site.change(0)
    until(site.at_rest, "nothing arrives at all")
    changing = threading.Thread(target=lambda: [site.change(round_) for round_ in range(1, ROUNDS)])
    changing.start()
    for name in ("relay-1", "relay-2"):
        site.fleet.processes[name].kill()
        site.proxy.reset()
        site.start(name)
    site.cluster.stop_immediately()
    site.cluster.start()
    site.proxy.go_away()
    site.fleet.processes["relay-1"].kill()
    site.proxy.come_back()
    site.start("relay-1")
    changing.join()
    execute(site.project.environment["SHOP_URL"], "DELETE FROM users WHERE id % 5 = 0")
    site.project.headrace("reconcile", "users", "--json")
    until(site.at_rest, f"the consumer has not what the data source has: {site.consumer.duplicates} twice")
    in_order(site.consumer)
    ends = {name: process.stop(limit_s=25) for name, process in site.fleet.processes.items()}
    assert ends == dict.fromkeys(ends, 0)


def in_order(consumer: Consumer) -> None:
    """Of each record, events arrived for the first time in the order of their numbers."""
    last: dict[str, str] = {}
    seen = set()
    for event in consumer.messages:
        if event["id"] not in seen:
            assert last.get(event["subject"], "") < event["sequence"]
            last[event["subject"]] = event["sequence"]
        seen.add(event["id"])
