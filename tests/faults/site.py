"""Everything that a campaign runs on: servers of its own, links to them that can fail, and the processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg

from tests.acceptance.project import Project
from tests.acceptance.survival import ENVIRONMENT
from tests.faults import shop
from tests.faults.fleet import Fleet
from tests.proxy import Proxy
from tests.servers import PostgresCluster, RedisServer, Server, postgres_cluster, private_redis

LINKS: Final = ("source", "store", "control", "broker")
PAGE_ROWS: Final = 100
"""So few that runs are long, and faults find them in the middle."""
DISK: Final = "256m"
SMALL_WAL: Final = {"max_wal_size": "64MB", "min_wal_size": "32MB"}
"""So that the store fits on its small disk."""

QUICK: Final = {"HEADRACE_STOP_WITHIN_S": "5", "HEADRACE_QUEUE_NAMESPACE": "faults"}


@dataclass(slots=True, kw_only=True)
class Site:
    """The servers, a link to each, and the processes that reach them only through the links.

    Attributes:
        clock: the file that says how far the source's clock is off; None where it cannot be moved.
        disk: the store's own small disk; None where none can be mounted.
    """

    source: PostgresCluster
    store: PostgresCluster
    control: PostgresCluster
    broker: RedisServer
    links: Mapping[str, Proxy]
    project: Project
    fleet: Fleet
    clock: Path | None
    disk: Path | None
    stepped_at: float = 0.0
    """When the source's clock was moved last, by ours."""

    @property
    def shop_url(self) -> str:
        """The source, past its link: the application's own way to it."""
        return self.source.database_url("shop")

    @property
    def store_urls(self) -> dict[str, str]:
        """The stores by data source, past their link."""
        return {name: self.store.database_url(name) for name in sorted(set(shop.HOMES.values()))}

    @property
    def control_url(self) -> str:
        return self.control.database_url("control")

    def heal(self) -> None:
        """Every link flows, every server and every process runs."""
        for link in self.links.values():
            link.delay(0.0)
            link.come_back()
            link.flow()
        for server in (self.source, self.store, self.control, self.broker):
            run(server)
        self.fleet.supervise()


def run(server: Server) -> None:
    """The server runs, whether it did or not: it may have been started again by who mended another fault."""
    if server.process is None or server.process.poll() is not None:
        server.start()


@contextmanager
def opened(directory: Path) -> Iterator[Site]:
    """A site with the shop's first rows and applied definitions, its processes running."""
    with ExitStack() as stack:
        disk = stack.enter_context(_small_disk())
        clock = stack.enter_context(_clock())
        source = stack.enter_context(postgres_cluster(environment=_faked(clock)))
        store = stack.enter_context(postgres_cluster(SMALL_WAL, within=disk))
        control = stack.enter_context(postgres_cluster())
        broker = stack.enter_context(private_redis())
        _make_databases(source, "shop")
        _make_databases(store, *set(shop.HOMES.values()))
        _make_databases(control, "control")
        shop.create(source.database_url("shop"))
        for table in shop.SOURCES:
            shop.fill(source.database_url("shop"), table)
        links = {
            name: stack.enter_context(_link(server.port))
            for name, server in zip(LINKS, (source, store, control, broker), strict=True)
        }
        project = Project.create(
            directory, shop.definitions(page_rows=PAGE_ROWS), _environment(links), warm=True
        )
        project.headrace("db", "upgrade")
        project.headrace("apply")
        fleet = stack.enter_context(Fleet.of(project))
        yield Site(
            source=source,
            store=store,
            control=control,
            broker=broker,
            links=links,
            project=project,
            fleet=fleet,
            clock=clock,
            disk=disk,
        )


def _environment(links: Mapping[str, Proxy]) -> dict[str, str]:
    def url(link: str, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{links[link].port}/{database}"

    return {
        **ENVIRONMENT,
        **QUICK,
        "SHOP_URL": url("source", "shop"),
        **{f"{name.upper()}_URL": url("store", name) for name in shop.HOMES.values()},
        "HEADRACE_CONTROL_URL": url("control", "control"),
        "HEADRACE_BROKER_URL": f"redis://127.0.0.1:{links['broker'].port}/0",
    }


def _make_databases(cluster: PostgresCluster, *names: str) -> None:
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}".encode())


@contextmanager
def _link(port: int) -> Iterator[Proxy]:
    link = Proxy("127.0.0.1", port)
    try:
        yield link
    finally:
        link.close()


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    """A directory on a disk of its own, or None: mounting one needs root on Linux."""
    if sys.platform != "linux" or os.geteuid() != 0:
        yield None
        return
    directory = Path(tempfile.mkdtemp(prefix="headrace-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        directory.rmdir()
        yield None
        return
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        directory.rmdir()


@contextmanager
def _clock() -> Iterator[Path | None]:
    """A file that moves the clock of a server started with `_faked`; None where libfaketime is not there."""
    library = _faketime()
    if library is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="headrace-clock-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the server is another user
        shutil.copy(library, directory / library.name)
        clock = directory / "clock"
        clock.write_text("+0\n")
        yield clock


def _faketime() -> Path | None:
    spec = find_spec("libfaketime")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return library if library.exists() else None


def _faked(clock: Path | None) -> dict[str, str]:
    if clock is None:
        return {}
    return {
        "LD_PRELOAD": str(clock.with_name("libfaketime.so.1")),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
