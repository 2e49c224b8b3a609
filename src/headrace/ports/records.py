"""Reading the records of one customer, and the route that leads to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.domain.record_query import Place, RecordQuery
from headrace.domain.routing import Via
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import DataSourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRoute:
    """Where a customer's records of a schema are.

    Attributes:
        epoch: of the binding; 0 of a default.
        version: routing's, by which it was resolved.
        config_version: the data source's; another one may be another database.
        customer_id: control's own.
        resident: rows of the customer were journalled there, and none of another one of its `provided_id`
            wait to be dropped. Else what is stored there under its name is another one's: nothing of it is
            the customer's.
    """

    data_source: DataSourceId
    via: Via
    epoch: int
    version: int
    config_version: int
    customer_id: str
    resident: bool


class CustomerRoutes(Protocol):
    def resolve(self, visibility_group: str, customer: str, schema: str) -> ResolvedRoute:
        """The route of the customer (`provided_id`).

        Raises:
            RefusedError: `not_found` (there is no such customer), `no_data_source_for_schema` or
                `data_source_unavailable`.
        """
        ...

    def invalidate(self) -> None:
        """What was resolved before is not given out any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    """Records in the order asked for.

    Attributes:
        items: each a JSON object.
        end: the last one's place, when there are more.
    """

    items: tuple[str, ...]
    end: Place | None = None


class RecordReader(Protocol):
    """Reads one data source, always for one customer. Each read is one statement, in one snapshot, and sees
    in it whether the customer's records have left (`RouteMovedError`: resolve again).

    As JSON: integers as they are, however large; decimals as canonical texts; date-times as
    `YYYY-MM-DDTHH:MM:SS.ffffffZ`; JSON as JSON; `_invalid` as an object or null.

    Errors beside it: `StoreUnavailableError` for what may pass; `ConfigurationError` when the tables are
    another data source's, or are not there.
    """

    def page(self, model: ModelShape, query: RecordQuery, *, customer: str, routed_at: int) -> RecordPage:
        """Records that the query finds. `routed_at` is the routing version that the route is of.

        Raises:
            InvariantError: no customer is named: nothing is read.
        """
        ...

    def one(
        self,
        model: ModelShape,
        key: Sequence[str],
        fields: Sequence[str] | None = None,
        *,
        customer: str,
        routed_at: int,
    ) -> str | None:
        """The record with this key (canonical texts), as JSON; None when the customer has none."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PreviewTable:
    """A table of a data source's namespace: its columns in order, their types in the database's words."""

    name: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PreviewRows:
    """The first rows of a table, every value as a text or null.

    Attributes:
        truncated: the table has more.
        cut: some values are longer than is told.
    """

    table: PreviewTable
    rows: tuple[tuple[str | None, ...], ...]
    truncated: bool
    cut: bool


class Preview(Protocol):
    """Looks at whatever is in a data source's namespace. Names come from the catalogue, never from who asks;
    each look is rolled back."""

    def tables(self) -> tuple[PreviewTable, ...]:
        """By name."""
        ...

    def rows(self, table: str, *, limit: int, customer: str | None) -> PreviewRows | None:
        """At most `limit` rows, by primary key; None when there is no such table. `customer` (`provided_id`):
        its rows alone, and nothing of a table that says of no row whose it is."""
        ...


class RecordReaders(Protocol):
    def reader(self, data_source_id: DataSourceId) -> RecordReader:
        """The one reader of a data source, as it is defined now, in this process; shared by its threads."""
        ...
