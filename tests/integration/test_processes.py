"""Processes: signals, exit codes, `/metrics`, `/healthz` and `/readyz`, real brokers, fake work."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from headrace import observe
from headrace.domain.vocabulary import FeedId
from headrace.errors import BrokerUnavailableError, ConfigurationError
from headrace.queue.nudges import nudging
from tests.integration.waiting import SOON_S, until

PROJECT = Path(__file__).parents[2]

WORKER = """
# A fetch worker whose application only notes what it does, and waits where the test says so.
import sys, time
from pathlib import Path
from headrace import process
from headrace.queue.consumer import fetch_consumer
from workers.life import work

notes = Path(sys.argv[1])

class Notes:
    nudge = None
    def __init__(self, settings, *, process): pass
    def note(self, text):
        with notes.open("a") as file:
            file.write(text + "\\n")
    def poll(self, feed_id):
        self.note(f"begin {feed_id}")
        while feed_id.startswith("slow") and not notes.with_name("gate").exists():
            time.sleep(0.01)
        self.note(f"end {feed_id}")
    def reconcile(self, feed_id, full): pass
    def control_problems(self):
        return ["no migrations"] if notes.with_name("old").exists() else []
    def require_control(self): pass
    def close(self): self.note("closed")

def consumer(broker, app, /, *, threads):
    return fetch_consumer(broker, on_poll=app.poll, on_reconcile=app.reconcile, threads=threads)

sys.exit(process.run("fetch", lambda p: work(p, Notes, consumer)))
"""


class WorkerProcess:
    """One of them, with what it noted and logged."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        script = directory / "worker.py"
        script.write_text(WORKER)
        self.notes_file = directory / "notes"
        self._stderr = (directory / f"stderr-{time.monotonic_ns()}").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(self.notes_file)],
            env=os.environ | {"PYTHONPATH": str(PROJECT), "HEADRACE_METRICS_PORT": "0"} | environment,
            stderr=self._stderr,
        )

    def notes(self) -> list[str]:
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []

    def stderr(self) -> str:
        return Path(self._stderr.name).read_text()

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stderr().splitlines() if line.startswith("{")]

    def port(self) -> int:
        until(lambda: any(line["event"] == "metrics are served" for line in self.logged()))
        return next(int(line["port"]) for line in self.logged() if line["event"] == "metrics are served")

    def noted(self, text: str) -> None:
        until(lambda: text in self.notes() or self.process.poll() is not None)
        assert text in self.notes(), self.stderr()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SOON_S)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._stderr.close()


