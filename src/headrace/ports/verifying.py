"""What a verification compares, and the ports that it reads stores and compares by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa

from headrace.domain.shape import ModelShape, SourceShape
from headrace.domain.vocabulary import DataSourceId, FeedId

DifferenceKind = Literal["missing", "ghost", "differs"]


@dataclass(frozen=True, slots=True, order=True)
class RecordId:
    """One record: its key as canonical texts, in the order of the model's."""

    data_source_id: DataSourceId
    customer: str
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A record that is not what the sources give.

    Attributes:
        kind: `missing` from the store, a `ghost` there, or `differs`.
        expected, found: the properties that differ (all of them of a record that only one side has), and
            `_invalid`; dates and decimals as canonical texts, JSON as its canonical text.
    """

    record: RecordId
    kind: DifferenceKind
    expected: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)


class StoredRows(Protocol):
    """What a data source has, read page by page: no statement lasts, no page is large. A page is one
    snapshot, several are not."""

    def record_page(
        self, model: ModelShape, *, after: tuple[str, tuple[str, ...]] | None, limit: int
    ) -> pa.Table:
        """`_customer_id`, the properties and `_invalid` of the next records by primary key.

        Args:
            after: customer and key (canonical texts) of the last record of the page before.
        """
        ...

    def key_page(
        self, model: ModelShape, *, after: tuple[str, tuple[str, ...]] | None, limit: int
    ) -> pa.Table:
        """As `record_page`, of `_customer_id` and the key alone."""
        ...

    def created_page(
        self, model: ModelShape, *, customer: str, after: tuple[str, ...] | None, limit: int
    ) -> pa.Table:
        """`_customer_id`, the key and `_created_at` of the customer's next records by key.

        Args:
            after: the key (canonical texts) of the last record of the page before.
        """
        ...

    def records_at(self, model: ModelShape, keys: pa.Table) -> pa.Table:
        """The same of the records with these keys: the key's columns, with `_customer_id` or without."""
        ...

    def staged_page(self, source: SourceShape, *, after: tuple[str, ...] | None, limit: int) -> pa.Table:
        """`_customer_id`, the columns, `_app` where there are several, and `_invalid` of the next staged rows
        by primary key; `after`: that of the last row of the page before, as canonical texts."""
        ...

    def staged_at(self, source: SourceShape, values: pa.Table) -> pa.Table:
        """The same of the rows with these mapped values: `_customer_id` and the mapped column."""
        ...

    def held_keys(
        self, source: SourceShape, feed_id: FeedId, *, after: str | None, limit: int
    ) -> tuple[str, ...]:
        """JSON arrays of the keys (of records: after their customer) that a breaker holds, in order."""
        ...


class Expectation(Protocol):
    """The records of one model as the sources give them, beside those that stores have.

    Everything is kept on disk: memory stays bounded, whatever the sizes.
    """

    def add(self, source: SourceShape, data_source_id: DataSourceId, app_id: str, events: pa.Table) -> None:
        """Rows of a source, as a merge would get them (`Page` cut into events); deleted ones are none."""
        ...

    def set_aside(self, source: SourceShape, owner: str | None, keys: pa.Table) -> None:
        """Rows with these keys are excepted: rejected, or held by a breaker.

        Args:
            owner: whose they are: the customer (primary; None: anybody's) or the app (secondary).
        """
        ...

    def leave_out(self, source: SourceShape) -> None:
        """Rows added that are set aside are none: not the source's word counts, but what is staged."""
        ...

    def keep(
        self, source: SourceShape, data_source_id: DataSourceId, rows: pa.Table, *, only_set_aside: bool
    ) -> None:
        """Staged rows that the source does not give count as they are: all, or those that are set aside."""
        ...

    def has_set_aside(self, source: SourceShape) -> bool: ...

    def settle(self, source: SourceShape) -> None:
        """All rows of this secondary source are added: its properties are made of them."""
        ...

    def mapped_values(self, source: SourceShape) -> Sequence[tuple[str, str]]:
        """Customer and canonical text of the property that the source is mapped to, over the records added;
        what feeds that property is settled."""
        ...

    def add_stored(self, data_source_id: DataSourceId, records: pa.Table) -> None:
        """Records of a store."""
        ...

    def compare(self, kinds: Collection[DifferenceKind]) -> int:
        """Note every record that is not the same on both sides, in one of these ways; how many."""
        ...

    def noted(self, *, after: int, limit: int) -> Sequence[tuple[int, RecordId]]:
        """Noted records in order, each with its number."""
        ...

    def differences(self) -> Sequence[Difference]:
        """All that was noted, with values, without those that only are written differently."""
        ...

    def counts(self) -> tuple[int, int]:
        """Records as the sources give them, and as stores have them."""
        ...

    def afresh(self) -> AbstractContextManager[Expectation]:
        """Another one of the same model that knows the same rows to be set aside."""
        ...


class Expectations(Protocol):
    def __call__(self, model: ModelShape, properties: Collection[str]) -> AbstractContextManager[Expectation]:
        """An empty one that compares these properties."""
        ...
