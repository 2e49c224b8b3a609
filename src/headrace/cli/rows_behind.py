"""The staged rows behind a record, as `headrace explain` shows them: by column of the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headrace.cli.record import Found, canonical, plain_rows
from headrace.domain.shape import ModelShape, PropertyShape, SourceShape
from headrace.domain.vocabulary import INVALID, PropertyType

if TYPE_CHECKING:
    from headrace.wiring import Application

LOOKED_AT: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBehind:
    """One staged row.

    Attributes:
        values: by column of the source.
        invalid: by column of the source, what the source has where that fits no type it is read as.
    """

    values: Mapping[str, Any]
    invalid: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsBehind:
    """At most `LOOKED_AT` staged rows of a source that belong to a record, as the store has them."""

    source: SourceShape
    staged: Sequence[Mapping[str, Any]]

    def first(self, number: int) -> list[RowBehind]:
        return [_row_behind(self.source, row) for row in self.staged[:number]]

    def invalid(self, made: PropertyShape) -> list[Mapping[str, str]]:
        """Value and reason of each of these rows whose value does not fit the property."""
        notes = (row[INVALID] for row in self.staged)
        return [note[made.column] for note in notes if note and made.column in note]


def rows_behind(app: Application, source: SourceShape, record: Found, model: ModelShape) -> RowsBehind:
    """Those of a secondary source; of a primary one there are none."""
    if source.mapping is None:
        return RowsBehind(source=source, staged=())
    column = next(c for c in model.columns if c.name == source.mapping.property)
    value = canonical(record.values[column.name], column.type)
    if value is None:
        return RowsBehind(source=source, staged=())
    store = app.stores.open(record.data_source)
    rows = store.staged_rows(source, customer=record.customer, value=value, limit=LOOKED_AT)
    of_json = frozenset({INVALID}) | {c.name for c in source.columns if c.type is PropertyType.JSON}
    return RowsBehind(source=source, staged=list(plain_rows(rows, of_json)))


def _row_behind(source: SourceShape, row: Mapping[str, Any]) -> RowBehind:
    """A column that is read as several types is staged once for each: shown is one that it fits."""
    values: dict[str, Any] = {}
    invalid: dict[str, str] = {}
    for column in source.columns:
        if values.get(column.source_column) is None:
            values[column.source_column] = row[column.name]
        note = (row[INVALID] or {}).get(column.name)
        if note is not None:
            invalid[column.source_column] = note["value"]
    return RowBehind(values=values, invalid=invalid)
