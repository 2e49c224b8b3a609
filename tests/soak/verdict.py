"""Whether a soak was good: a pure function of its samples and of how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median, quantiles
from typing import Final

from tests.soak.sample import Footprint, Restart, Sample

BACK_BELOW_S: Final = 2.0
BACK_WITHIN_S: Final = 30.0
CALM_S: Final = 3.0
"""The lag is back when it stays below for so long."""
FLAT_WITHIN: Final = 0.05
SLACK: Final = 1
"""Connections or descriptors that the last third may have beyond the most of the middle one."""
FEWEST: Final = 12
"""Samples of a life in which growth can be told."""
GONE_WITHIN_S: Final = 5.0
"""For so long a connection may belong to nobody: a server notices the death of its client."""
STARVED_FROM: Final = 2 / 3
"""From this share of waiting on, work takes three times as long as it would: that tells nothing."""
HELD: Final = ("postgres", "redis", "fds", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a restart did to the lag.

    Attributes:
        worst_s: the lag at most until the next restart.
        after_s: until it was back; 0 where it never was above, None where it did not come back in time.
        waiting: see `waiting`; of the time until it should have been back.
    """

    restart: Restart
    worst_s: float
    after_s: float | None
    waiting: float = 0.0

    @property
    def starved(self) -> bool:
        """It is not back, and cannot be blamed for it."""
        return self.after_s is None and self.waiting >= STARVED_FROM

    def __str__(self) -> str:
        back = "not back in time" if self.after_s is None else f"back after {self.after_s:.1f} s"
        starved = " (starved of CPU: not judged)" if self.starved else ""
        return (
            f"{self.restart.at_s:7.1f} {self.restart.target} {self.restart.how}: lag at most"
            f" {self.worst_s:.1f} s, {back}; {self.waiting:.0%} of its work waited for a CPU{starved}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of a process since its last start and what it takes to settle: medians of two thirds of that time."""

    middle_mib: float
    last_mib: float

    @property
    def growth(self) -> float:
        return self.last_mib / self.middle_mib - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How it ended.

    Attributes:
        differences: between the records and the oracle, or the copy that a consumer kept by events.
        events: that data sources made; `lost`: of them, those that never came; `duplicates`: that came again.
        trouble: anything else that must not be.
    """

    records: int = 0
    differences: Sequence[str] = ()
    events: int = 0
    lost: int = 0
    duplicates: int = 0
    trouble: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`faults` is empty where all is as promised.

    Attributes:
        calm_lag_s: median, 99th percentile and most of the worst lag of each sample, later than 30 s after
            restarts or once the lag was back.
        memory: by process, of those that lived long enough.
    """

    recoveries: Sequence[Recovery]
    calm_lag_s: tuple[float, float, float]
    memory: dict[str, Memory]
    end: End
    faults: Sequence[str] = field(default_factory=tuple)

    def __str__(self) -> str:
        lines = [str(recovery) for recovery in self.recoveries]
        lines.append("lag otherwise: median {:.2f} s, 99 % {:.2f} s, most {:.2f} s".format(*self.calm_lag_s))
        lines += [
            f"memory of {name}: {m.middle_mib:.1f} MiB, then {m.last_mib:.1f} MiB ({m.growth:+.1%})"
            for name, m in sorted(self.memory.items())
        ]
        lines.append(
            f"{self.end.records} records equal to the oracle but for {len(self.end.differences)};"
            f" {self.end.events} events, {self.end.lost} lost, {self.end.duplicates} came twice"
        )
        return "\n".join([*lines, *(f"FAULT: {fault}" for fault in self.faults)])


def judge(
    samples: Sequence[Sample], restarts: Sequence[Restart], end: End, *, settled_s: float, memory: bool
) -> Verdict:
    """The verdict on a soak.

    Args:
        settled_s: after its start a process holds what it holds; its growth is judged from then on.
        memory: whether memory must be flat.
    """
    recoveries = [recovery(samples, restart, _next(restarts, restart)) for restart in restarts]
    lives = {name: life(samples, name, settled_s=settled_s) for name in _names(samples)}
    grown = {name: Memory(**_thirds(held)) for name, held in lives.items() if len(held) >= FEWEST}
    faults = [
        *(f"lag not back within {BACK_WITHIN_S:.0f} s: {r}" for r in recoveries if _is_late(r)),
        *(fault for name, held in lives.items() for fault in _growth(name, held)),
        *_orphans(samples, restarts),
        *_not_flat(grown, lives, memory=memory),
        *_of_end(end),
    ]  # fmt: skip
    return Verdict(
        recoveries=recoveries,
        calm_lag_s=_calm_lag(samples, recoveries),
        memory=grown,
        end=end,
        faults=faults,
    )


def recovery(samples: Sequence[Sample], restart: Restart, until_s: float) -> Recovery:
    """What came of a restart in the time until the next one."""
    during = [s for s in samples if restart.at_s <= s.at_s < until_s]
    late = [s.at_s for s in during if s.worst_lag_s >= BACK_BELOW_S]
    worst_s = max((s.worst_lag_s for s in during), default=0.0)
    after_s: float | None = 0.0 if not late else None
    for sample in during if late else ():
        if sample.at_s > late[0] and not any(sample.at_s <= at <= sample.at_s + CALM_S for at in late):
            after_s = sample.at_s - restart.at_s
            break
    in_time = after_s is not None and after_s <= BACK_WITHIN_S
    return Recovery(
        restart=restart,
        worst_s=worst_s,
        after_s=after_s if in_time else None,
        waiting=waiting([s for s in during if s.at_s <= restart.at_s + BACK_WITHIN_S]),
    )


def waiting(samples: Sequence[Sample]) -> float:
    """The part of the time in which processes could have worked that they waited for a CPU."""
    ran_s = waited_s = 0.0
    for before, after in pairwise(samples):
        for name, now in after.processes.items():
            then = before.processes.get(name)
            if then is not None and then.pid == now.pid:
                # What a thread had that has ended is missing.
                ran_s += max(0.0, now.ran_s - then.ran_s)
                waited_s += max(0.0, now.waited_s - then.waited_s)
    return waited_s / (ran_s + waited_s) if ran_s + waited_s else 0.0


def _is_late(recovery: Recovery) -> bool:
    return recovery.after_s is None and not recovery.starved


def life(samples: Sequence[Sample], name: str, *, settled_s: float) -> list[Footprint]:
    """What the last process of this name held, once it had settled."""
    of_name = [(s.at_s, s.processes[name]) for s in samples if name in s.processes]
    pid = of_name[-1][1].pid
    began_s = next(at_s for at_s, footprint in of_name if footprint.pid == pid)
    return [f for at_s, f in of_name if f.pid == pid and at_s >= began_s + settled_s]


def _names(samples: Sequence[Sample]) -> list[str]:
    return sorted({name for sample in samples for name in sample.processes})


def _next(restarts: Sequence[Restart], restart: Restart) -> float:
    return min((other.at_s for other in restarts if other.at_s > restart.at_s), default=float("inf"))


def _thirds(held: Sequence[Footprint]) -> dict[str, float]:
    third = len(held) // 3
    return {
        "middle_mib": median(f.rss_mib for f in held[third : 2 * third]),
        "last_mib": median(f.rss_mib for f in held[2 * third :]),
    }


def _growth(name: str, held: Sequence[Footprint]) -> list[str]:
    """What a process holds more and more of."""
    if len(held) < FEWEST:
        return []
    third = len(held) // 3
    found = []
    for what in HELD:
        most = max(getattr(f, what) for f in held[third : 2 * third])
        last = median(getattr(f, what) for f in held[2 * third :])
        if last > most + SLACK:
            found.append(f"{name} leaks {what}: at most {most} in the middle third, then {last:g}")
    return found


def _orphans(samples: Sequence[Sample], restarts: Sequence[Restart]) -> list[str]:
    """Connections that belong to nobody, before the next restart and at the end."""
    moments = [*[r.at_s for r in restarts][1:], float("inf")]
    found = []
    for moment in moments:
        before = [s for s in samples if s.at_s < moment and s.strangers is not None]
        last = [s.strangers for s in before if s.at_s >= before[-1].at_s - GONE_WITHIN_S]
        least = min((number for number in last if number is not None), default=0)
        if least:
            found.append(f"{least} connections belong to no process at {before[-1].at_s:.0f} s")
    return found


def _not_flat(grown: dict[str, Memory], lives: dict[str, list[Footprint]], *, memory: bool) -> list[str]:
    if not memory:
        return []
    too_short = [
        f"{name} did not live long enough to tell its memory" for name in lives.keys() - grown.keys()
    ]
    return too_short + [
        f"memory of {name} is not flat: {m.middle_mib:.1f} MiB, then {m.last_mib:.1f} MiB"
        for name, m in grown.items()
        if abs(m.growth) > FLAT_WITHIN
    ]


def _of_end(end: End) -> list[str]:
    faults = list(end.trouble)
    if end.differences:
        faults.append(f"{len(end.differences)} differences at the end, such as {end.differences[0]}")
    if end.lost:
        faults.append(f"{end.lost} of {end.events} events never came")
    return faults


def _calm_lag(samples: Sequence[Sample], recoveries: Sequence[Recovery]) -> tuple[float, float, float]:
    """Of the samples that no restart explains."""
    shaken = [
        (r.restart.at_s, r.restart.at_s + (BACK_WITHIN_S if r.after_s is None else r.after_s))
        for r in recoveries
    ]
    lags = [s.worst_lag_s for s in samples if not any(a <= s.at_s <= b for a, b in shaken)]
    if len(lags) < 2:
        return (0.0, 0.0, 0.0)
    return (median(lags), quantiles(lags, n=100)[98], max(lags))
