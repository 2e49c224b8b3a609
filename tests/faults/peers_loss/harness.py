"""All strategies poll one table while it is written; afterwards each is asked what it has not got."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.peers_loss import ours
from tests.faults.peers_loss.database import Dialect, Source, throwaway
from tests.faults.peers_loss.peers import NAIVE, Strategy, peers
from tests.faults.peers_loss.writers import Load

POLL_EVERY_S: Final = 0.2
SETTLE_S: Final = 1.5
"""Between the last commit and the last poll: longer than the delay that a strategy waits for."""
NAIVE_LOSES_AT_LEAST: Final = 20
"""A run in which the simplest cursor loses less was too kind to say anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run found.

    Attributes:
        rows: in the table at the end.
        transactions: of the writers, by kind.
        lost: by strategy, rows whose final version it never delivered, or not last.
        polls: by strategy.
    """

    server: str
    seconds: float
    seed: int
    rows: int
    transactions: dict[str, int]
    lost: dict[str, int]
    polls: dict[str, int]

    @property
    def valid(self) -> bool:
        return self.lost[NAIVE] >= NAIVE_LOSES_AT_LEAST

    @property
    def ours(self) -> int:
        return self.lost[ours.NAME]

    def table(self) -> str:
        written = ", ".join(f"{number} {kind}" for kind, number in self.transactions.items())
        written = f"{sum(self.transactions.values())} transactions ({written})"
        lines = [
            f"{self.server}, {self.seconds:.0f} s, seed {self.seed}: {self.rows} rows by {written}",
            "",
            "| strategy | polls | final versions lost |",
            "| --- | ---: | ---: |",
            *(f"| {name} | {self.polls[name]} | {lost} |" for name, lost in self.lost.items()),
        ]
        return "\n".join(lines)


def measure(dialect: Dialect, *, seconds: float, seed: int) -> Outcome:
    """Write and poll for so long on a new server.

    Raises:
        RuntimeError: Headrace reconciled, so that the run says nothing about its cursor.
    """
    with (
        throwaway(dialect) as source,
        tempfile.TemporaryDirectory(prefix="headrace-peers-loss-") as directory,
        closing(ours.Headrace(source, Path(directory))) as headrace,
    ):
        strategies = [*peers(dialect), headrace]
        load = Load(source, seed)
        polls = _polled(source, load, strategies, seconds=seconds)
        if headrace.reconciled():
            raise RuntimeError("Headrace reconciled within the run")
        with source.connected() as session:
            final = dict(session.rows("SELECT id, version FROM items"))
        return Outcome(
            server=source.name(),
            seconds=seconds,
            seed=seed,
            rows=len(final),
            transactions=load.transactions,
            lost={s.name: _lost(final, s.got) for s in strategies},
            polls=polls,
        )


def _polled(source: Source, load: Load, strategies: Sequence[Strategy], *, seconds: float) -> dict[str, int]:
    """How often each strategy polled: again and again while writers write, and once after."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(strategies), thread_name_prefix="poll") as pool:
        polling = [pool.submit(_poll, source, strategy, stop) for strategy in strategies]
        try:
            with load.running():
                stop.wait(seconds)
            time.sleep(SETTLE_S)
        finally:
            stop.set()
        return {s.name: polled.result() for s, polled in zip(strategies, polling, strict=True)}


def _poll(source: Source, strategy: Strategy, stop: threading.Event) -> int:
    polls = 0
    with source.connected() as session:
        last = False
        while not last:
            last = stop.wait(POLL_EVERY_S)
            strategy.poll(session)
            polls += 1
    return polls


def _lost(final: dict[int, int], got: dict[int, int]) -> int:
    return sum(got.get(id_) != version for id_, version in final.items())
