"""W1 and W2: the users merged by key into a table, by every contestant in turn, round after round."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks import users
from benchmarks.contestant import Contestant, Copy, NotInstalledError, Wanted, absent, measure
from benchmarks.database import database
from benchmarks.measured import CommandFailedError
from benchmarks.ours import Headrace
from benchmarks.outcome import Result
from benchmarks.peers import PEERS
from benchmarks.reference import Reference
from benchmarks.work import Task

OURS: tuple[Contestant, ...] = (Reference(), Headrace(), Headrace("postgres"))
BESIDE_PEERS: tuple[Contestant, ...] = (Reference(), Headrace(), *PEERS)
GROWTH: tuple[Contestant, ...] = (Reference(), Headrace())
CHANGED_SHARE = 10
"""One row of so many is updated."""


def first_load(task: Task) -> Iterator[Result]:
    """W1: every row into an empty table."""
    yield from _first_load(task, OURS)


def first_load_of_peers(task: Task) -> Iterator[Result]:
    yield from _first_load(task, BESIDE_PEERS)


def changes(task: Task) -> Iterator[Result]:
    """W2: a tenth of the rows, at random, updated in one transaction; all were merged before that."""
    yield from _changes(task, OURS)


def changes_of_peers(task: Task) -> Iterator[Result]:
    yield from _changes(task, BESIDE_PEERS)


def growth(task: Task) -> Iterator[Result]:
    """W1 at a tenth of the rows, at all, and at five times as many."""
    counts = (task.extent.count // 10, task.extent.count, task.extent.count * 5)
    with ExitStack() as stack:
        urls = {count: stack.enter_context(database("source")) for count in counts}
        wanted = {count: _make(task, url, count) for count, url in urls.items()}
        for number in task.rounds:
            for count, url in urls.items():
                for contestant in GROWTH:
                    yield replace(load(task, contestant, url, number, wanted[count]), point=count)


def _make(task: Task, source_url: str, count: int) -> Wanted:
    task.announce(f"making {count:,} users")
    users.make(source_url, count)
    return users.wanted(source_url)


def _first_load(task: Task, contestants: Sequence[Contestant]) -> Iterator[Result]:
    with database("source") as source_url:
        wanted = _make(task, source_url, task.extent.count)
        for number in task.rounds:
            for contestant in contestants:
                yield load(task, contestant, source_url, number, wanted)


def load(task: Task, contestant: Contestant, source_url: str, number: int, wanted: Wanted) -> Result:
    """One first load of one contestant."""
    with tempfile.TemporaryDirectory(dir=task.directory) as directory:
        try:
            with contestant.begin(source_url, Path(directory)) as copy:
                return measure(contestant, copy, number, wanted=wanted)
        except NotInstalledError as error:
            return absent(contestant, number, error)


def _changes(task: Task, contestants: Sequence[Contestant]) -> Iterator[Result]:
    with database("source") as source_url, ExitStack() as stack:
        _make(task, source_url, task.extent.count)
        task.announce("merging them before they change")
        begun = [(one, _begun(stack, task, one, source_url)) for one in contestants]
        for number in task.rounds:
            users.change(source_url, task.extent.count, share=CHANGED_SHARE)
            wanted = users.wanted(source_url)
            for contestant, copy in begun:
                if isinstance(copy, Exception):
                    yield absent(contestant, number, copy)
                else:
                    yield measure(contestant, copy, number, wanted=wanted)


def _begun(
    stack: ExitStack, task: Task, contestant: Contestant, source_url: str
) -> Copy | NotInstalledError | CommandFailedError:
    """It has merged the rows as they are before they change; else why not."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(dir=task.directory))
    try:
        copy = stack.enter_context(contestant.begin(source_url, Path(directory)))
        copy.merge()
    except (NotInstalledError, CommandFailedError) as error:
        return error
    return copy
