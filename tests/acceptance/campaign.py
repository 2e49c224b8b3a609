"""The processes of the Procfile under SIGKILL and SIGSTOP, while their source changes."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from tests.acceptance import pagila
from tests.acceptance.project import Process, Project
from tests.acceptance.records import Records, differences

MODULES = {
    "scheduler": "producers.scheduler",
    "fetch-1": "workers.fetch",
    "fetch-2": "workers.fetch",
    "merge-1": "workers.merge",
    "merge-2": "workers.merge",
}
VICTIMS = ("fetch-1", "merge-1", "fetch-2", "merge-2")

MOMENT_LIMIT_S = 20.0
"""How long a kill waits for its victim to be in the middle of something: lost nudges take their time."""
STOP_LIMIT_S = 25.0

MOMENT = """
SELECT coalesce((SELECT array_agg(f.lease_id) FROM feed f
                   JOIN run r ON r.feed_id = f.id AND r.state = 'running'
                  WHERE f.lease_until > now()), '{}'),
       (SELECT count(*) FROM batch WHERE state = 'pending'),
       (SELECT count(*) FROM batch WHERE state = 'pending' AND attempts > 0)
"""
"""Leases of live runs, batches pending, and those of them that a merge has begun to try."""


LIVE_RUNS = """
SELECT r.id, r.state FROM run r JOIN feed f ON f.id = r.feed_id
 WHERE r.state = 'running' AND f.lease_until > now()
"""
STATES_OF_RUNS = "SELECT id, state FROM run WHERE id = ANY(%s)"
FREEZE_LIMIT_S = 60.0
TAKEN_OVER_WITHIN_S = 10.0
"""A worker frozen within a transaction of the control database keeps others out until it goes on."""
REFUSED_WITHIN_S = 3.0

Control = psycopg.Connection[tuple[object, ...]]


@dataclass
class Fleet:
    """All processes, each restarted at once when it was killed."""

    project: Project
    running: dict[str, Process] = field(default_factory=dict)

    def start(self, name: str) -> None:
        self.running[name] = self.project.start(MODULES[name], name=name)

    def kill_and_restart(self, name: str) -> None:
        self.running[name].kill()
        self.start(name)

    def stop(self) -> dict[str, int]:
        """Exit codes after SIGTERM, by process."""
        for process in self.running.values():
            assert process.popen.poll() is None, f"{process.name} died by itself\n{process.tail()}"
        return {name: process.stop(limit_s=STOP_LIMIT_S) for name, process in self.running.items()}

    def tails(self) -> str:
        return "\n".join(f"--- {name}\n{process.tail(15)}" for name, process in self.running.items())


@contextmanager
def fleet_of(project: Project) -> Iterator[Fleet]:
    """Every process started; none is left afterwards."""
    fleet = Fleet(project)
    try:
        for name in MODULES:
            fleet.start(name)
        yield fleet
    finally:
        for process in fleet.running.values():
            process.discard()


@dataclass
class Writer:
    """A thread that keeps changing the source: small changes, and now and then one that commits late."""

    url: str
    seed: int
    pause_s: float = 0.04
    late_commits: int = 0
    changes: pagila.Changes | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _error: BaseException | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Changes go on inside, and have ended after."""
        thread = threading.Thread(target=self._run, name="writer")
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join(timeout=30)
        assert not thread.is_alive(), "the writer hangs"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with (
                psycopg.connect(self.url, autocommit=True) as connection,
                psycopg.connect(self.url) as late,
            ):
                self.changes = pagila.Changes(connection, random.Random(self.seed))
                self._write(late)
        except BaseException as error:  # noqa: BLE001 - raised again by running()
            self._error = error

    def _write(self, late: psycopg.Connection[tuple[object, ...]]) -> None:
        assert self.changes is not None
        for turn in range(1_000_000):
            if self._stopping.wait(self.pause_s):
                break
            self.changes.one(removing=turn % 3 == 0)
            if turn % 40 == 5:
                late.execute(
                    "INSERT INTO public.rental (rental_date, inventory_id, customer_id, staff_id)"
                    " VALUES (clock_timestamp(), 4500, %s, 1)",
                    (1 + turn % 599,),
                )
            if turn % 40 == 30:
                late.commit()
                self.late_commits += 1
        late.commit()


