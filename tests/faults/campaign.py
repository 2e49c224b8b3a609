"""A fault campaign: writers write, faults come by the schedule, everything heals, and the oracle judges."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
import redis

from tests.faults.kind import Kind, NotNowError
from tests.faults.kinds import kinds_of
from tests.faults.plan import Fault, planned
from tests.faults.settling import settle
from tests.faults.site import Site, opened
from tests.faults.verdict import Verdict, examine
from tests.faults.writers import Writers

AGAIN_S: Final = 0.5
"""A fault that cannot begin or end right now is tried again after this time."""
TRIES: Final = 120
REJECTED: Final = "SELECT code, reason, key FROM rejected_row WHERE state = 'open'"
SUPERVISE_EVERY_S: Final = 0.25

PASSING: Final = (NotNowError, psycopg.Error, redis.RedisError, AssertionError, RuntimeError, OSError)
"""What a fault may meet because of another one."""


@dataclass(slots=True)
class Report:
    """What happened in a campaign, and how it ended."""

    seed: int
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    verdict: Verdict | None = None

    @property
    def number(self) -> int:
        return self.faults.total()

    @property
    def types(self) -> int:
        return len({kind for kind, _ in self.faults})

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.number} faults of {self.types} types"]
        for kind in sorted({kind for kind, _ in self.faults}):
            targets = {target: number for (name, target), number in self.faults.items() if name == kind}
            named = ", ".join(f"{target} {number}" for target, number in sorted(targets.items()) if target)
            lines.append(f"  {sum(targets.values()):4} {kind}" + (f" ({named})" if named else ""))
        lines += [f"  left out: {what}" for what in self.left_out]
        lines += self.notes
        lines += [f"bug: {line}" for line in self.bugs]
        return "\n".join([*lines, str(self.verdict)])


def campaign(
    directory: Path,
    *,
    seed: int,
    seconds: float,
    faults: int,
    longest_transaction_s: float,
    say: Callable[[str], None],
) -> Report:
    """Run one in the directory, on servers of its own; `say` is told of each fault as it comes."""
    report = Report(seed)
    with opened(directory) as site:
        kinds = kinds_of(disk=site.disk is not None, clock=site.clock is not None)
        if site.disk is None:
            report.left_out.append("a full disk: mounting a small one needs root on Linux")
        if site.clock is None:
            report.left_out.append("steps of the clock: libfaketime is not installed")
        schedule = planned([k.plan for k in kinds], seed=seed, seconds=seconds, faults=faults)
        writers = Writers(site.shop_url, seed, longest_transaction_s)
        began = time.monotonic()
        with writers.running():
            _Storm(site, writers, {k.plan.name: k for k in kinds}, report, say).blow(schedule, seconds)
        report.notes.append(f"faults for {time.monotonic() - began:.0f} s; {_written(writers)}")
        _end(site, report)
        report.verdict = examine(site.shop_url, site.store_urls)
        report.bugs += _disagreement(site, report.verdict)
        report.bugs += [f"{n} exited with {code}" for n, code in site.fleet.stop_all().items() if code]
        report.bugs += site.fleet.bugs()
        report.bugs += [f"rejected: {row}" for row in site.project.control(REJECTED)]
        report.notes.append(_told(site))
    return report


@dataclass(frozen=True, slots=True, order=True)
class _Deed:
    """A fault that is to begin or end at a time, in the order of times."""

    at: float
    number: int
    fault: Fault = field(compare=False)
    begins: bool = field(compare=False)
    tries: int = field(compare=False, default=0)


@dataclass(slots=True)
class _Storm:
    """Faults begin and end in the order of their times, whatever the others do.

    What an operator does takes its time while links and servers are down: it is done aside, one thing after
    the other, so that these are mended meanwhile.
    """

    site: Site
    writers: Writers
    kinds: dict[str, Kind]
    report: Report
    say: Callable[[str], None]
    _queue: list[_Deed] = field(default_factory=list)
    _aside: list[tuple[_Deed, Future[None]]] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    _number: count[int] = field(default_factory=count)

    def blow(self, schedule: Sequence[Fault], seconds: float) -> None:
        """All faults have begun and ended, but for those that never could, and everything runs."""
        began = time.monotonic()
        for fault in schedule:
            self._put(fault, at=began + fault.at_s, begins=True)
        with ThreadPoolExecutor(1, thread_name_prefix="operator") as operator:
            while self._queue or self._aside or time.monotonic() < began + seconds:
                self.site.fleet.supervise()
                self._look_aside()
                wait_s = (self._queue[0].at if self._queue else began + seconds) - time.monotonic()
                if wait_s > 0 or not self._queue:
                    time.sleep(min(max(wait_s, 0.02), SUPERVISE_EVERY_S))
                    continue
                self._take_up(heapq.heappop(self._queue), operator)
        self.site.heal()

    def _put(self, fault: Fault, *, at: float, begins: bool, tries: int = 0) -> None:
        heapq.heappush(self._queue, _Deed(at, next(self._number), fault, begins, tries))

    def _take_up(self, deed: _Deed, operator: ThreadPoolExecutor) -> None:
        """The deed is done, or is being done aside, or comes again later."""
        kind = self.kinds[deed.fault.kind]
        thing = kind.plan.thing(deed.fault.target)
        if deed.begins and thing in self._taken:  # what came before is late
            self._not_now(deed, NotNowError(f"{thing} is not mended yet"))
            return
        self._taken.add(thing)
        act = kind.begin if deed.begins else kind.end
        if kind.by_operator:
            self._aside.append((deed, operator.submit(act, self.site, self.writers, deed.fault)))
            return
        try:
            act(self.site, self.writers, deed.fault)
        except PASSING as error:
            self._failed(deed, error)
        else:
            self._done(deed)

    def _look_aside(self) -> None:
        for deed, future in [*self._aside]:
            if not future.done():
                continue
            self._aside.remove((deed, future))
            error = future.exception()
            if error is None:
                self._done(deed)
            elif isinstance(error, PASSING):
                self._failed(deed, error)
            else:
                raise error

    def _done(self, deed: _Deed) -> None:
        fault = deed.fault
        if not deed.begins:
            self._taken.discard(self.kinds[fault.kind].plan.thing(fault.target))
            return
        self.report.faults[fault.kind, fault.target] += 1
        self.say(f"{fault.at_s:6.1f} {fault.kind} {fault.target}")
        self._put(fault, at=time.monotonic() + fault.lasts_s, begins=False)

    def _failed(self, deed: _Deed, error: BaseException) -> None:
        if deed.begins:
            self._taken.discard(self.kinds[deed.fault.kind].plan.thing(deed.fault.target))
        self._not_now(deed, error)

    def _not_now(self, deed: _Deed, error: BaseException) -> None:
        """It is tried again, but not for ever; what has begun must end."""
        fault, why = deed.fault, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:150]}"
        if deed.tries < TRIES:
            if not deed.tries:
                self.say(f"       not now: {fault.kind}: {why}")
            self._put(fault, at=time.monotonic() + AGAIN_S, begins=deed.begins, tries=deed.tries + 1)
        elif deed.begins:
            self.report.left_out.append(f"{fault.kind} {fault.target}, which could not begin: {why}")
        else:
            raise error


def _end(site: Site, report: Report) -> None:
    """Nothing fails any more, and nothing is left to be done."""
    began = time.monotonic()
    site.heal()
    site.project.headrace("apply")
    settle(site.project, site.fleet)
    report.notes.append(f"healed, reconciled and quiet after {time.monotonic() - began:.0f} s")


def _disagreement(site: Site, verdict: Verdict) -> list[str]:
    """`headrace verify` compares records with sources too: it must say what the oracle says."""
    try:
        site.project.headrace("verify", exit_code=0 if verdict.clean else 1)
    except AssertionError as error:
        return [str(error)]
    return []


def _written(writers: Writers) -> str:
    done, refused = writers.done, writers.refused
    told = {
        what: sum(number for name, number in done.items() if what in name)
        for what in ("long transaction", "prepared transaction", "timestamp", "key", "customer", "strangely")
    }
    return (
        f"{done.total()} changes ({', '.join(f'{number} {what}' for what, number in told.items())}),"
        f" {refused.total()} refused by the source ({dict(refused)})"
    )


def _told(site: Site) -> str:
    ended = Counter(f"{name} with {code}" for name, code in site.fleet.ended)
    runs = dict(site.project.control("SELECT state, count(*) FROM run GROUP BY 1 ORDER BY 1"))
    (begun_anew,) = site.project.control("SELECT count(*) FROM feed_log WHERE reason IS NOT NULL")[0]
    return (
        f"{site.project.journalled_batches()} batches, runs {runs}, leases lost"
        f" {site.fleet.count_logged('lease lost')}, logs begun anew {begun_anew};"
        f" ended by themselves and started again: {dict(ended)}"
    )
