"""What a soak is blamed for, on samples that are made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.soak.plan import pace_of, restarts
from tests.soak.sample import Footprint, Restart, Sample
from tests.soak.verdict import End, judge, recovery

GOOD = {"pid": 1, "rss_mib": 100.0, "fds": 20, "threads": 8, "postgres": 4, "redis": 2}
SECONDS = 120

Held = Callable[[int], Mapping[str, Any]]


def steady(at_s: int) -> Mapping[str, Any]:
    return {}


def samples(
    held: Held = steady, lag: Callable[[int], float] = lambda at_s: 0.5, strangers: int | None = 0
) -> list[Sample]:
    """One a second of a process that holds this then."""
    return [
        Sample(
            at_s=float(at_s),
            processes={"fetch": Footprint(**{**GOOD, **held(at_s)})},
            lag_s={"users": lag(at_s), "visits": 0.0},
            strangers=strangers,
        )
        for at_s in range(SECONDS)
    ]


RESTART = Restart(at_s=10.0, target="redis", how="SIGKILL")


def faults(made: list[Sample], end: End | None = None, *, memory: bool = True) -> str:
    verdict = judge(made, [RESTART], end or End(), settled_s=0.0, memory=memory)
    return "\n".join(verdict.faults)


def test_a_steady_run_is_blamed_for_nothing() -> None:
    assert faults(samples()) == ""


@pytest.mark.parametrize(
    ("late", "after_s"),
    [
        ((), 0.0),
        ((11, 20), 10.0),
        ((11, 39), 29.0),
        ((11, 60), None),
        ((20, 39), 29.0),
    ],
    ids=["never late", "soon back", "just in time", "too late", "late only after a while"],
)
def test_the_lag_is_back_when_it_stays_low_and_must_be_so_in_time(
    late: tuple[int, ...], after_s: float | None
) -> None:
    made = samples(lag=lambda at_s: 9.0 if late and late[0] <= at_s < late[1] else 0.5)
    found = recovery(made, RESTART, until_s=90.0)
    assert found.after_s == after_s
    assert found.worst_s == (9.0 if late else 0.5)
    assert ("lag not back" in faults(made)) == (after_s is None)


def test_a_moment_of_low_lag_does_not_count_as_back() -> None:
    made = samples(lag=lambda at_s: 0.5 if at_s == 15 or at_s > 25 else 9.0)
    assert recovery(made, Restart(at_s=10.0, target="fetch", how="SIGTERM"), 90.0).after_s == 16.0


def test_a_lag_that_is_not_back_before_the_next_restart_is_a_fault() -> None:
    made = samples(lag=lambda at_s: 9.0 if 10 < at_s < 25 else 0.5)
    assert recovery(made, RESTART, until_s=20.0).after_s is None


@pytest.mark.parametrize(("waited_s", "starved"), [(0.9, False), (3.0, True)])
def test_a_late_lag_is_told_and_not_judged_where_the_processes_waited_for_a_cpu(
    waited_s: float, starved: bool
) -> None:
    made = samples(lambda at_s: {"ran_s": at_s * 1.0, "waited_s": at_s * waited_s}, lag=lambda at_s: 9.0)
    assert recovery(made, RESTART, 90.0).starved == starved
    assert ("lag not back" in faults(made)) != starved


@pytest.mark.parametrize("what", ["postgres", "redis", "fds", "threads"])
def test_what_grows_all_the_time_is_a_leak(what: str) -> None:
    made = samples(lambda at_s: {what: 4 + at_s // 10})
    assert f"fetch leaks {what}" in faults(made)


def test_what_comes_and_goes_is_no_leak() -> None:
    assert faults(samples(lambda at_s: {"postgres": 4 + at_s % 5})) == ""


def test_a_restarted_process_is_judged_since_its_last_start_and_once_it_has_settled() -> None:
    def held(at_s: int) -> Mapping[str, Any]:
        return {"pid": 1 + at_s // 60, "postgres": (at_s // 2 if at_s < 60 else min(at_s - 60, 10))}

    assert faults(samples(held)) == ""


def test_memory_that_grows_is_a_fault_where_it_is_judged() -> None:
    growing = samples(lambda at_s: {"rss_mib": 100.0 + at_s / 2})
    assert "memory of fetch is not flat" in faults(growing)
    assert faults(growing, memory=False) == ""
    assert faults(samples(lambda at_s: {"rss_mib": 100.0 + at_s / 20})) == ""


def test_memory_of_a_process_that_lived_too_short_cannot_be_told() -> None:
    assert "did not live long enough" in faults(samples(lambda at_s: {"pid": 1 if at_s < 115 else 2}))


def test_connections_of_nobody_are_a_fault_and_a_server_that_is_away_is_none() -> None:
    assert "2 connections belong to no process" in faults(samples(strangers=2))
    assert faults(samples(strangers=None)) == ""


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (End(differences=("member 1",)), "1 differences"),
        (End(events=9, lost=1), "1 of 9 events never came"),
        (End(trouble=("fetch ended by itself",)), "fetch ended by itself"),
    ],
)
def test_whatever_is_wrong_at_the_end_is_a_fault(end: End, told: str) -> None:
    assert told in faults(samples(), end)


def test_every_process_and_both_servers_are_restarted_and_each_process_in_both_ways() -> None:
    pace = pace_of(1800)
    plan = restarts(["fetch", "merge", "web"], pace)
    first = [next(plan)[:2] for _ in range(10)]
    assert {target for target, _ in first[:5]} == {"fetch", "merge", "web", "redis", "postgres"}
    assert len(set(first)) == 10
    assert {next(plan)[0] for _ in range(4)} == {"redis", "postgres"}