@dataclass
class Kills:
    """What the kills hit."""

    total: int = 0
    with_run_live: int = 0
    with_batches_pending: int = 0
    with_merge_begun: int = 0
    in_the_middle: int = 0
    leases_killed: set[str] = field(default_factory=set)

    def kill(self, fleet: Fleet, victim: str, control: Control) -> None:
        """Kill the victim at a moment when it has something in hand; count what the control database
        said right before."""
        deadline = time.monotonic() + MOMENT_LIMIT_S
        fetching = victim.startswith("fetch")
        while True:
            leases, pending, begun = control.execute(MOMENT).fetchone() or ([], 0, 0)
            # A run that an earlier kill stopped looks live until its lease is taken over.
            live = set(leases) - self.leases_killed  # type: ignore[call-overload]
            if (fetching and live) or (not fetching and begun) or time.monotonic() > deadline:
                break
            time.sleep(0.005)
        fleet.kill_and_restart(victim)
        self.total += 1
        self.with_run_live += bool(live)
        self.with_batches_pending += bool(pending)
        self.with_merge_begun += bool(begun)
        self.in_the_middle += bool(live if fetching else pending)
        if fetching:
            self.leases_killed |= live

    def kill_in_turn(self, fleet: Fleet, control: Control, *, kills: int) -> None:
        """So many kills, of each worker in its turn."""
        for number in range(kills):
            self.kill(fleet, VICTIMS[number % len(VICTIMS)], control)

    def __str__(self) -> str:
        return (
            f"{self.total} kills, {self.in_the_middle} in the middle"
            f" ({self.with_run_live} with a run live, {self.with_batches_pending} with batches pending,"
            f" {self.with_merge_begun} with a merge begun)"
        )


@dataclass
class Freezes:
    """What became of fetch workers that were stopped for longer than their lease.

    Attributes:
        taken_over: another worker took the feed that the frozen one was reading.
        refused: the frozen one, going on, found its lease lost and wrote nothing.
    """

    taken_over: int = 0
    refused: int = 0

    def freeze_until_taken_over(self, fleet: Fleet, victim: str, control: Control) -> None:
        """Stop the worker while it reads a feed; it goes on when another worker has taken that feed."""
        process = fleet.running[victim]
        deadline = time.monotonic() + FREEZE_LIMIT_S
        before = process.logged("lease lost")
        while not self._taken_over_while_frozen(process, control):
            assert time.monotonic() < deadline, f"no feed of {victim} was taken over\n{process.tail()}"
        self.taken_over += 1
        self.refused += within(REFUSED_WITHIN_S, lambda: process.logged("lease lost") > before)

    def _taken_over_while_frozen(self, process: Process, control: Control) -> bool:
        """False when none of the runs that were live at the moment was the frozen worker's."""
        within(MOMENT_LIMIT_S, lambda: bool(self._states(control, LIVE_RUNS)))
        process.popen.send_signal(signal.SIGSTOP)
        try:
            live = list(self._states(control, LIVE_RUNS))
            within(TAKEN_OVER_WITHIN_S, lambda: not self._frozen(control, live))
            return "incomplete" in self._states(control, STATES_OF_RUNS, live).values()
        finally:
            process.popen.send_signal(signal.SIGCONT)

    def _frozen(self, control: Control, runs: list[str]) -> bool:
        """Some run is still live, and none was taken over."""
        states = set(self._states(control, STATES_OF_RUNS, runs).values())
        return "running" in states and "incomplete" not in states

    def _states(self, control: Control, statement: str, *values: object) -> dict[str, str]:
        return dict(control.execute(statement.encode(), values).fetchall())  # type: ignore[arg-type]


def within(limit_s: float, happened: Callable[[], bool]) -> bool:
    """Wait for it; whether it came."""
    deadline = time.monotonic() + limit_s
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def until_equal(expected: Records, actual: Callable[[], Records], *, limit_s: float) -> list[str]:
    """Wait for the records; the differences that are left, none if they came."""
    deadline = time.monotonic() + limit_s
    while True:
        left = differences(expected, actual())
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.25)
