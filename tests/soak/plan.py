"""What is restarted, in which order: every process and both servers in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

SERVERS: Final = ("redis", "postgres")
GENTLY: Final = "SIGTERM"
BY_FORCE: Final = "SIGKILL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a soak goes.

    Attributes:
        gap_s: at least, between two restarts.
        settled_s: after its start a process holds what it holds.
        rounds: of restarts of all processes and servers; afterwards servers alone are restarted, so that
            processes grow old through it.
        server_gap_s: between those.
        quiet_s: undisturbed at the end.
        memory: whether memory is judged: it is still growing to its level in a short one.
    """

    gap_s: float
    settled_s: float
    rounds: int
    server_gap_s: float
    quiet_s: float
    memory: bool


def pace_of(seconds: float) -> Pace:
    """Long enough for old processes from ten minutes on."""
    if seconds < 600:
        return Pace(
            gap_s=8.0, settled_s=8.0, rounds=1, server_gap_s=20.0, quiet_s=seconds * 0.15, memory=False
        )
    return Pace(gap_s=35.0, settled_s=60.0, rounds=2, server_gap_s=120.0, quiet_s=seconds * 0.1, memory=True)


def restarts(processes: Sequence[str], pace: Pace) -> Iterator[tuple[str, str, float]]:
    """What, how, and how long to wait before at least. Never ends.

    Processes take turns in how they end, and each ends in the other way in the next round.
    """
    for round_ in range(pace.rounds):
        for number, target in enumerate((*processes, *SERVERS)):
            yield target, (GENTLY, BY_FORCE)[(number + round_) % 2], pace.gap_s
    round_ = pace.rounds
    while True:
        for number, target in enumerate(SERVERS):
            yield target, (GENTLY, BY_FORCE)[(number + round_) % 2], pace.server_gap_s
        round_ += 1
