"""Which rows of a batch a store refuses: what to try next, and what the answer means.

A row that is refused alone may go in with others (a discount with the purchase it belongs to), and rows
that go in alone may be refused together (a sum that overflows). So rows are first looked for alone,
which is cheap, then in the company of all others, and what was found is tried once more with them. The
rows that are left out in the end are such that the others go in, and none of those that were refused
goes in with them.

Whoever tries may die of a row: a try is noted before it is made, and one that was never answered counts
as refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

MOST_REJECTED: Final = 1_000
"""More rows than this of one batch are not set aside: it waits for a person."""
MOST_OF_ALL: Final = 20
"""A batch of more rows than this that are refused one and all waits too: the cause is not in its rows. Not so
where all of them are deletes: whoever keeps what was once written keeps it from each of them."""
MOST_AGAIN: Final = 100
"""More refused rows than this are not tried again with all others, which takes a try of the whole batch
each: of so many, some may be set aside that a replay puts in."""
DEATHS: Final = 3
"""Whoever tries must have died so often of what cannot be parted; what can be is parted at once."""
REASON_CHARACTERS: Final = 300


class Phase(StrEnum):
    """How far the search is, in order."""

    NOTHING = "nothing"
    """Without any row: what is refused then is not refused for the rows."""
    ALONE = "alone"
    """Parts of the batch, each alone."""
    WHOLE = "whole"
    """All but what was found."""
    TOGETHER = "together"
    """Each part after all that is before it: rows are refused only together."""
    AGAIN = "again"
    """Each row that was found, with all others: they may have lacked one another."""
    FOUND = "found"
    """All but what was found goes in: it is to be applied."""
    GIVEN_UP = "given_up"
    """It cannot be taken apart; `why` says why."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is left out: its place in the batch, and why. `killed`: whoever applied it died."""

    row: int
    reason: str
    killed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection:
    """The state of one search, kept between tries.

    Attributes:
        rows: how many the batch has.
        only_deletes: they are deletes, all of them.
        refused: what was found, in order of the rows.
        parts: what is still to be tried in this phase, the next one first: from, to (exclusive).
        before: how many were found when they began to be tried again.
        unanswered: tries of the next part that were begun and never answered.
        attempts: of the batch, when the search was given up.
        why: why it was given up, for a person.
    """

    rows: int
    only_deletes: bool = False
    phase: Phase = Phase.NOTHING
    refused: tuple[Refused, ...] = ()
    parts: tuple[tuple[int, int], ...] = ()
    before: int = 0
    unanswered: int = 0
    attempts: int = 0
    why: str = ""

    @property
    def ended(self) -> bool:
        return self.phase in {Phase.FOUND, Phase.GIVEN_UP}

    @property
    def applied_rows(self) -> list[int]:
        """All but what was found."""
        return list(self._without(range(self.rows)))

    def tried_rows(self) -> list[int]:
        """The rows that the next try applies, ascending."""
        if self.phase is Phase.NOTHING:
            return []
        if self.phase in {Phase.WHOLE, Phase.FOUND}:
            return self.applied_rows
        first, end = self.parts[0]
        if self.phase is Phase.AGAIN:
            return sorted([*self.applied_rows, first])
        return list(self._without(range(0 if self.phase is Phase.TOGETHER else first, end)))

    def _without(self, rows: range) -> Iterator[int]:
        left_out = {refused.row for refused in self.refused}
        return (row for row in rows if row not in left_out)

    def begun(self) -> Bisection:
        """A try is about to be made."""
        return replace(self, unanswered=self.unanswered + 1)

    def taken_back(self) -> Bisection:
        """The try ended without an answer, and not for its rows."""
        return replace(self, unanswered=max(self.unanswered - 1, 0))

    def resumed(self) -> Bisection:
        """Who tried last may have died of it."""
        allowed = 1 if self._can_be_parted else DEATHS
        if self.phase is Phase.GIVEN_UP or self.unanswered < allowed:
            return self
        return self._refused("whoever applied it died", killed=True)

    def answered(self, refusal: str | None) -> Bisection:
        """After the try, which was refused for this reason, or not."""
        return self._accepted() if refusal is None else self._refused(refusal, killed=False)

    def given_up(self, why: str, *, attempts: int = 0) -> Bisection:
        return Bisection(rows=self.rows, phase=Phase.GIVEN_UP, why=why, attempts=attempts)

    @property
    def _can_be_parted(self) -> bool:
        if self.phase in {Phase.ALONE, Phase.TOGETHER}:
            first, end = self.parts[0]
            return end - first > 1
        return self.phase is Phase.WHOLE

    def _accepted(self) -> Bisection:
        match self.phase:
            case Phase.NOTHING:
                return self._looking(Phase.ALONE)
            case Phase.WHOLE:
                return self.trying_again()
            case Phase.AGAIN:
                first, _ = self.parts[0]
                kept = tuple(r for r in self.refused if r.row != first)
                return replace(self, refused=kept).after(self.parts[1:])
            case _:
                return self.after(self.parts[1:])

    def _refused(self, reason: str, *, killed: bool) -> Bisection:
        match self.phase:
            case Phase.NOTHING:
                return self.given_up(f"refused even without its rows: {reason}")
            case Phase.WHOLE:
                return self._looking(Phase.TOGETHER)
            case Phase.AGAIN:
                return self.after(self.parts[1:])
            case Phase.FOUND:
                return self.given_up(f"refused without its {len(self.refused)} refused rows: {reason}")
        first, end = self.parts[0]
        if end - first > 1:
            return self.after((*_halves(first, end), *self.parts[1:]))
        found = {r.row: r for r in self.refused} | {first: Refused(first, _short(reason), killed)}
        refused = tuple(found[row] for row in sorted(found))
        if len(refused) > MOST_REJECTED:
            return self.given_up(f"more than {MOST_REJECTED:,} of its rows are refused; one: {reason}")
        return replace(self, refused=refused).after(self.parts[1:])

    def after(self, parts: tuple[tuple[int, int], ...]) -> Bisection:
        """These parts are left of the phase; when there are none, the next phase."""
        going = replace(self, parts=parts, unanswered=0)
        if parts:
            return going
        match self.phase:
            case Phase.ALONE if len(self.refused) == self.rows > MOST_OF_ALL and not self.only_deletes:
                reason = self.refused[0].reason
                return self.given_up(f"each of its {self.rows} rows is refused; the first: {reason}")
            case Phase.ALONE:
                return replace(going, phase=Phase.WHOLE)
            case Phase.TOGETHER:
                return going.trying_again()
            case Phase.AGAIN if len(self.refused) < self.before and len(self.refused) <= MOST_OF_ALL:
                return going.trying_again()  # what was lacking may be there now
            case _:
                return replace(going, phase=Phase.FOUND)

    def _looking(self, phase: Phase) -> Bisection:
        """For parts that are refused. The whole batch is known to be."""
        return replace(self, phase=phase).after(_halves(0, self.rows))

    def trying_again(self) -> Bisection:
        """Everything but what was found goes in. What killed is not tried again."""
        parts = tuple((r.row, r.row + 1) for r in self.refused if not r.killed)
        done = self.rows == 1 or len(parts) > MOST_AGAIN  # the only row was tried so already
        trying = replace(self, phase=Phase.AGAIN, before=len(self.refused))
        return trying.after(() if done else parts)

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads; each reason once, for it is written at each try."""
        reasons = list(dict.fromkeys(r.reason for r in self.refused))
        places = {reason: place for place, reason in enumerate(reasons)}
        return {
            "rows": self.rows,
            "only_deletes": self.only_deletes,
            "phase": self.phase.value,
            "refused": [[r.row, places[r.reason], r.killed] for r in self.refused],
            "reasons": reasons,
            "parts": [list(part) for part in self.parts],
            "before": self.before,
            "unanswered": self.unanswered,
            "attempts": self.attempts,
            "why": self.why,
        }


def from_json(value: Mapping[str, Any]) -> Bisection:
    return Bisection(
        rows=value["rows"],
        only_deletes=value["only_deletes"],
        phase=Phase(value["phase"]),
        refused=tuple(
            Refused(row, value["reasons"][place], killed) for row, place, killed in value["refused"]
        ),
        parts=tuple((first, end) for first, end in value["parts"]),
        before=value["before"],
        unanswered=value["unanswered"],
        attempts=value["attempts"],
        why=value["why"],
    )


def _halves(first: int, end: int) -> tuple[tuple[int, int], ...]:
    middle = (first + end + 1) // 2
    return tuple(part for part in ((first, middle), (middle, end)) if part[0] < part[1])


def _short(reason: str) -> str:
    return reason if len(reason) <= REASON_CHARACTERS else reason[: REASON_CHARACTERS - 1] + "…"
