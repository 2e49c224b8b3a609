"""The frame that the statements of one merge share: session, model, names and joins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import pyarrow as pa

from headrace.domain.shape import Column, ModelShape, SourceShape
from headrace.domain.vocabulary import CUSTOMER, DELETED, INVALID, PropertyType
from headrace.stores.dialect import Binds, Dialect, Session
from headrace.stores.layout import staged_name


@dataclass(frozen=True, slots=True)
class Temp:
    """A temporary table of this merge; `name` is ready for use in a statement."""

    bare: str
    name: str


class Events(Protocol):
    """Is told, before they are written, of the records that a transaction writes (`outbox.EventsOf`)."""

    def note(self, records: str, binds: Binds | None = None) -> None: ...

    def note_new(self, records: str, binds: Binds | None = None) -> None: ...

    def note_loaded(self, rows: pa.Table) -> None: ...

    def silence(self, customers: Iterable[str]) -> None: ...

    def write(self) -> int: ...


class NoEvents:
    """Of a data source without an outbox."""

    def note(self, records: str, binds: Binds | None = None) -> None: ...

    def note_new(self, records: str, binds: Binds | None = None) -> None: ...

    def note_loaded(self, rows: pa.Table) -> None: ...

    def silence(self, customers: Iterable[str]) -> None: ...

    def write(self) -> int:
        return 0


@dataclass(slots=True)
class Frame:
    """One merge's session and model, and the temporary tables that it has made.

    Attributes:
        events: named every record before it is written; without events it does nothing.
    """

    session: Session
    model: ModelShape
    temps: list[Temp] = field(default_factory=list)
    events: Events = field(default_factory=NoEvents)
    _numbers: Iterable[int] = field(default_factory=count)

    @property
    def dialect(self) -> Dialect:
        return self.session.dialect

    @property
    def secondary(self) -> tuple[SourceShape, ...]:
        return self.model.sources[1:]

    @property
    def records(self) -> str:
        """The table of records, quoted."""
        return self.dialect.table(self.model.id)

    def staged(self, source: SourceShape) -> str:
        return self.dialect.table(staged_name(source.id))

    def binds(self) -> Binds:
        return Binds(self.dialect)

    def run(self, sql: str, binds: Binds | None = None) -> int:
        return self.session.run(sql, binds)

    def exists(self, sql: str, binds: Binds | None = None) -> bool:
        return bool(self.session.all(f"SELECT 1 WHERE EXISTS ({sql})", binds))

    def q(self, name: str) -> str:
        return self.dialect.quote(name)

    def names(self, names: Iterable[str], alias: str = "") -> str:
        """Quoted and joined, with the alias before each."""
        prefix = f"{alias}." if alias else ""
        return ", ".join(prefix + self.q(n) for n in names)

    def equal(self, names: Iterable[str], one: str, other: str) -> str:
        return " AND ".join(f"{one}.{self.q(n)} = {other}.{self.q(n)}" for n in names)

    def typed(self, columns: Iterable[Column]) -> list[tuple[str, str]]:
        return [(c.name, self.dialect.types[c.type]) for c in columns]

    def make_temp(self, stem: str, columns: Sequence[tuple[str, str]], *, key: Sequence[str] = ()) -> Temp:
        """A new temporary table that ends with the transaction."""
        bare = f"{stem}_{next(iter(self._numbers))}"
        defined = ", ".join(f"{self.q(name)} {type_}" for name, type_ in columns)
        if key:
            defined += f", PRIMARY KEY ({self.names(key)})"
        self.run(self.dialect.create_temp(bare, defined))
        made = Temp(bare, self.dialect.temp(bare))
        self.temps.append(made)
        return made

    def drop_temp(self, temp: Temp) -> None:
        self.run(f"DROP TABLE {temp.name}")
        self.temps.remove(temp)

    def drop_temps(self) -> None:
        for temp in list(self.temps):
            self.drop_temp(temp)

    def load_rows(self, source: SourceShape, rows: pa.Table) -> Temp:
        """The batch as a temporary table: the shape's columns, customer, deleted, invalid."""
        dialect = self.dialect
        columns = [
            *self.typed(source.columns),
            (CUSTOMER, dialect.text),
            (DELETED, dialect.types[PropertyType.BOOLEAN]),
            (INVALID, dialect.json),
        ]
        table = self.make_temp("batch", columns)
        self.session.load(table.name, columns, rows)
        return table

    def load_keys(self, key: Sequence[Column], keys: pa.Table) -> Temp:
        """The keys of a chunk: its columns, customer, and the row's place in the batch."""
        dialect = self.dialect
        columns = [
            *self.typed(key),
            (CUSTOMER, dialect.text),
            (ORDINAL, dialect.types[PropertyType.INTEGER]),
        ]
        table = self.make_temp("keys", columns)
        numbered = keys.append_column(ORDINAL, pa.arange(0, keys.num_rows))  # type: ignore[attr-defined]
        self.session.load(table.name, columns, numbered)
        return table


ORDINAL = "_ordinal"


def names_of(columns: Iterable[Column]) -> tuple[str, ...]:
    return tuple(c.name for c in columns)
