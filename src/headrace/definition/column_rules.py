"""Does a source's definition fit the columns that its catalogue shows?"""

from __future__ import annotations

from collections.abc import Iterator

from headrace.definition.property_graph import implied_key_columns
from headrace.definition.source import CustomerColumn, PrimarySource, SecondarySource, Source
from headrace.definition.wording import suggestion
from headrace.domain.vocabulary import PropertyType
from headrace.errors import (
    ErrorCode,
    Fault,
)
from headrace.ports import ColumnFacts, TableFacts

_UNORDERED = frozenset({PropertyType.JSON, PropertyType.BOOLEAN})


def named_columns(source: Source) -> Iterator[tuple[str, str]]:
    """(path in the file, column) of every column that a source's definition names."""
    yield from ((f"key[{i}]", column) for i, column in enumerate(source.key))
    schedule = source.schedule
    if schedule.cursor:
        yield "schedule.cursor", schedule.cursor
    if schedule.deleted_column:
        yield "schedule.deletes.column", schedule.deleted_column
    if isinstance(source.customer, CustomerColumn):
        yield "customer.column", source.customer.column
    if isinstance(source, PrimarySource):
        yield from ((f"properties.{name}.column", p.column) for name, p in source.properties.items())
    else:
        yield from _secondary_columns(source)


def _secondary_columns(source: SecondarySource) -> Iterator[tuple[str, str]]:
    yield f"mapping.{source.mapping_column}", source.mapping_column
    for name, property_ in source.properties.items():
        if property_.column:
            yield f"properties.{name}.column", property_.column
        if property_.order_by:
            yield f"properties.{name}.order_by", property_.order_by
        for index, group in enumerate(property_.groups):
            yield from ((f"properties.{name}.filters[{index}]", clause.column) for clause in group)


def column_faults(file: str, source: Source, facts: TableFacts) -> Iterator[Fault]:
    """A fault for each column that is not there, or is there with a type that cannot serve."""
    names = [c.name for c in facts.columns]
    for path, column in named_columns(source):
        found = facts.column(column)
        if found is None:
            message = f'no column "{column}" in {_relation(source)}{suggestion(column, names)}'
            yield Fault(file, path, message, ErrorCode.COLUMN_MISSING)
        elif path == "schedule.cursor" and found.type in _UNORDERED:
            message = f'"{column}" is {found.native_type}, which cannot say when a row changed'
            yield Fault(file, path, f"{message}; name a time or a number that grows")
        elif path.startswith("key["):
            yield from _key_faults(file, path, source, found)


def _key_faults(file: str, path: str, source: Source, column: ColumnFacts) -> Iterator[Fault]:
    implied = isinstance(source, SecondarySource) or column.name in implied_key_columns(source)
    if implied and column.type is PropertyType.JSON:
        message = f'"{column.name}" is {column.native_type}, which cannot be compared'
        yield Fault(file, path, f"{message}; name a column that identifies a row")


def _relation(source: Source) -> str:
    return f"table {source.table}" if source.table else "the query"
