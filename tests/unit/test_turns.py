"""Turns at the threads of a worker: nobody takes all of them, and what is put off is asked for again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from workers.turns import Turns

SOON_S = 60.0


@dataclass
class Worker:
    """Two turns for each owner, and threads enough; work goes on until it is let go."""

    keep_s: float = 60.0
    patience_s: float = 0.02
    asked: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    refused: int = 0
    go: dict[str, threading.Event] = field(default_factory=dict)
    begun: dict[str, threading.Event] = field(default_factory=dict)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def __post_init__(self) -> None:
        self.turns = Turns[str](
            2,
            again=self.asked.append,
            keep_s=self.keep_s,
            put_off=self._count,
            patience_s=self.patience_s,
        )

    def _count(self) -> None:
        self.refused += 1

    def take(self, owner: str, work: str) -> Future[None]:
        """The work is handled by a thread."""
        self.go.setdefault(work, threading.Event())
        self.begun.setdefault(work, threading.Event())
        return self.pool.submit(self.turns.take, owner, work, lambda: self._do(work))

    def begin(self, owner: str, *works: str) -> list[Future[None]]:
        """They are being done."""
        futures = [self.take(owner, work) for work in works]
        assert all(self.begun[work].wait(SOON_S) for work in works)
        return futures

    def _do(self, work: str) -> None:
        self.begun[work].set()
        assert self.go[work].wait(SOON_S)
        self.done.append(work)

    def end(self, work: str, future: Future[None]) -> None:
        self.go[work].set()
        future.result(SOON_S)


@contextmanager
def worker(**settings: float) -> Iterator[Worker]:
    made = Worker(**settings)
    try:
        yield made
    finally:
        for event in made.go.values():
            event.set()
        made.pool.shutdown()


def test_one_owner_takes_no_more_turns_than_it_may_and_others_go_on() -> None:
    with worker() as at:
        at.begin("slow", "s1", "s2")
        at.take("slow", "s3").result(SOON_S)
        assert (at.refused, at.begun["s3"].is_set()) == (1, False)
        (quick,) = at.begin("quick", "q1")
        at.end("q1", quick)
        assert (at.done, at.asked) == (["q1"], [])


def test_what_was_put_off_is_asked_for_again_when_a_turn_ends_the_first_first() -> None:
    with worker() as at:
        first, second = at.begin("slow", "s1", "s2")
        for work in ("s3", "s4", "s3", "s5", "s6"):
            at.take("slow", work).result(SOON_S)
        at.end("s1", first)
        assert at.asked == ["s3"]
        at.end("s2", second)
        assert at.asked == ["s3", "s4", "s5"], "both turns are free"


def test_a_turn_that_ends_soon_is_waited_for() -> None:
    with worker(patience_s=SOON_S) as at:
        first, _ = at.begin("busy", "b1", "b2")
        third = at.take("busy", "b3")
        assert not at.begun["b3"].wait(0.05)
        at.end("b1", first)
        at.end("b3", third)
        assert (at.done, at.refused, at.asked) == (["b1", "b3"], 0, [])


def test_what_the_scheduler_has_asked_for_by_now_is_not_asked_for_twice() -> None:
    with worker(keep_s=0.0) as at:
        first, _ = at.begin("slow", "s1", "s2")
        at.take("slow", "s3").result(SOON_S)
        at.end("s1", first)
        assert (at.refused, at.asked) == (1, [])


def test_what_has_had_its_turn_meanwhile_is_not_asked_for() -> None:
    with worker() as at:
        first, second = at.begin("slow", "s1", "s2")
        at.take("slow", "s3").result(SOON_S)
        at.take("slow", "s4").result(SOON_S)
        at.end("s1", first)
        (third,) = at.begin("slow", "s4")
        at.end("s4", third)
        at.end("s2", second)
        assert at.asked == ["s3"]


def test_a_turn_ends_with_an_error_too() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    turns = Turns[str](1, again=lambda _: None, keep_s=1.0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            turns.take("a", "work", fail)
