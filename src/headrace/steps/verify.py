"""Compare the sources with the stores, record by record and property by property.

Sources change while they are read. So whatever differs is looked at again by its key: what is equal then was
under way. What still differs is looked at once more after its feeds were polled and merged by polls that
began later, and is a difference only when its source did not change meanwhile, and its store is as before.
Where its feeds could not be polled or merged, nobody can tell: it is not judged, which is no success either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from headrace.domain.coercion import canonical_text
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import CUSTOMER, INVALID, DataSourceId, FeedId, ModelId, SourceId
from headrace.ports import (
    Difference,
    DifferenceKind,
    Expectation,
    Expectations,
    RecordId,
    RejectedRow,
    Stores,
)
from headrace.steps.given_rows import PAGE_ROWS, GivenRows, Keys
from headrace.steps.verify_sample import Sample


@dataclass(frozen=True, slots=True)
class NotRead:
    """Why a source could not be polled to its end, or not be merged. `begun`: it is being read for the first
    time, and nothing is in the way: what is missing is still to come."""

    why: str
    begun: bool = False


CatchUp = Callable[[Sequence[SourceId]], Mapping[SourceId, NotRead]]
"""Every feed of these sources is polled to its end and merged; those that are not."""

ROUNDS = 5
"""So often a record that keeps changing is looked at."""
RECORDS_A_LOOK = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A difference as it is told; `why` is empty where nothing explains it."""

    difference: Difference
    why: str = ""


