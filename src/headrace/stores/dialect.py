"""What the composed SQL of a merge asks of a dialect and of a connection.

Statements have one shape on both dialects; what differs (types, quoting, aggregates, comparisons) is
behind `Dialect`. Values are always bound, by name, through `Binds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pyarrow as pa

from headrace.domain.shape import PropertyShape
from headrace.domain.vocabulary import Aggregation, PropertyType
from headrace.ports import StoreExamination

BOUND_NAME: Final = "p"
GREATEST_FLOAT: Final = "1.797693134862315807e308"
"""Numbers up to here round to a float."""
LARGE_FLOAT: Final = 1e290
"""Floats up to here are added as floats: as many as a table can hold make no sum that overflows."""


@dataclass(frozen=True, slots=True)
class Binds:
    """The values bound in one statement."""

    dialect: Dialect
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, value: Any) -> str:
        """The marker that stands for `value` in the statement."""
        name = f"{BOUND_NAME}{len(self.values)}"
        self.values[name] = value
        return self.dialect.marker(name)

    def text(self, value: str | None) -> str:
        """The marker of a text, typed as text."""
        return self.typed(value, PropertyType.STRING)

    def typed(self, text: str | None, type_: PropertyType) -> str:
        """The marker of a canonical text, as a value of the type."""
        return self.dialect.typed_marker(self, text, type_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """One property to compute over staged rows.

    Attributes:
        shape: the property.
        column: the SQL of its staged column, None for a count of rows.
        column_type: its type, None likewise.
        order_by: the SQL of the ordering column and its type, None when it has none.
        key: SQL and type of the staged key's columns, which order values and break ties.
        condition: the SQL that says which rows count (there may be a row of nulls for no rows).
    """

    shape: PropertyShape
    column: str | None
    column_type: PropertyType | None
    order_by: tuple[str, PropertyType] | None
    key: tuple[tuple[str, PropertyType], ...]
    condition: str


class Dialect(Protocol):
    """The SQL of one database product."""

    name: str
    types: Mapping[PropertyType, str]
    text: str
    json: str
    timestamp: str
    now: str
    """The transaction's moment, in the type `timestamp`."""
    now_by_default: bool
    """Whether `now` may be a column's default, so that a load need not carry it row by row."""
    index_order: tuple[str, ...]
    """Statements after which a transaction takes rows in the order of an index, whatever is known of how many
    there are: a table that fills and empties is never as its statistics say."""
    numbered: str
    """The type, and key, of a column that numbers rows as they come; no number is given twice."""
    driving_join: str
    """JOIN, or the word that makes the left side the outer loop where the planner needs telling."""

    def quote(self, name: str) -> str: ...

    def table(self, name: str) -> str:
        """Quoted, in the data source's namespace."""
        ...

    def temp(self, name: str) -> str: ...

    def create_temp(self, name: str, columns: str) -> str: ...

    def create_index(self, name: str, *, table: str, columns: str) -> str: ...

    def drop_index(self, name: str) -> str: ...

    def later(self, binds: Binds, seconds: float) -> str:
        """The moment so many seconds after `now`, in the type `timestamp`."""
        ...

    def marker(self, name: str) -> str: ...

    def typed_marker(self, binds: Binds, text: str | None, type_: PropertyType) -> str: ...

    def differs(self, one: str, other: str) -> str:
        """True when not the same, nulls being the same as each other."""
        ...

    def comparable(self, expression: str, type_: PropertyType) -> str:
        """An expression that compares and orders by value of its type."""
        ...

    def delete_joined(self, target: str, *, using: str, on: str) -> str:
        """Delete the rows of `target` (alias r in `on`) that some row of `using` joins."""
        ...

    def delete_earlier(self, table: str, columns: Sequence[str]) -> str:
        """Delete, of rows with one value of the columns, those that an earlier merge wrote."""
        ...

    def key_text(self, expression: str, type_: PropertyType) -> str:
        """The text of a key's value, from which `json_part` gets the value back."""
        ...

    def byte_length(self, text: str) -> str:
        """The number of bytes of a text in UTF-8, as a text."""
        ...

    def digest_of_lines(self, line: str) -> str:
        """The aggregate that gives SHA-256, in hex, of all lines with line feeds between them."""
        ...

    def json_array(self, expressions: Sequence[str]) -> str: ...

    def json_object(self, members: Sequence[tuple[str, str, PropertyType]]) -> str:
        """The text of a JSON object of names and values, as the HTTP API tells a record: decimals, dates and
        date-times as canonical texts, JSON as JSON."""
        ...

    def json_part(self, expression: str, index: int, type_: PropertyType) -> str: ...

    def merged_invalid(self, binds: Binds, *, old: str, names: Sequence[str], new: str) -> str:
        """`old` without the entries of `names`, with those of `new`; null when empty."""
        ...

    def invalid_within(self, binds: Binds, invalid: str, names: Sequence[str]) -> str:
        """The entries of these names alone; null when there are none, or it is no object."""
        ...

    def invalid_of(self, binds: Binds, invalid: str, properties: Sequence[PropertyShape]) -> str:
        """The least entry behind each property, over the aggregated rows' `invalid`; null if none."""
        ...

    def canonical_text(self, expression: str, type_: PropertyType) -> str: ...

    def position(self, text: str, part: str) -> str:
        """Where `part` is in `text`, from 1; 0 when nowhere. Case-sensitive, without wildcards."""
        ...

    def starts_with(self, text: str, part: str) -> str: ...

    def aggregate(self, aggregate: Aggregate) -> str: ...


