"""What crosses the border to a source, and the port of its readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from headrace.domain.position import Fence, Position
from headrace.domain.source_seen import SourceIdentity
from headrace.domain.vocabulary import AppId, PropertyType


@dataclass(frozen=True, slots=True)
class Relation:
    """What a source reads: a table (`name` or `namespace.name`) or one SELECT. Exactly one is set."""

    table: str | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """What the source's catalogue says of a column."""

    name: str
    native_type: str
    type: PropertyType
    """The property type that a value of the native type becomes without being asked."""
    nullable: bool
    portable_order: bool
    """The source can order this column as the store orders `type` (integers, dates, datetimes,
    uuids, bytewise text): a reconciliation may cut the key space at its values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """Columns in order, the primary key's columns (empty for a query or none), a fingerprint of names and
    native types that changes when the source's shape does, and other sets of columns that are unique and
    not null."""

    columns: tuple[ColumnFacts, ...]
    primary_key: tuple[str, ...]
    fingerprint: str
    unique_keys: tuple[tuple[str, ...], ...] = ()

    def column(self, name: str) -> ColumnFacts | None:
        return next((c for c in self.columns if c.name == name), None)

    def identifies(self, key: Sequence[str]) -> bool:
        """The source itself sees to it that no two rows have the same key."""
        return any(unique and set(unique) <= set(key) for unique in (self.primary_key, *self.unique_keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableListing:
    """One table for `discover`: its facts, an estimate of its rows, and what suits a source."""

    table: str
    facts: TableFacts
    estimated_rows: int | None
    suggested_key: tuple[str, ...]
    suggested_cursor: str | None
    cursor_has_index: bool
    foreign_keys: tuple[ForeignKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """How one feed reads its relation. `columns` includes key and cursor; `key` has at least one
    column; `time_zone` is that of naive date-times (an IANA name); `skew_s` is how far the clock that sets
    the cursor may be from the source's: a fence's bound is lower by it, and what it reads up to higher."""

    relation: Relation
    columns: tuple[str, ...]
    key: tuple[str, ...]
    cursor: str | None
    time_zone: str = "UTC"
    skew_s: float = 0.0
    page_rows: int = 50_000
    page_bytes: int = 8 * 1024 * 1024
    max_cell_bytes: int = 1024 * 1024
    """A bigger cell stays in its source: its page has a mark in its place (`domain.oversize`)."""


@dataclass(frozen=True, slots=True)
class Since:
    """Rows with a cursor that is not null, after `after` (all when None), up to `until` inclusive (no
    bound when None), ordered by (cursor, key)."""

    after: Position | None
    until: str | None


@dataclass(frozen=True, slots=True)
class NullCursors:
    """Rows whose cursor is null, or a date before all others (-infinity), ordered by key."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """Rows whose cursor is greater than `until`, ordered by key."""

    until: str


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Rows with `after` < key <= `upto` in the portable order (a None bound is open), ordered by key,
    at most `limit` of them. `KeyRange(None, None, None)` reads the whole relation by key."""

    after: tuple[str, ...] | None
    upto: tuple[str, ...] | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class ExactKeys:
    """The rows with one of these keys, ordered by key. Keys are texts in the order of the plan's
    `key`: the source's own or canonical ones."""

    keys: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """How a plan's relation suits it; None for what cannot be told, or not in time.

    Attributes:
        indexes: columns of each index that could serve an order; None of a view, a query or files.
        index_statement: what would make an index of cursor and key there.
        null_cursors: a row has a cursor that is null.
        newest: the greatest cursor, where an index has it.
        naive: the cursor is a date-time that has no time zone in a database that has one.
        time_zone: of the database, where people write date-times without one.
        slow: something was not answered in time.
    """

    indexes: tuple[tuple[str, ...], ...] | None = None
    index_statement: str = ""
    null_cursors: bool | None = None
    newest: str | None = None
    naive: bool = False
    time_zone: str | None = None
    slow: bool = False


Selection = Since | NullCursors | Beyond | KeyRange | ExactKeys


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in order: an Arrow table of utf8 columns named and ordered as `ReadPlan.columns`,
    each value in the source's own text, null where null, a mark where it has more than the plan's
    `max_cell_bytes`. Never empty. `end` is the place of the last row; its cursor is "" where the selection is
    not ordered by cursor. A page ends with the row that brings it to the plan's `page_bytes`."""

    rows: pa.Table
    end: Position


class SourceReader(Protocol):
    """Reads one app. Read-only, with time-outs; not shared between threads.

    Errors: `SourceUnavailableError` for what may pass, `SourceDriftError` when relation or column is
    missing, `ConfigurationError` for what a person must mend (password, rights).
    """

    def describe(self, relation: Relation) -> TableFacts:
        """Ask the catalogue (for a query: a prepared, unexecuted or empty result); cheap when all is as it
        was at the last call."""
        ...

    def tables(self) -> tuple[TableListing, ...]: ...

    def change_token(self) -> str | None:
        """Something cheap that changes whenever anything in the database has changed, since this
        reader was opened; None where the source has no such thing."""
        ...

    def identity(self, relation: Relation) -> SourceIdentity | None:
        """Which database answers, and how far it has come; None where nothing can tell."""
        ...

    def fence(self, plan: ReadPlan, previous_state: str | None) -> Fence:
        """Must be asked before the snapshot of `read` is opened: the order is load-bearing."""
        ...

    def examine(self, plan: ReadPlan, *, limit_s: float) -> Examination:
        """What the database says of how the plan reads it: a few questions of at most `limit_s` each, none of
        which counts rows."""
        ...

    def quiet(self, plan: ReadPlan, previous_state: str | None, after: Position | None) -> Fence | None:
        """A fence, when there was nothing to read after it was taken: no row after the position in the order
        of cursors, none beyond the source's clock, none without a cursor. Cheap where there is nothing. None:
        there may be something.

        The fence may be of a second ago: it bounds what commits late, its clock is no end to read up to.
        """
        ...

    def rank(self, plan: ReadPlan, cursor: str) -> Any:
        """The order of the cursor's texts (see `domain.position.Rank`)."""
        ...

    def read(self, plan: ReadPlan, selection: Selection) -> AbstractContextManager[Iterator[Page]]:
        """Stream one statement of one snapshot, opened when the context is entered.

        `SourceUnavailableError` when columns have changed since they were described: nothing is read by
        types that hold no longer.
        """
        ...

    def close(self) -> None: ...


class Readers(Protocol):
    def lend(self, app_id: AppId) -> AbstractContextManager[SourceReader]:
        """A reader of the app for this thread alone; given back when the context is left, closed when
        an error left it."""
        ...