@pytest.fixture
def worker(tmp_path: Path, server_broker: Any) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers on the broker of the test."""
    started: list[WorkerProcess] = []

    def start(**environment: str) -> WorkerProcess:
        broker = {
            "HEADRACE_BROKER_URL": server_broker.url,
            "HEADRACE_QUEUE_NAMESPACE": server_broker.namespace,
            "HEADRACE_THREADS": "1",
        }
        started.append(WorkerProcess(tmp_path, broker | environment))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_sigterm_lets_what_runs_end_and_leaves_the_rest(
    server_broker: Any, worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    with nudging(server_broker.open()) as nudges:
        first = worker()
        nudges.poll(FeedId("slow 1"))
        nudges.poll(FeedId("slow 2"))
        first.noted("begin slow 1")
        first.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        (tmp_path / "gate").touch()
        assert first.process.wait(SOON_S) == 0
        assert first.notes() == ["begin slow 1", "end slow 1", "closed"]
        second = worker()
        second.noted("end slow 2")
        assert second.stop() == 0


def test_work_that_outlasts_the_bound_is_cut_off_with_exit_code_0(
    server_broker: Any, worker: Callable[..., WorkerProcess]
) -> None:
    with nudging(server_broker.open()) as nudges:
        stuck = worker(HEADRACE_STOP_WITHIN_S="0.5")
        nudges.poll(FeedId("slow"))
        stuck.noted("begin slow")
        began = time.monotonic()
        assert stuck.stop() == 0
        assert time.monotonic() - began < 4
        assert "end slow" not in stuck.notes()


@pytest.mark.parametrize("server_broker", ["redis"], indirect=True)
def test_a_second_signal_ends_at_once(server_broker: Any, worker: Callable[..., WorkerProcess]) -> None:
    with nudging(server_broker.open()) as nudges:
        stuck = worker()
        nudges.poll(FeedId("slow"))
        stuck.noted("begin slow")
        stuck.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert stuck.process.poll() is None
        began = time.monotonic()
        assert stuck.stop() == 0
        assert time.monotonic() - began < 2


def test_after_a_kill_in_the_middle_a_repeated_nudge_does_the_work(
    server_broker: Any, worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    with nudging(server_broker.open()) as nudges:
        killed = worker()
        nudges.poll(FeedId("slow 1"))
        killed.noted("begin slow 1")
        killed.process.kill()
        killed.process.wait()
        (tmp_path / "gate").touch()
        successor = worker()
        nudges.poll(FeedId("slow 1"))  # as the sweeper does
        successor.noted("end slow 1")
        assert successor.notes()[0] == "begin slow 1"
        assert successor.stop() == 0


def test_a_worker_serves_health_and_metrics_and_logs_the_feed(
    server_broker: Any, worker: Callable[..., WorkerProcess]
) -> None:
    with nudging(server_broker.open()) as nudges:
        running = worker()
        port = running.port()
        nudges.poll(FeedId("f1"))
        running.noted("end f1")
        assert get(port, "/healthz") == (200, "ok\n")
        done = 'headrace_messages_total{outcome="done",queue="headrace.fetch"} 1.0'
        until(lambda: done in get(port, "/metrics")[1])
        assert "headrace_build_info{" in get(port, "/metrics")[1]
        assert running.stop() == 0
    assert "guest:guest" not in running.stderr()
    assert {line["event"] for line in running.logged()} >= {"process started", "process ended"}


def test_a_worker_that_starts_before_its_broker_waits_for_it(
    server_broker: Any, proxy_to: Any, tmp_path: Path
) -> None:
    proxy = proxy_to(server_broker)
    proxy.go_away()
    behind = server_broker.through(proxy.port)
    early = WorkerProcess(
        tmp_path, {"HEADRACE_BROKER_URL": behind.url, "HEADRACE_QUEUE_NAMESPACE": behind.namespace}
    )
    try:
        until(lambda: any(line["event"] == "process waits" for line in early.logged()))
        status, why = get(early.port(), "/readyz")
        assert status == 503
        assert "cannot be reached" in why
        assert get(early.port(), "/healthz")[0] == 200
        proxy.come_back()
        until(lambda: get(early.port(), "/readyz") == (200, "ok\n"))
        (tmp_path / "old").touch()
        assert get(early.port(), "/readyz") == (503, "no migrations\n")
        with nudging(server_broker.open()) as nudges:
            nudges.poll(FeedId("f1"))
            early.noted("end f1")
        assert early.stop() == 0
    finally:
        early.end()


def test_the_processes_refuse_a_broker_that_nobody_else_hears(tmp_path: Path) -> None:
    mains = "from workers import fetch, merge; from producers import scheduler as s"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    ended = subprocess.run(
        [sys.executable, "-c", f"{mains}; print(fetch.main(), merge.main(), s.main())"],
        env=environment | {"PYTHONPATH": str(PROJECT), "HEADRACE_METRICS_PORT": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=3 * SOON_S,
    )
    assert ended.stdout == "2 2 2\n"
    assert ended.stderr.count("HEADRACE_BROKER_URL: memory:// works in one process only") == 3
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_are_told_by_name_with_exit_code_2(tmp_path: Path) -> None:
    wrong = WorkerProcess(tmp_path, {"HEADRACE_THREADS": "none", "HEADRACE_LEASE_S": "-1"})
    assert wrong.process.wait(SOON_S) == 2
    told = {line.split(":")[0] for line in wrong.stderr().splitlines()}
    assert told == {"HEADRACE_THREADS", "HEADRACE_LEASE_S"}
    wrong.end()


# --- the HTTP side --------------------------------------------------------------------------------


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_loop_that_stopped_ticking_is_unhealthy() -> None:
    now = [0.0]
    heartbeat = observe.Heartbeat(monotonic=lambda: now[0])
    with observe.serving("127.0.0.1", 0, heartbeat, registry=CollectorRegistry()) as port:
        now[0] = 60.0
        assert get(port, "/healthz") == (200, "ok\n")
        now[0] = 61.0
        assert get(port, "/healthz") == (503, "the loop has not ticked for 61 s\n")
        heartbeat.beat()
        assert get(port, "/healthz")[0] == 200


def test_what_is_in_the_way_of_readiness_is_told_without_secrets() -> None:
    def away() -> None:
        raise BrokerUnavailableError("no way to redis://me:hunter2@broker")

    readiness = observe.Readiness()
    heartbeat = observe.Heartbeat()
    with observe.serving(
        "127.0.0.1", 0, heartbeat, readiness=readiness, registry=CollectorRegistry()
    ) as port:
        assert get(port, "/readyz") == (503, "the process is starting\n")
        readiness.needs(lambda: ["run `headrace db upgrade`"], away)
        assert get(port, "/readyz") == (503, "run `headrace db upgrade`\nno way to redis://me:***@broker\n")
        readiness.needs(list)
        assert get(port, "/readyz") == (200, "ok\n")


def test_metrics_are_those_of_the_registry_and_other_paths_are_not_found() -> None:
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc(3)
    with observe.serving("127.0.0.1", 0, observe.Heartbeat(), registry=registry) as port:
        assert "things_total 3.0" in get(port, "/metrics?name[]=x")[1]
        assert get(port, "/")[0] == 404
        assert get(port, "/metrics/../etc")[0] == 404


def test_a_client_that_says_nothing_holds_up_nobody() -> None:
    with (
        observe.serving("127.0.0.1", 0, observe.Heartbeat(), registry=CollectorRegistry()) as port,
        socket.create_connection(("127.0.0.1", port)),
    ):
        assert get(port, "/healthz")[0] == 200


def test_a_taken_port_is_a_clear_fault_of_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                ConfigurationError, match=f"HEADRACE_METRICS_PORT: port {port} of 127.0.0.1 is taken"
            ),
            observe.serving("127.0.0.1", port, observe.Heartbeat()),
        ):
            pass


def test_an_address_that_is_not_ours_is_a_clear_fault_of_the_setting() -> None:
    with (
        pytest.raises(ConfigurationError, match=r"HEADRACE_METRICS_HOST: cannot listen on 203\.0\.113\.1"),
        observe.serving("203.0.113.1", 0, observe.Heartbeat()),
    ):
        pass
