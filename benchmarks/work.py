"""What a work is: how much is done, by whom in turn, and what is to be reached."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outcome import Result


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is done.

    Attributes:
        count: rows, unless the work says otherwise (feeds, customers).
        seconds: how long a part lasts that has no other end.
    """

    count: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a work.

    Attributes:
        rounds: the numbers of those that are still to be done.
        directory: empty, for files.
        announce: tells a person what goes on.
    """

    extent: Extent
    rounds: range
    directory: Path
    announce: Callable[[str], None]


Measure = Callable[[Task], Iterator[Result]]
"""Yields each result as it is there: what was measured before a crash is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a figure of Headrace is to be: at most, or at least, a limit.

    Attributes:
        what: for a person.
        beside: the limit is of the ratio to this one's figure in the same round; None: of the figure itself.
        unit: of the figure, for a person.
        of: the one whose figure it is.
    """

    what: str
    figure: str = "wall_s"
    of: str = "headrace"
    beside: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def limit(self) -> str:
        bound, number = ("at most", self.at_most) if self.at_least is None else ("at least", self.at_least)
        return f"{bound} {number:g}{self.unit or ' x'}"

    def is_met_by(self, value: float) -> bool:
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One line of `python -m benchmarks --work`.

    Attributes:
        title: for a person.
        place: `module:function` of its `Measure`, imported only when it is measured: a child process
            inherits this process's peak of memory.
        full: what targets are about.
        small: a smoke run, which says nothing about speed.
        rounds: how many are worth their time; None: as many as are asked for.
        suite: what it belongs to: `bench` (the targets), `peers`, or `growth` (plots).
    """

    name: str
    title: str
    place: str
    full: Extent
    small: Extent
    targets: tuple[Target, ...] = ()
    rounds: int | None = None
    suite: str = "bench"

    def measure(self, task: Task) -> Iterator[Result]:
        function: Measure = pkgutil.resolve_name(self.place)
        return function(task)
