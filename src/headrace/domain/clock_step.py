"""How far a source's clock was set back between two polls, by a clock of ours that never is.

A clock that is set back makes rows with cursors below the watermark: whatever was remembered of the
source's time must then go down as far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

TOLERATED: Final = timedelta(milliseconds=250)
"""A clock may fall short by this much, for it is slewed now and then. A fence's margin covers it."""
APART: Final = timedelta(seconds=1)
"""The times of day of two of our machines differ by no more than this, or rows are read again needlessly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSight:
    """The source's clock at a moment between two of ours.

    Attributes:
        at: the source's clock.
        asked_s, answered_s: our steady clock right before and right after.
        boot: steady times of one boot compare with each other, with none of another.
        wall: our time of day when it was answered; it may be set too.
    """

    at: datetime
    asked_s: float
    answered_s: float
    boot: str
    wall: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "asked_s": self.asked_s,
            "answered_s": self.answered_s,
            "boot": self.boot,
            "wall": self.wall.isoformat(),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> ClockSight:
        return cls(
            at=datetime.fromisoformat(kept["at"]),
            asked_s=kept["asked_s"],
            answered_s=kept["answered_s"],
            boot=kept["boot"],
            wall=datetime.fromisoformat(kept["wall"]),
        )


def set_back_by(before: ClockSight | None, now: ClockSight) -> timedelta:
    """How far the clock may have been set back in between; zero when it was not, as far as can be told.

    Within one boot of our machine its steady clock tells. Else our time of day does, a second more or less;
    it may have been set too, but a clock that shows less than it did is known to be set back.
    """
    if before is None:
        return timedelta()
    shown = now.at - before.at
    if before.boot == now.boot:
        least = timedelta(seconds=now.asked_s - before.answered_s)
        most = timedelta(seconds=now.answered_s - before.asked_s)
    else:
        answered = now.wall - before.wall
        least = max(timedelta(), answered - _took(now) - APART)
        most = max(timedelta(), answered + _took(before)) + APART
    return most - shown if least - shown > TOLERATED else timedelta()


def _took(sight: ClockSight) -> timedelta:
    return timedelta(seconds=sight.answered_s - sight.asked_s)
