"""What the sources of a model give now, read into an expectation: whole, or behind some records."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.domain.arrow import Array, Table, pa, pc
from headrace.domain.coercion import canonical_text, coerce
from headrace.domain.feeding import feeding_sources
from headrace.domain.shape import Column, ModelShape, SourceShape
from headrace.domain.vocabulary import CUSTOMER, TEXT_TYPES, DataSourceId, FeedId, PropertyType
from headrace.ports import (
    ExactKeys,
    Expectation,
    FeedPlan,
    KeyRange,
    Readers,
    RejectedRow,
    Routes,
    RowSetAside,
    Selection,
    SourceReader,
    Stores,
)
from headrace.steps.discarded import still_given
from headrace.steps.limits import Progress
from headrace.steps.page import canonical_requests, cut

PAGE_ROWS = 20_000
KEYS_A_STATEMENT = 2_000
"""Values that one statement looks for."""

Keys = Mapping[str | None, Sequence[tuple[str, ...]]]
"""Keys of records as canonical texts, by customer; None: of any customer."""


SetAsideAfter = Callable[[int], Sequence[RowSetAside]]


@dataclass(frozen=True, slots=True)
class GivenFeed:
    """One feed of the model, by its applied plan. `set_aside`: the next rejected rows after a number."""

    feed_id: FeedId
    plan: FeedPlan
    set_aside: SetAsideAfter

    @property
    def source(self) -> SourceShape:
        return self.plan.source

    @property
    def owner(self) -> str | None:
        """Whose rows it has: a customer's (primary), an app's (secondary)."""
        return self.plan.customer if self.source.primary else self.plan.app_id


@dataclass(slots=True, kw_only=True)
class GivenRows:
    """Reads the feeds of one model.

    Attributes:
        targets: the data sources that hold the model.
        rejected: rows that were set aside as they were read, or that a data source refused, by feed; as many
            as are shown. `rejected_rows` counts all.
        discarded: refused rows that were discarded and are in their source as they were, by feed.
        read_whole: columns by which no rows can be looked up, as the source compares them otherwise than the
            property does: `source.column`.
    """

    model: ModelShape
    properties: Collection[str]
    feeds: Sequence[GivenFeed]
    targets: Sequence[DataSourceId]
    readers: Readers
    routes: Routes
    stores: Stores
    progress: Progress
    rejected: dict[FeedId, list[RejectedRow]] = field(default_factory=dict)
    rejected_rows: int = 0
    discarded: dict[FeedId, list[RejectedRow]] = field(default_factory=dict)
    read_whole: set[str] = field(default_factory=set)
    _direct: dict[tuple[str, str, tuple[str, ...]], bool] = field(default_factory=dict)

    def expect_all(self, into: Expectation, *, shown_rejected: int) -> None:
        """Every record, as the sources give it now."""
        self.set_known_aside(into, shown=shown_rejected)
        for source in feeding_sources(self.model, self.properties):
            for feed in self._feeds_of(source):
                self._read(into, feed, _WHOLE, shown_rejected=shown_rejected)
            if source.primary:
                continue
            self._keep_staged(into, source)
            into.settle(source)

    def set_known_aside(self, into: Expectation, *, shown: int) -> None:
        """Rows that control has set aside, or breakers hold, are excepted."""
        for feed in self.feeds:
            if feed.source in feeding_sources(self.model, self.properties):
                self._set_aside_rejected(into, feed, shown)
                self._set_aside_held(into, feed)

    def expect(self, into: Expectation, keys: Keys) -> None:
        """The records with these keys, and whatever is behind them."""
        for source in feeding_sources(self.model, self.properties):
            if source.primary:
                for feed in self._feeds_of(source):
                    self._look_up(into, feed, source.key, _wanted(keys, feed.plan.customer))
                continue
            assert source.mapping is not None  # noqa: S101 (every secondary source has one)
            mapped = next(c for c in source.columns if c.name == source.mapping.column)
            pairs = into.mapped_values(source)
            values = sorted({(value,) for _, value in pairs})
            for feed in self._feeds_of(source):
                self._look_up(into, feed, (mapped,), values)
            self._keep_staged_at(into, source, mapped, pairs)
            into.settle(source)

    def typed(self, columns: Sequence[Column], keys: Iterable[Sequence[str]]) -> Table:
        """Canonical texts as a table of typed columns."""
        texts = list(zip(*keys, strict=True)) or [()] * len(columns)
        arrays = [
            coerce(pa.array(column, pa.string()), c.type, time_zone="UTC").values
            for column, c in zip(texts, columns, strict=True)
        ]
        return pa.Table.from_arrays(arrays, names=[c.name for c in columns])

    def _feeds_of(self, source: SourceShape) -> list[GivenFeed]:
        return [feed for feed in self.feeds if feed.source.id == source.id]

    # --- rows of sources ------------------------------------------------------------------------

    def _look_up(
        self, into: Expectation, feed: GivenFeed, columns: Sequence[Column], texts: Sequence[tuple[str, ...]]
    ) -> None:
        """The feed's rows whose columns have one of these texts."""
        if not texts:
            return
        names = tuple(c.source_column for c in columns)
        with self.readers.lend(feed.plan.app_id) as reader:
            direct = self._is_direct(reader, feed.plan, columns)
        if not direct:
            self.read_whole.add(f"{feed.source.id}.{','.join(names)}")
            self._read(into, feed, _WHOLE, only=(columns, texts))
            return
        for start in range(0, len(texts), KEYS_A_STATEMENT):
            some = tuple(texts[start : start + KEYS_A_STATEMENT])
            # Looked up by any columns as if they were the key: nothing needs it to be unique.
            self._read(into, feed, ExactKeys(some), key=names, only=(columns, some))

    def _is_direct(self, reader: SourceReader, plan: FeedPlan, columns: Sequence[Column]) -> bool:
        """The source compares these columns as their values are compared here, so that it can find them."""
        place = (plan.source.id, plan.app_id, tuple(c.name for c in columns))
        if place not in self._direct:
            facts = reader.describe(plan.read.relation)
            types = [(facts.column(c.source_column), c.type) for c in columns]
            self._direct[place] = all(f is not None and _compares(f.type, t) for f, t in types)
        return self._direct[place]

    def _read(
        self,
        into: Expectation,
        feed: GivenFeed,
        selection: Selection,
        *,
        key: tuple[str, ...] | None = None,
        only: tuple[Sequence[Column], Sequence[tuple[str, ...]]] | None = None,
        shown_rejected: int = 0,
    ) -> None:
        plan = feed.plan
        read = replace(plan.read, page_rows=PAGE_ROWS, key=key or plan.read.key)
        with self.readers.lend(plan.app_id) as reader, reader.read(read, selection) as pages:
            for page in pages:
                made = cut(page.rows, plan, self.routes)
                for target, events in made.events.items():
                    into.add(feed.source, target, plan.app_id, events if only is None else _of(events, *only))
                if only is None:
                    self._note_rejected(into, feed, made.rejected, shown_rejected)
                    self.progress(feed.source.id, page.rows.num_rows)

    # --- what is excepted -----------------------------------------------------------------------

    def _note_rejected(
        self, into: Expectation, feed: GivenFeed, rows: Sequence[RejectedRow], shown: int
    ) -> None:
        if not rows:
            return
        self._count_rejected(feed, rows, shown)
        self._set_aside(into, feed, [json.loads(row.key) for row in rows])

    def _count_rejected(self, feed: GivenFeed, rows: Sequence[RejectedRow], shown: int) -> None:
        self.rejected_rows += len(rows)
        known = self.rejected.setdefault(feed.feed_id, [])
        known.extend(rows[: max(0, shown - len(known))])

    def _set_aside(self, into: Expectation, feed: GivenFeed, keys: Sequence[Sequence[str | None]]) -> None:
        """
        Args:
            keys: in the source's own texts; with a null it is no key that a store could have.
        """
        whole = [tuple(str(part) for part in key) for key in keys if None not in key]
        canonical = sorted(set(canonical_requests(whole, feed.plan).values()))
        if canonical:
            into.set_aside(feed.source, feed.owner, self.typed(feed.source.key, canonical))

    def _set_aside_rejected(self, into: Expectation, feed: GivenFeed, shown: int) -> None:
        """What is no row is found again as the source is read; what a data source refused is only known."""
        last = 0
        while known := feed.set_aside(last):
            is_open = [each for each in known if not each.discarded]
            self._set_aside(into, feed, [json.loads(each.row.key) for each in is_open])
            refused = {each.row.key: each.row for each in is_open if each.refused}
            if refused:
                self._count_rejected(feed, list(refused.values()), shown)
            self._set_aside_discarded(into, feed, [each.row for each in known if each.discarded])
            last = known[-1].id

    def _set_aside_discarded(self, into: Expectation, feed: GivenFeed, rows: Sequence[RejectedRow]) -> None:
        if not rows:
            return
        with self.readers.lend(feed.plan.app_id) as reader:
            still = still_given(rows, feed.plan, reader, self.routes)
        if still:
            by_key = {row.key: row for row in still}
            self.discarded.setdefault(feed.feed_id, []).extend(by_key.values())
            self._set_aside(into, feed, [json.loads(key) for key in by_key])

    def _set_aside_held(self, into: Expectation, feed: GivenFeed) -> None:
        for target in self.targets:
            after: str | None = None
            while held := self.stores.open(target).held_keys(
                feed.source, feed.feed_id, after=after, limit=PAGE_ROWS
            ):
                skipped = 1 if feed.source.primary else 0  # the customer
                keys = [tuple(map(str, json.loads(key)[skipped:])) for key in held]
                into.set_aside(feed.source, feed.owner, self.typed(feed.source.key, keys))
                after = held[-1]

    def _keep_staged(self, into: Expectation, source: SourceShape) -> None:
        """Rows that a source's deletes leave in place, and those that are set aside, count as staged."""
        ignored = self._ignores_deletes(source)
        if not ignored and not into.has_set_aside(source):
            return
        into.leave_out(source)
        for target in self.targets:
            store, after = self.stores.open(target), None
            while (rows := store.staged_page(source, after=after, limit=PAGE_ROWS)).num_rows:
                into.keep(source, target, rows, only_set_aside=not ignored)
                after = _last(rows, source)

    def _keep_staged_at(
        self, into: Expectation, source: SourceShape, mapped: Column, pairs: Sequence[tuple[str, str]]
    ) -> None:
        ignored = self._ignores_deletes(source)
        if not pairs or not (ignored or into.has_set_aside(source)):
            return
        into.leave_out(source)
        customers = pa.array([customer for customer, _ in pairs], pa.string())
        values = self.typed([mapped], [(value,) for _, value in pairs]).append_column(CUSTOMER, customers)
        for target in self.targets:
            rows = self.stores.open(target).staged_at(source, values)
            into.keep(source, target, rows, only_set_aside=not ignored)

    def _ignores_deletes(self, source: SourceShape) -> bool:
        return any(feed.plan.deletes == "ignore" for feed in self._feeds_of(source))


