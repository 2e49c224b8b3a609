"""Throwaway servers on free ports, for tests that stop, restart or reconfigure one.

Each is stopped and its files are removed when its context is left. Where the tests run as root, PostgreSQL
and MariaDB run as their own users, for neither starts as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import redis

START_S = 60.0
"""How long a server may take to answer."""


class NotInstalledError(Exception):
    """A server's program is not on this machine; `tests/conftest.py` says what becomes of the test."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _program(*names: str) -> str:
    """The path of the first of these programs that is there; PostgreSQL's own are not always on the PATH."""
    places = [None, *sorted((str(p) for p in Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]
    for name in names:
        for place in places:
            if found := shutil.which(name, path=place):
                return found
    raise NotInstalledError(f"none of {', '.join(names)} is installed")


def _user(name: str) -> str | None:
    """The user to run a server as: None for ours."""
    return name if os.geteuid() == 0 else None


def _await(answers: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers; fail with its log when it ended or does not."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            answers()
        except (psycopg.OperationalError, pymysql.err.OperationalError, redis.ConnectionError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} does not serve:\n{log.read_text()[-4000:]}") from error
            time.sleep(0.02)
        else:
            return


@dataclass(slots=True, kw_only=True)
class Server:
    """A server process over a directory of its own; it can die and come back with what it has stored."""

    command: list[str]
    directory: Path
    port: int
    user: str | None
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def ask(self) -> None:
        """The server answers, or its driver's error says that it does not."""
        raise NotImplementedError

    def start(self) -> None:
        """The server runs and answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                user=self.user,
                group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
                extra_groups=None if self.user is None else [],
                cwd=self.directory,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        _await(self.ask, self.process, self.log)

    def stop(self, with_signal: signal.Signals) -> None:
        """The server has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(with_signal)
            self.process.wait(START_S)
        self.process = None


class PostgresCluster(Server):
    """A PostgreSQL cluster that trusts everybody; its user is `postgres`."""

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, name: str, *, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    def ask(self) -> None:
        psycopg.connect(self.url, connect_timeout=3).close()

    def stop_fast(self) -> None:
        self.stop(signal.SIGINT)

    def stop_immediately(self) -> None:
        """As a crash: nothing is flushed, the next start recovers."""
        self.stop(signal.SIGQUIT)

    def restart(self) -> None:
        self.stop_fast()
        self.start()


@contextmanager
def postgres_cluster(
    settings: Mapping[str, str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    within: Path | None = None,
) -> Iterator[PostgresCluster]:
    """A new cluster that allows prepared transactions.

    Args:
        settings: of postgresql.conf.
        environment: of the server, beside ours (libfaketime).
        within: an existing directory for its files, the system's temporary one if None.
    """
    user = _user("postgres")
    with _directory(user, within) as directory:
        _run_as(
            user, directory, _program("initdb"), "-D", str(directory / "data"), "-U", "postgres",
            "-A", "trust", "-N", "--locale=C", "-E", "UTF8",
        )  # fmt: skip
        with _serving(directory, user, settings or {}, environment or {}) as cluster:
            yield cluster


@contextmanager
def postgres_standby(primary: PostgresCluster) -> Iterator[PostgresCluster]:
    """A standby that follows the primary."""
    user = _user("postgres")
    with _directory(user, None) as directory:
        _run_as(
            user, directory, _program("pg_basebackup"), "-d", primary.url, "-D", str(directory / "data"),
            "-R", "-X", "stream", "-c", "fast",
        )  # fmt: skip
        with _serving(directory, user, {}, {}) as cluster:
            yield cluster


@contextmanager
def _serving(
    directory: Path, user: str | None, settings: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[PostgresCluster]:
    """A server over the directory's `data`."""
    port = free_port()
    wanted = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_prepared_transactions": "20",
        "fsync": "off",
        "shared_buffers": "64MB",
        **settings,
    }
    options = [part for name, value in wanted.items() for part in ("-c", f"{name}={value}")]
    cluster = PostgresCluster(
        command=[_program("postgres"), "-D", str(directory / "data"), *options],
        directory=directory,
        port=port,
        user=user,
        environment=environment,
    )
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop_immediately()


class MariadbServer(Server):
    """A MariaDB server whose root has no password."""

    @property
    def url(self) -> str:
        return self.database_url("mysql")

    def database_url(self, name: str, *, user: str = "root") -> str:
        return f"mysql://{user}@127.0.0.1:{self.port}/{name}"

    def ask(self) -> None:
        pymysql.connect(host="127.0.0.1", port=self.port, user="root", connect_timeout=3).close()

    def stop_fast(self) -> None:
        self.stop(signal.SIGTERM)

    def stop_immediately(self) -> None:
        """As a crash: the next start recovers."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        self.stop_fast()
        self.start()


@contextmanager
def mariadb_server(
    settings: Mapping[str, str] | None = None, *, environment: Mapping[str, str] | None = None
) -> Iterator[MariadbServer]:
    """A new server.

    Args:
        settings: of the server, by option without dashes.
    """
    user = _user("mysql")
    with _directory(user, None) as directory:
        data = directory / "data"
        _run_as(
            user, directory, _program("mariadb-install-db", "mysql_install_db"), "--no-defaults",
            f"--datadir={data}", f"--tmpdir={directory}", "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )  # fmt: skip
        port = free_port()
        wanted = {
            "datadir": str(data),
            # A server that starts empties its tmpdir of temporary tables; whose they were crashes.
            "tmpdir": str(directory),
            "port": str(port),
            "bind-address": "127.0.0.1",
            "socket": str(directory / "socket"),
            "pid-file": str(directory / "pid"),
            "innodb-buffer-pool-size": "64M",
            "innodb-flush-log-at-trx-commit": "2",
            **(settings or {}),
        }
        server = MariadbServer(
            command=[
                _program("mariadbd", "mysqld"),
                "--no-defaults",
                *(f"--{name}={value}" for name, value in wanted.items()),
            ],
            directory=directory,
            port=port,
            user=user,
            environment=environment or {},
        )
        try:
            server.start()
            yield server
        finally:
            server.stop_immediately()


class RedisServer(Server):
    """A Redis server, which keeps nothing on disk unless its settings say so."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def ask(self) -> None:
        with redis.Redis.from_url(self.url, socket_connect_timeout=3) as client:
            client.ping()

    def stop_fast(self) -> None:
        self.stop(signal.SIGTERM)

    def stop_immediately(self) -> None:
        """What it held and has not written to its disk is lost."""
        self.stop(signal.SIGKILL)


@contextmanager
def private_redis(settings: Mapping[str, str] | None = None) -> Iterator[RedisServer]:
    """A new server, without persistence unless the settings (of redis.conf) say otherwise."""
    with _directory(None, None) as directory:
        port = free_port()
        wanted = {
            "port": str(port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(directory),
            **(settings or {}),
        }
        server = RedisServer(
            command=[_program("redis-server"), *(p for n, v in wanted.items() for p in (f"--{n}", v))],
            directory=directory,
            port=port,
            user=None,
        )
        try:
            server.start()
            yield server
        finally:
            server.stop_immediately()


@contextmanager
def _directory(user: str | None, within: Path | None) -> Iterator[Path]:
    """A new directory that belongs to the user."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-server-", dir=within))
    if user is not None:
        shutil.chown(directory, user)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run_as(user: str | None, directory: Path, *command: str) -> None:
    group = None if user is None else pwd.getpwnam(user).pw_gid
    done = subprocess.run(
        command,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
