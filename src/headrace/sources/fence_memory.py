"""What a database showed of its transactions, the fence that follows, and what one fence tells the next."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from headrace.domain.clock_step import ClockSight
from headrace.sources.fence_look import Look

_MAX_EPOCHS: Final = 64


@dataclass(frozen=True, slots=True)
class Epoch:
    """A moment and the transactions that were running then and have not been seen ended since."""

    at: datetime
    running: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one fence tells the next.

    Attributes:
        fence: the last fence, before the margin; None: it closed nothing.
        prepared: the prepared transactions seen, each with the fence that it holds (None: the lowest), and
            those that ran at the first look of a server that needs two.
        epochs: oldest first; only of roles that cannot see when other transactions began.
        look: the last one, of a server that needs two to tell when transactions began.
        clock: the database's clock when all this was seen.
    """

    fence: datetime | None = None
    prepared: Mapping[str, datetime | None] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    look: Look | None = None
    clock: ClockSight | None = None

    def set_back(self, by: timedelta) -> Memory:
        """The same in the terms of a clock that was set back: who began after a remembered moment may show
        an earlier time."""
        if not by:
            return self
        return replace(
            self,
            fence=self.fence and self.fence - by,
            prepared={name: at and at - by for name, at in self.prepared.items()},
            epochs=tuple(Epoch(epoch.at - by, epoch.running) for epoch in self.epochs),
            look=self.look and self.look.set_back(by),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was seen of transactions at `at`.

    Attributes:
        oldest: when the oldest began, `at` if none runs; None: that cannot be seen.
        running, prepared: their names.
    """

    at: datetime
    oldest: datetime | None
    running: frozenset[str]
    prepared: frozenset[str]


def decide_fence(seen: Sighting, memory: Memory) -> Memory:
    """The next memory; its `fence` is the time below which nothing can commit any more (None: unknown).

    A prepared transaction seen for the first time was either running at the last fence, which then did not
    pass its start, or began after it: so the last fence holds for it. Without a last fence all are held.
    Where starts cannot be seen any more, and no epoch has ended yet, what the last fence closed stays closed.
    """
    prepared = {name: memory.prepared.get(name, memory.fence) for name in seen.prepared}
    epochs: tuple[Epoch, ...] = ()
    fence = seen.oldest
    if fence is None:
        fence, epochs = _newest_ended(Epoch(seen.at, seen.running), memory.epochs)
        fence = fence or memory.fence
    holds = [fence, *prepared.values()]
    known = [hold for hold in holds if hold is not None]
    return Memory(fence=min(known) if len(known) == len(holds) else None, prepared=prepared, epochs=epochs)


def _newest_ended(current: Epoch, earlier: Collection[Epoch]) -> tuple[datetime | None, tuple[Epoch, ...]]:
    """The newest epoch all of whose transactions have ended (None: none yet), and those worth keeping."""
    epochs = [*(Epoch(e.at, e.running & current.running) for e in earlier), current]
    ended = [at for at, epoch in enumerate(epochs) if not epoch.running]
    kept = epochs[ended[-1] :] if ended else epochs
    while len(kept) > _MAX_EPOCHS:  # thin the middle: a lost epoch only makes the fence older
        kept = [*kept[:-1:2], kept[-1]]
    return (kept[0].at if ended else None), tuple(kept)


def read_memory(state: str | None) -> Memory:
    """The memory that `write_memory` wrote; an empty one for None or "{}"."""
    kept = json.loads(state or "{}")
    return Memory(
        fence=_time(kept.get("fence")),
        prepared={name: _time(at) for name, at in kept.get("prepared", {}).items()},
        epochs=_epochs(kept.get("epochs", []), kept.get("running", {})),
        look=Look.from_json(kept["look"]) if "look" in kept else None,
        clock=ClockSight.from_json(kept["clock"]) if "clock" in kept else None,
    )


def write_memory(memory: Memory) -> str:
    kept: dict[str, Any] = {"fence": memory.fence.isoformat() if memory.fence else None}
    if memory.prepared:
        held = sorted(memory.prepared.items())
        kept["prepared"] = {name: at.isoformat() if at else None for name, at in held}
    if memory.epochs:
        kept["epochs"] = [epoch.at.isoformat() for epoch in memory.epochs]
        kept["running"] = _first_seen(memory.epochs)
    if memory.look is not None:
        kept["look"] = memory.look.as_json()
    if memory.clock is not None:
        kept["clock"] = memory.clock.as_json()
    return json.dumps(kept, separators=(",", ":"))


def _first_seen(epochs: tuple[Epoch, ...]) -> dict[str, str]:
    """By the number of the epoch that they were first seen at, the transactions that have not ended: whoever
    runs since an epoch has run at all later ones, so that each need be kept only once."""
    known: set[str] = set()
    first: dict[str, str] = {}
    for number, epoch in enumerate(epochs):
        if new := epoch.running - known:
            first[str(number)] = " ".join(sorted(new))
            known |= new
    return first


def _epochs(moments: list[str], first_seen: Mapping[str, str]) -> tuple[Epoch, ...]:
    running: frozenset[str] = frozenset()
    epochs = []
    for number, moment in enumerate(moments):
        running |= frozenset(first_seen.get(str(number), "").split())
        epochs.append(Epoch(datetime.fromisoformat(moment), running))
    return tuple(epochs)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
