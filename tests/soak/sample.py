"""What is measured, and the moments at which something was restarted: plain values, kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a process holds at a moment.

    Attributes:
        pid: another number is another process of that name.
        postgres, redis: its connections to each server.
        ran_s, waited_s: on a CPU, and for one, by all its threads since they began.
    """

    pid: int
    rss_mib: float
    fds: int
    threads: int
    postgres: int
    redis: int
    ran_s: float = 0.0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All processes at a moment.

    Attributes:
        at_s: since the beginning.
        processes: by name; one that is just being started is absent.
        lag_s: age of the oldest change that no record shows yet, by feed; 0 where all are shown.
        strangers: connections of the two servers that belong to no living process of ours; None while one of
            them does not answer.
    """

    at_s: float
    processes: Mapping[str, Footprint]
    lag_s: Mapping[str, float]
    strangers: int | None

    @property
    def worst_lag_s(self) -> float:
        return max(self.lag_s.values(), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The process or server ended at `at_s` in this way, and was started at once."""

    at_s: float
    target: str
    how: str