@dataclass(slots=True, kw_only=True)
class ModelReport:
    """What was found of one model.

    Attributes:
        expected, stored: records that sources give, and that stores have; of a sample: those looked at.
        differing: what is wrong. behind: some of what was not read or not merged yet; `behind_records` counts
            all of it.
        unjudged: some of what differs while its sources are paused, fail or wait; `unjudged_records` counts
            all of it.
        mending: the sources of which a full reconciliation mends what is wrong, in this order.
        stopped: there may be more differences: the limit is reached.
        rejected: some of the rows that are excepted, by feed; `rejected_rows` counts all of them.
        discarded: rows that are excepted as a data source refused them and a person let them go, by feed.
        held: rows that a breaker holds, by feed; they are excepted too.
        read_whole: columns by which the source could not look rows up.
    """

    model: ModelId
    expected: int = 0
    stored: int = 0
    differing: list[Found] = field(default_factory=list)
    behind: list[Found] = field(default_factory=list)
    behind_records: int = 0
    unjudged: list[Found] = field(default_factory=list)
    unjudged_records: int = 0
    mending: Sequence[SourceId] = ()
    stopped: bool = False
    rejected: Mapping[FeedId, Sequence[RejectedRow]] = field(default_factory=dict)
    rejected_rows: int = 0
    discarded: Mapping[FeedId, Sequence[RejectedRow]] = field(default_factory=dict)
    held: Mapping[FeedId, int] = field(default_factory=dict)
    read_whole: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyModel:
    """Verifies one model.

    Attributes:
        kinds: ways to differ that count.
        limit: differences after which it stops to look for more, and rejected rows that it shows.
    """

    given: GivenRows
    stores: Stores
    expectations: Expectations
    catch_up: CatchUp
    kinds: frozenset[DifferenceKind]
    limit: int

    @property
    def model(self) -> ModelShape:
        return self.given.model

    def run(self) -> ModelReport:
        """Every record is compared."""
        report = ModelReport(model=self.model.id)
        with self.expectations(self.model, self.given.properties) as whole:
            self.given.expect_all(whole, shown_rejected=self.limit)
            for target in self.given.targets:
                for records in self._records(target):
                    whole.add_stored(target, records)
            whole.compare(self.kinds)
            report.expected, report.stored = whole.counts()
            last = 0
            while noted := whole.noted(after=last, limit=RECORDS_A_LOOK):
                last = noted[-1][0]
                self._judge(whole, _keys(record for _, record in noted), report)
                if report.stopped:
                    break
        return self._finished(report)

    def run_sample(self, sample: Sample) -> ModelReport:
        """Records chosen at random are compared."""
        report = ModelReport(model=self.model.id)
        with self.expectations(self.model, self.given.properties) as excepted:
            self.given.set_known_aside(excepted, shown=self.limit)
            for keys in sample.chosen(self.given, self.stores, a_time=RECORDS_A_LOOK):
                self._judge(excepted, keys, report, counting=True)
        return self._finished(report)

    def _finished(self, report: ModelReport) -> ModelReport:
        report.mending = self._mending(report.differing)
        report.rejected = self.given.rejected
        report.rejected_rows = self.given.rejected_rows
        report.discarded = self.given.discarded
        report.read_whole = sorted(self.given.read_whole)
        held: dict[FeedId, int] = {}
        mine = {feed.feed_id for feed in self.given.feeds}
        for target in self.given.targets:
            for feed_id, rows in self.stores.open(target).held_rows().items():
                if feed_id in mine:
                    held[feed_id] = held.get(feed_id, 0) + rows
        report.held = held
        return report

    def _records(self, target: DataSourceId) -> Iterator[pa.Table]:
        store, after = self.stores.open(target), None
        while (records := store.record_page(self.model, after=after, limit=PAGE_ROWS)).num_rows:
            yield records
            after = self._place_of_last(records)

    def _place_of_last(self, records: pa.Table) -> tuple[str, tuple[str, ...]]:
        end = records.slice(records.num_rows - 1)
        key = tuple(str(canonical_text(end.column(c.name))[0].as_py()) for c in self.model.key)
        return str(end.column(CUSTOMER)[0].as_py()), key

    # --- what differs ---------------------------------------------------------------------------

    def _judge(
        self, excepted: Expectation, keys: Keys, report: ModelReport, *, counting: bool = False
    ) -> None:
        """The records with these keys are looked at until each is equal, explained or wrong."""
        before = self._look(excepted, keys, report if counting else None)
        for _ in range(ROUNDS):
            if not before:
                return
            not_read = self.catch_up(sorted({feed.source.id for feed in self.given.feeds}))
            keys = _keys(before)
            after, again = self._look(excepted, keys), self._look(excepted, keys)
            changing: dict[RecordId, Difference] = {}
            for record, difference in before.items():
                now = again.get(record)
                if now is None:
                    self._note_behind(difference, "it was not read or merged yet", report)
                elif now == after.get(record) and now.expected == difference.expected:
                    self._settle(now, not_read, report)
                else:
                    changing[record] = now
            if len(report.differing) >= self.limit:
                report.stopped = True
                return
            before = changing
        for difference in before.values():
            self._note_behind(difference, "it keeps changing", report)

    def _note_behind(self, difference: Difference, why: str, report: ModelReport) -> None:
        report.behind_records += 1
        if len(report.behind) < self.limit:
            report.behind.append(Found(difference=difference, why=why))

    def _note_unjudged(self, difference: Difference, why: str, report: ModelReport) -> None:
        report.unjudged_records += 1
        if len(report.unjudged) < self.limit:
            report.unjudged.append(Found(difference=difference, why=why))

    def _settle(
        self, difference: Difference, not_read: Mapping[SourceId, NotRead], report: ModelReport
    ) -> None:
        """It stays different, though nothing changes: wrong, unless what feeds it could not be read."""
        sources = self._feeding(difference)
        if not sources or not sources <= not_read.keys():
            report.differing.append(Found(difference=difference, why=self._hint(difference, sources)))
            return
        reasons = [not_read[source] for source in sorted(sources)]
        if difference.kind == "missing" and all(reason.begun for reason in reasons):
            self._note_behind(difference, reasons[0].why, report)
        else:
            in_the_way = next((reason for reason in reasons if not reason.begun), reasons[0])
            self._note_unjudged(difference, in_the_way.why, report)

    def _feeding(self, difference: Difference) -> set[SourceId]:
        """The sources of what differs."""
        if difference.kind != "differs":
            return {self.model.primary.id}
        names = set(difference.expected)
        return {s.id for s in self.model.sources if names & {p.name for p in s.properties}}

    def _hint(self, difference: Difference, sources: set[SourceId]) -> str:
        """What may have made it, or what mends it; empty where nothing is known."""
        feeds = [feed for feed in self.given.feeds if feed.source.id in sources]
        source = min(sources, default="")
        may_be_deletes = difference.kind == "ghost" or any(not feed.source.primary for feed in feeds)
        if may_be_deletes and any(feed.plan.deletes == "reconcile" for feed in feeds):
            return f"rows deleted since the last reconciliation look so: `headrace reconcile {source}`"
        if any(feed.plan.clock != "database" for feed in feeds):
            return f"its cursor need not tell every change: `headrace reconcile {source} --full`"
        return ""

    def _mending(self, differing: Sequence[Found]) -> list[SourceId]:
        """The sources whose rows, read again, mend these; in the model's order, which is that to do it in."""
        mending: set[SourceId] = set()
        for difference in (found.difference for found in differing):
            mending |= self._feeding(difference)
            if INVALID in difference.expected:
                mending |= self._feeding_entries(difference)
        return [s.id for s in self.model.sources if s.id in mending]

    def _feeding_entries(self, difference: Difference) -> set[SourceId]:
        """The sources of the entries of `_invalid` that differ; what is of no property is the primary's."""
        if difference.kind != "differs":
            return set()
        expected, found = (_entries(side.get(INVALID)) for side in (difference.expected, difference.found))
        names = {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
        fed = {p.name: s.id for s in self.model.sources for p in s.properties}
        return {fed.get(name, self.model.primary.id) for name in names or {""}}

    def _look(
        self, excepted: Expectation, keys: Keys, counted: ModelReport | None = None
    ) -> dict[RecordId, Difference]:
        """What differs of these records now: first the sources are read, then the stores."""
        with excepted.afresh() as now:
            self.given.expect(now, keys)
            for target in self.given.targets:
                for wanted in self._wanted(keys):
                    now.add_stored(target, self.stores.open(target).records_at(self.model, wanted))
            now.compare(self.kinds)
            if counted is not None:
                expected, stored = now.counts()
                counted.expected, counted.stored = counted.expected + expected, counted.stored + stored
            return {difference.record: difference for difference in now.differences()}

    def _wanted(self, keys: Keys) -> Iterator[pa.Table]:
        """The keys as tables; where a row says its own customer, whoever's they are."""
        if self.model.primary.customer_in_column:
            every = sorted({key for some in keys.values() for key in some})
            yield self.given.typed(self.model.key, every)
            return
        customers = sorted({c for c in keys if c is not None} | self._customers(keys))
        pairs = [(c, key) for c in customers for key in (*keys.get(c, ()), *keys.get(None, ()))]
        typed = self.given.typed(self.model.key, [key for _, key in pairs])
        yield typed.append_column(CUSTOMER, pa.array([c for c, _ in pairs], pa.string()))

    def _customers(self, keys: Keys) -> set[str]:
        """Those of the primary's feeds, when keys of anybody are wanted."""
        if None not in keys:
            return set()
        feeds = (feed for feed in self.given.feeds if feed.source.primary)
        return {feed.plan.customer for feed in feeds if feed.plan.customer is not None}


def _entries(invalid: Any) -> Mapping[str, Any]:
    """Those of `_invalid`; none where somebody has written by hand what is no object."""
    return invalid if isinstance(invalid, dict) else {}


def _keys(records: Iterator[RecordId] | Mapping[RecordId, Difference]) -> Keys:
    keys: dict[str | None, list[tuple[str, ...]]] = {}
    for record in records:
        keys.setdefault(record.customer, []).append(record.key)
    return keys