_WHOLE = KeyRange(None, None, None)


def _wanted(keys: Keys, customer: str | None) -> list[tuple[str, ...]]:
    """The keys that a feed may have: where its rows say their customer (None), all of them."""
    own = (some for of, some in keys.items() if customer is None or of in (customer, None))
    return sorted({key for some in own for key in some})


def _compares(fact: PropertyType, type_: PropertyType) -> bool:
    return (fact == type_ and type_ is not PropertyType.JSON) or {fact, type_} <= TEXT_TYPES


def _of(events: Table, columns: Sequence[Column], texts: Sequence[tuple[str, ...]]) -> Table:
    """The events whose columns have one of these canonical texts, by value."""
    mine = _joined([canonical_text(events.column(c.name)) for c in columns])
    wanted = _joined([pa.array(column, pa.string()) for column in zip(*texts, strict=True)])
    return events.filter(pc.is_in(mine, value_set=wanted))


def _joined(parts: Sequence[Array]) -> Array:
    """One text a row, the same only for the same parts: each with its length before it; null with a null."""
    joined = []
    for part in parts:
        joined += [pc.binary_length(part).cast(pa.string()), part]
    return pc.binary_join_element_wise(*joined, ":")


def _last(rows: Table, source: SourceShape) -> tuple[str, ...]:
    """The primary key of the last staged row as canonical texts."""
    names = [c.name for c in source.key] + (["_app"] if source.many_apps else [])
    return tuple(str(canonical_text(rows.column(n).slice(rows.num_rows - 1))[0].as_py()) for n in names)
