"""The processes of a project, as its Procfile starts them, and the CPU time of all that works for them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pika
import psycopg
import redis

from benchmarks.database import SERVER_URL
from headrace.queue.topology import FETCH, MERGE

PROJECT = Path(__file__).parents[1]
REDIS_URL = os.environ.get("HEADRACE_TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
PROCESSES = ("scheduler", "fetch", "merge")
_MODULES = {
    "scheduler": "producers.scheduler",
    "triggers": "producers.triggers",
    "fetch": "workers.fetch",
    "merge": "workers.merge",
}
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_START_S = 60.0
_SERIES = re.compile(r"^headrace_(\w+?)(?:\{(.*)\})? (\S+)$")


@dataclass(slots=True)
class Running:
    """A process of Headrace that serves its metrics."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all series of that name which have these labels."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [_SERIES.match(line) for line in lines]
        series = [m for m in found if m is not None and m[1] == name]
        return sum(float(m[3]) for m in series if all(w in (m[2] or "") for w in wanted))

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    @property
    def peak_rss_mib(self) -> float:
        """The most that it ever had, up to now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (line,) = [line for line in status if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024


@dataclass(slots=True)
class Daemon:
    """The processes of a project."""

    running: list[Running] = field(default_factory=list)

    def of(self, name: str) -> list[Running]:
        return [one for one in self.running if one.name == name]

    def metric(self, process: str, name: str, **labels: str) -> float:
        return sum(one.metric(name, **labels) for one in self.of(process))

    def cpu_s(self, name: str) -> float:
        return sum(one.cpu_s for one in self.of(name))


@contextmanager
def daemon(
    project: Path, environment: Mapping[str, str], *, processes: Sequence[str] = PROCESSES
) -> Iterator[Daemon]:
    """While the context is open the processes run, over a broker's namespace of their own."""
    started = Daemon()
    names = {"HEADRACE_QUEUE_NAMESPACE": f"bench-{uuid.uuid4().hex[:8]}"} | dict(environment)
    try:
        for name in processes:
            started.running.append(_start(project, names, name, len(started.running)))
        for one in started.running:
            _await(one)
        yield started
    finally:
        _stop(started)
        _forget(names)


def _start(project: Path, environment: Mapping[str, str], name: str, number: int) -> Running:
    port = _free_port()
    given = {"HEADRACE_LOG_LEVEL": "warning", "PYTHONPATH": str(PROJECT)}
    own = {"HEADRACE_METRICS_PORT": str(port)}
    with (project / f"{name}-{number}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULES[name]],
            cwd=project,
            env={**os.environ, **given, **environment, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return Running(name, process, port)


def _await(one: Running) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            one.metric("build_info")
        except OSError:
            if one.process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _stop(started: Daemon) -> None:
    for one in started.running:
        one.process.send_signal(signal.SIGTERM)
    for one in started.running:
        try:
            one.process.wait(30)
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()


def _forget(environment: Mapping[str, str]) -> None:
    """What the broker still has of a namespace is gone."""
    url, namespace = environment["HEADRACE_BROKER_URL"], environment["HEADRACE_QUEUE_NAMESPACE"]
    if url.startswith("redis://"):
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter(match=namespace + ":*"):
                client.delete(key)
    else:
        with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
            channel = connection.channel()
            for queue in (FETCH, MERGE):
                for suffix in ("", ".DQ", ".XQ"):
                    channel.queue_delete(f"{namespace}.{queue}{suffix}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# --- CPU time -----------------------------------------------------------------------------------


def cpu_s(pid: int) -> float:
    """User and system time of a process of this machine so far; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def postgres_pids(urls: Sequence[str]) -> set[int]:
    """The server's processes that work for these databases: their sessions, and those of nobody (checkpoints,
    the log's writer)."""
    names = [url.rsplit("/", 1)[1] for url in urls]
    with psycopg.connect(SERVER_URL, autocommit=True) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = ANY(%s) OR datname IS NULL", [names]
        ).fetchall()
    return {pid for (pid,) in found}


def redis_pid(url: str = REDIS_URL) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time in a span, by whose it was."""

    wall_s: float
    cpu_s: Mapping[str, float]

    @property
    def total_s(self) -> float:
        return sum(self.cpu_s.values())


def used(daemon: Daemon, urls: Sequence[str], during: Callable[[], None]) -> Usage:
    """What the daemon, PostgreSQL and Redis took while `during` ran."""
    servers = {pid: cpu_s(pid) for pid in postgres_pids(urls)}
    broker = redis_pid()
    before = {one.process.pid: one.cpu_s for one in daemon.running} | {broker: cpu_s(broker)}
    began = time.perf_counter()
    during()
    wall_s = time.perf_counter() - began
    taken: dict[str, float] = {}
    for one in daemon.running:
        taken[one.name] = taken.get(one.name, 0.0) + one.cpu_s - before[one.process.pid]
    taken["redis"] = cpu_s(broker) - before[broker]
    # A session that began meanwhile counts whole.
    taken["postgresql"] = sum(max(cpu_s(pid) - servers.get(pid, 0.0), 0.0) for pid in postgres_pids(urls))
    return Usage(wall_s, taken)