class Session(Protocol):
    """One connection in one transaction."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def known(self) -> dict[str, float]:
        """What was found out on this connection, and when (monotonic seconds); empty on a new one."""
        ...

    def run(self, sql: str, binds: Binds | None = None) -> int:
        """The number of rows that the statement wrote."""
        ...

    def all(self, sql: str, binds: Binds | None = None) -> list[tuple[Any, ...]]: ...

    def load(self, table: str, columns: Sequence[tuple[str, str]], rows: pa.Table) -> None:
        """Append these columns of the rows: by name, each with the type that it has in the table."""
        ...

    def attempt(self, work: Callable[[], object]) -> bool:
        """The work is done; False, with nothing of it left, when it is refused for its data."""
        ...

    def drop_key(self, table: str, indexes: Sequence[str]) -> bool:
        """The empty table is without its primary key and these indexes; False, as it was, where that
        cannot be, or would have to wait for readers."""
        ...

    def index_key(self, table: str, columns: Sequence[str]) -> None:
        """The columns tell the table's rows apart, and find them; readers do not wait."""
        ...

    def adopt_key(self, table: str) -> None:
        """What `index_key` made is the table's primary key; readers wait from now to the commit."""
        ...

    def refusal(self, work: Callable[[], object]) -> str | None:
        """Why the work is refused for its data, at the latest by the commit; None when it is not. Nothing
        of it stays. An error that ends the transaction, or is none of the data, is raised."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingTable:
    """A table as the catalogue has it: types by column as `Dialect.types` writes them, the primary
    key's columns in order, and the names of our indexes."""

    columns: Mapping[str, str]
    key: tuple[str, ...]
    indexes: frozenset[str]


class Connections(Protocol):
    """Sessions on one data source. Errors come out translated."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def in_use(self) -> int:
        """Transactions that run now."""
        ...

    def reading(self) -> AbstractContextManager[Session]: ...

    def writing(self) -> AbstractContextManager[Session]:
        """A transaction that takes no lock of a name."""
        ...

    def looking(self, *, timeout_s: int) -> AbstractContextManager[Session]:
        """A transaction that cannot write, each statement of which has so long, and that is rolled back
        whatever happens."""
        ...

    def try_locked(self, name: str) -> AbstractContextManager[Session | None]:
        """Holds the lock of `name` until the transaction ends; None when another one does."""
        ...

    def locked(self, name: str) -> AbstractContextManager[Session]:
        """As `try_locked`, after waiting up to half a minute."""
        ...

    def existing(self, session: Session, table: str) -> ExistingTable | None: ...

    def catalogue_mark(self, session: Session) -> int:
        """Another number once a table was altered, where asking costs next to nothing; else the same."""
        ...

    def examination(self, session: Session) -> StoreExamination:
        """See `RecordStore.examine`."""
        ...

    def create_namespace(self, session: Session) -> None: ...

    def close(self) -> None: ...


EMPTY_VALUES: Final[Mapping[Aggregation, str]] = {
    Aggregation.COUNT: "0",
    Aggregation.COUNT_DISTINCT: "0",
    Aggregation.SUM: "0",
    Aggregation.LIST: "'[]'",
}
"""What an aggregated property is without rows, as SQL; null where not named."""


def empty_value(shape: PropertyShape) -> str:
    """The SQL literal of a secondary property without rows behind it."""
    return EMPTY_VALUES.get(shape.aggregation, "NULL")


def empty_text(shape: PropertyShape) -> str | None:
    """As `empty_value`, as the text that a load takes; None for null."""
    literal = EMPTY_VALUES.get(shape.aggregation)
    return None if literal is None else literal.strip("'")
