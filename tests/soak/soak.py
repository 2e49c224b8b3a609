"""A soak: everything runs while rows change, each process and server is restarted in turn, and at the end
the records are the oracle's and every event has come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tests.acceptance.project import query
from tests.faults.fleet import bugs_in
from tests.soak import club
from tests.soak.lag import BEAT_EVERY_S
from tests.soak.listener import Listener
from tests.soak.plan import Pace, restarts
from tests.soak.sample import Footprint, Restart, Sample
from tests.soak.sampler import Sampler
from tests.soak.site import Site, opened
from tests.soak.verdict import BACK_BELOW_S, BACK_WITHIN_S, CALM_S, End, Verdict, judge, recovery
from tests.soak.writers import Writers

WARM_LIMIT_S: Final = 120.0
SETTLE_LIMIT_S: Final = 120.0
LOOK_EVERY_S: Final = 0.25
SUPERVISE_EVERY_S: Final = 0.25
REJECTED: Final = "SELECT code, reason, key FROM rejected_row WHERE state = 'open'"
OUTBOX: Final = "SELECT model, seq FROM headrace._outbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """All that is kept of a soak."""

    seed: int
    seconds: float
    changes: Mapping[str, int]
    asked: int
    samples: Sequence[Sample]
    restarts: Sequence[Restart]
    verdict: Verdict

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)))


def restored(told: Mapping[str, Any]) -> tuple[list[Sample], list[Restart]]:
    """Samples and restarts of what `Soaked.write` wrote."""
    samples = [
        Sample(**{**s, "processes": {name: Footprint(**f) for name, f in s["processes"].items()}})
        for s in told["samples"]
    ]
    return samples, [Restart(**r) for r in told["restarts"]]


def soak(
    directory: Path,
    *,
    seed: int,
    seconds: float,
    pace: Pace,
    settings: Mapping[str, str],
    say: Callable[[str], None],
) -> Soaked:
    """Run one in the directory, on servers of its own; `say` is told of each restart as it comes."""
    with opened(directory, settings) as site:
        began = time.monotonic()

        def now_s() -> float:
            return time.monotonic() - began

        sampler = Sampler(
            postgres_url=site.postgres.url,
            redis_url=site.redis.url,
            store_urls=site.store_urls,
            running=site.fleet.pids,
            now_s=now_s,
        )
        writers = Writers(site.clubs_url, seed, sampler.lag, site.asking, now_s)
        with site.listener.listening():
            with sampler.sampling():
                with writers.running():
                    done = _Soak(site, sampler, pace, seconds, now_s, say).run()
                end = _end(site, writers)
            say(f"quiet after {now_s():.0f} s")
        verdict = judge(sampler.samples, done, end, settled_s=pace.settled_s, memory=pace.memory)
        return Soaked(
            seed=seed,
            seconds=seconds,
            changes=dict(sorted(writers.done.items())),
            asked=sum(asking.done for asking in writers.asked),
            samples=sampler.samples,
            restarts=done,
            verdict=verdict,
        )


@dataclass(slots=True)
class _Soak:
    """The time in which things are restarted."""

    site: Site
    sampler: Sampler
    pace: Pace
    seconds: float
    now_s: Callable[[], float]
    say: Callable[[str], None]

    def run(self) -> list[Restart]:
        """What was restarted: all as often as the pace has rounds, and servers until the time is over."""
        done: list[Restart] = []
        names = self.site.fleet.names
        always = self.pace.rounds * (len(names) + 2)
        self._watch(self._is_calm, at_least_s=BEAT_EVERY_S + CALM_S, at_most_s=WARM_LIMIT_S)
        for number, (target, how, gap_s) in enumerate(restarts(names, self.pace)):
            if number >= always and self.now_s() + gap_s > self.seconds - self.pace.quiet_s:
                break
            restart = Restart(at_s=self.now_s(), target=target, how=how)
            self.site.restart(target, how)
            done.append(restart)
            self._watch(self._back_after(restart), at_least_s=gap_s, at_most_s=gap_s + BACK_WITHIN_S)
            self.say(str(recovery(self.sampler.samples, restart, float("inf"))))
        left_s = self.seconds - self.now_s()
        self._watch(
            lambda: True, at_least_s=max(left_s, self.pace.quiet_s), at_most_s=left_s + self.pace.quiet_s
        )
        return done

    def _watch(self, holds: Callable[[], bool], *, at_least_s: float, at_most_s: float) -> None:
        """Supervises for this time, and longer while it does not hold."""
        began_s = self.now_s()
        while (past_s := self.now_s() - began_s) < at_most_s:
            if past_s >= at_least_s and holds():
                return
            self.site.fleet.supervise()
            time.sleep(SUPERVISE_EVERY_S)

    def _is_calm(self) -> bool:
        now_s = self.now_s()
        lately = [s for s in self.sampler.samples if s.at_s > now_s - CALM_S]
        return len(lately) >= 2 and all(s.worst_lag_s < BACK_BELOW_S for s in lately)

    def _back_after(self, restart: Restart) -> Callable[[], bool]:
        return lambda: (
            self.now_s() > restart.at_s + BACK_WITHIN_S
            or (self._is_calm() and recovery(self.sampler.samples, restart, float("inf")).after_s is not None)
        )


def _end(site: Site, writers: Writers) -> End:
    """Nothing changes any more: what is different when all had time enough is different for good."""
    with closing(site.asking()) as asking:
        for table, keys in writers.deleted.items():
            asking.post(table)
            if keys:
                asking.post(table, {"keys": [[key] for key in sorted(keys)]})
    deadline = time.monotonic() + SETTLE_LIMIT_S
    expected = club.expected(site.clubs_url)
    while True:
        site.fleet.supervise()
        records = _records(site)
        made = _events(site)
        differences = [*_differences(expected, records), *_copied(records, site.listener)]
        lost = len(made - site.listener.told)
        if not (differences or lost) or time.monotonic() > deadline:
            break
        time.sleep(LOOK_EVERY_S)
    rejected = [f"rejected: {row}" for row in site.commands.control(REJECTED)]
    site.fleet.stop()
    return End(
        records=len(expected),
        differences=differences,
        events=len(made),
        lost=lost,
        duplicates=site.listener.duplicates,
        trouble=[
            *site.fleet.trouble,
            *(f"out of order: {line}" for line in site.listener.disorder),
            *rejected,
            *bugs_in(site.commands.root),
        ],
    )


def _records(site: Site) -> club.Found:
    found: club.Found = {}
    for name, url in site.store_urls.items():
        found |= club.records(name, url)
    return found


def _events(site: Site) -> set[tuple[str, str, int]]:
    """Data source, model and number of each event that was made."""
    return {(name, *row) for name, url in site.store_urls.items() for row in query(url, OUTBOX)}


def _differences(expected: club.Found, records: club.Found) -> list[str]:
    return [
        f"{place}: {records.get(place)}, should be {expected.get(place)}"
        for place in sorted(expected.keys() | records.keys())
        if expected.get(place) != records.get(place)
    ]


def _copied(records: club.Found, listener: Listener) -> list[str]:
    """How the copy that was kept by events differs from the records."""
    kept = {
        (model.removeprefix("club_"), customer, key): tuple(
            Decimal(record[name]) if name == "spent" else record[name] for name in club.PROPERTIES
        )
        for (model, customer, key), record in list(listener.copy.items())
    }
    there = {place[1:]: values for place, values in records.items()}
    return [
        f"the copy has {kept.get(place)} of {place}, which is {there.get(place)}"
        for place in sorted(kept.keys() | there.keys())
        if kept.get(place) != there.get(place)
    ]
