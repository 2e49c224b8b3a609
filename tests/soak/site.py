"""Everything that a soak runs on: a PostgreSQL and a Redis of its own, and the processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psycopg

from tests.acceptance.project import Project
from tests.servers import PostgresCluster, RedisServer, free_port, postgres_cluster, private_redis
from tests.soak import club
from tests.soak.asking import Asking
from tests.soak.fleet import Fleet
from tests.soak.listener import Listener
from tests.soak.plan import GENTLY

DATABASES: Final = ("clubs", "control", *sorted(set(club.HOMES.values())))
DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}
"""What docs/events.md asks of a Redis whose crash is to lose no event."""
NEEDED: Final = {
    "HEADRACE_METRICS_PORT": "0",
    "HEADRACE_LOG_FORMAT": "json",
    "HEADRACE_SECRET_KEYS": "a passphrase of the soak",
}


@dataclass(slots=True, kw_only=True)
class Site:
    """Both servers and the processes.

    Attributes:
        commands: the same project for commands, which start faster so.
        token: of staff, for the API.
    """

    postgres: PostgresCluster
    redis: RedisServer
    commands: Project
    fleet: Fleet
    listener: Listener
    web_url: str
    token: str

    @property
    def clubs_url(self) -> str:
        return self.postgres.database_url("clubs")

    @property
    def store_urls(self) -> dict[str, str]:
        return {name: self.postgres.database_url(name) for name in sorted(set(club.HOMES.values()))}

    def asking(self) -> Asking:
        return Asking.of(events_url=self.redis.url, web_url=self.web_url, token=self.token)

    def restart(self, target: str, how: str) -> None:
        """The process or server has ended in this way, and runs again."""
        servers: dict[str, PostgresCluster | RedisServer] = {"postgres": self.postgres, "redis": self.redis}
        if target not in servers:
            self.fleet.restart(target, how)
            return
        server = servers[target]
        server.stop_fast() if how == GENTLY else server.stop_immediately()
        server.start()


@contextmanager
def opened(directory: Path, settings: Mapping[str, str]) -> Iterator[Site]:
    """A site with the clubs' first rows and applied definitions, its processes running."""
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_cluster())
        redis = stack.enter_context(private_redis(DURABLE))
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            for name in DATABASES:
                connection.execute(f"CREATE DATABASE {name}".encode())
        club.create(postgres.database_url("clubs"))
        port = free_port()
        environment = {**settings, **_places(postgres, redis), "HEADRACE_HTTP_PORT": str(port)}
        project = Project.create(directory, club.definitions(), environment)
        commands = replace(project, warm=True)
        commands.headrace("db", "upgrade")
        commands.headrace("apply")
        made = commands.headrace("tokens", "create", "soak", "--group", "production", "--write", "--json")
        listener = Listener(redis.url)
        listener.bind()
        yield Site(
            postgres=postgres,
            redis=redis,
            commands=commands,
            fleet=stack.enter_context(Fleet.of(project)),
            listener=listener,
            web_url=f"http://127.0.0.1:{port}",
            token=json.loads(made)["token"],
        )


def _places(postgres: PostgresCluster, redis: RedisServer) -> dict[str, str]:
    return NEEDED | {
        "CLUBS_URL": postgres.database_url("clubs"),
        **{f"{name.upper()}_URL": postgres.database_url(name) for name in club.HOMES.values()},
        "HEADRACE_CONTROL_URL": postgres.database_url("control"),
        "HEADRACE_BROKER_URL": redis.url,
        "HEADRACE_EVENTS_URL": redis.url,
    }
