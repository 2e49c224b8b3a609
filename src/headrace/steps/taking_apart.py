"""Taking a refused batch apart: its rows are only tried, in savepoints that are rolled back, until those
are found that a data source refuses.

Each try is noted in control before it is made. So who dies of one, or lets go of the lock, leaves to
the next worker what was found, and which rows it died of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from headrace import logs
from headrace.domain.bisection import DEATHS, Bisection, Phase, from_json
from headrace.domain.vocabulary import DELETED, BatchKind
from headrace.ports import Clock, Journal, MergeTransaction, WaitingBatch
from headrace.steps.silence import silent_in

log = logs.get(__name__)

VISIT_S: Final = 2.0
"""After so long the lock is let go, for other feeds of the model; the next visit goes on."""


def noted(batch: WaitingBatch) -> Bisection | None:
    """How far the batch is taken apart; None when it never was."""
    return None if batch.bisection is None else from_json(batch.bisection)


def is_taken_apart(batch: WaitingBatch) -> bool:
    """The search goes on, or has ended and its batch is to be applied."""
    bisection = noted(batch)
    return bisection is not None and bisection.phase is not Phase.GIVEN_UP


def in_one_transaction(run: Sequence[WaitingBatch]) -> list[WaitingBatch]:
    """What is tried at once: a batch that somebody may have died of is tried alone, and whose events are made
    is one question a transaction."""
    silent = silent_in(run[0])
    together = takewhile(lambda b: not b.attempts and b.bisection is None and silent_in(b) == silent, run)
    return list(together) or list(run[:1])


def has_killed(batch: WaitingBatch) -> bool:
    """Attempts at it were begun and never answered: so many that it was hardly by chance."""
    bisection = noted(batch)
    if bisection is None:
        return batch.attempts >= DEATHS
    return bisection.phase is Phase.GIVEN_UP and batch.attempts > bisection.attempts


def can_be_taken_apart(batch: WaitingBatch) -> bool:
    """It has rows, and was not given up lately: it is looked into again after 2, 4, 8, … attempts."""
    if batch.kind not in {BatchKind.ROWS, BatchKind.LOAD}:
        return False
    return batch.bisection is None or (batch.attempts + 1).bit_count() == 1


@dataclass(slots=True, kw_only=True)
class TakingApart:
    """The search in one batch.

    Attributes:
        rows: of the batch, one for each key.
        apply: applies some of them, and recomputes.
        bisection: where it is; control knows as much, but for the answer of the last try.
    """

    journal: Journal
    clock: Clock
    batch: WaitingBatch
    rows: pa.Table
    apply: Callable[[MergeTransaction, pa.Table], object]
    bisection: Bisection

    def search(self, transaction: MergeTransaction) -> Bisection:
        """Goes on until the search ends or its time is over; control knows all that was answered."""
        until = self.clock.monotonic() + VISIT_S
        self.bisection = self.bisection.resumed()
        while not self.bisection.ended:
            self.begin()
            rows = self.some_rows(self.bisection.tried_rows())
            refusal = transaction.refusal(lambda trial, rows=rows: self.apply(trial, rows))  # type: ignore[misc]
            self.bisection = self.bisection.answered(refusal)
            if self.clock.monotonic() > until:
                break
        self._note()
        return self.bisection

    def some_rows(self, places: Sequence[int]) -> pa.Table:
        return self.rows.take(pa.array(places, pa.int64()))

    def begin(self) -> None:
        """A try is about to be made."""
        self.bisection = self.bisection.begun()
        self._note()

    def take_back(self) -> None:
        """The try ended without an answer, and not for its rows."""
        self.bisection = self.bisection.taken_back()
        self._note()

    def answer(self, refusal: str) -> None:
        """The try was refused in a way that ended its transaction."""
        self.bisection = self.bisection.answered(refusal)
        self._note()

    def _note(self) -> None:
        self.journal.note_bisection(self.batch.id, self.bisection.as_json())


def begun(batch: WaitingBatch, rows: pa.Table) -> Bisection:
    """Where the search goes on; anew when it was given up, or was in other rows."""
    bisection = noted(batch)
    if bisection is None or bisection.phase is Phase.GIVEN_UP or bisection.rows != rows.num_rows:
        only_deletes = bool(pc.all(rows.column(DELETED)).as_py())
        return Bisection(rows=rows.num_rows, only_deletes=only_deletes)
    return bisection
