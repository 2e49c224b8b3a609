"""Our own clock that is never set, to compare with clocks of sources that may be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final
from uuid import uuid4

from headrace.domain.clock_step import ClockSight

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@cache
def this_boot() -> str:
    """What the steady clock counts from, for all processes of this machine; where it does not say, for this
    process alone."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return str(uuid4())


def _wall() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyClock:
    """Seconds that only ever grow, within one boot."""

    seconds: Callable[[], float] = time.monotonic
    wall: Callable[[], datetime] = _wall
    boot: Callable[[], str] = this_boot

    def sight(self, at: datetime, *, asked_s: float) -> ClockSight:
        """The source's clock, asked at `asked_s` of ours, has just answered."""
        return ClockSight(
            at=at, asked_s=asked_s, answered_s=self.seconds(), boot=self.boot(), wall=self.wall()
        )
