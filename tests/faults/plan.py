"""Which fault comes when: a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SLACK_S: Final = 0.5
"""Between the end of a fault and the next on the same thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindPlan:
    """What a schedule knows of a kind of fault.

    Attributes:
        targets: what it can hit.
        lasts_s: how long it stays, at least and at most.
        occupies: the thing that nothing else may hit meanwhile, by target (`{target}` in it).
        weight: how often it comes, beside the others.
    """

    name: str
    targets: tuple[str, ...] = ("",)
    lasts_s: tuple[float, float] = (0.0, 0.0)
    occupies: str = "{target}"
    weight: int = 1

    def thing(self, target: str) -> str:
        return self.occupies.format(target=target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of the schedule. `seed` decides what is random about it."""

    at_s: float
    kind: str
    target: str
    lasts_s: float
    seed: int


def planned(kinds: Sequence[KindPlan], *, seed: int, seconds: float, faults: int) -> tuple[Fault, ...]:
    """So many faults spread over the time, each kind as often as its weight says, in an order of the seed's.

    No two are on the same thing at the same time; where all things that a kind could hit are taken, another
    kind comes first.
    """
    chance = random.Random(seed)
    gap_s = seconds / faults
    taken_until: dict[str, float] = {}
    deck: list[KindPlan] = []
    schedule = []
    for number in range(faults):
        if len(deck) < len(kinds):
            deck += _shuffled(kinds, chance)
        at_s = (number + chance.random()) * gap_s
        drawn = _drawn(deck, taken_until, at_s, chance)
        if drawn is None:
            continue
        kind, target = drawn
        fault = Fault(
            at_s=at_s,
            kind=kind.name,
            target=target,
            lasts_s=chance.uniform(*kind.lasts_s),
            seed=chance.getrandbits(32),
        )
        taken_until[kind.thing(target)] = at_s + fault.lasts_s + SLACK_S
        schedule.append(fault)
    return tuple(schedule)


def _shuffled(kinds: Sequence[KindPlan], chance: random.Random) -> list[KindPlan]:
    deck = [kind for kind in kinds for _ in range(kind.weight)]
    chance.shuffle(deck)
    return deck


def _drawn(
    deck: list[KindPlan], taken_until: dict[str, float], at_s: float, chance: random.Random
) -> tuple[KindPlan, str] | None:
    """The first kind of the deck that can hit something now, taken out of it."""
    for place, kind in enumerate(deck):
        free = [target for target in kind.targets if taken_until.get(kind.thing(target), 0.0) <= at_s]
        if free:
            del deck[place]
            return kind, chance.choice(free)
    return None
