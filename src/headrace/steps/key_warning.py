"""Keys that may not identify a row: rows that share one would be taken for one row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headrace.definition.definitions import Definitions
from headrace.domain.vocabulary import SourceId
from headrace.errors import Fault
from headrace.ports import TableFacts

_WHAT_COMES_OF_IT = "rows that share a key are kept as one, the last that was read"


def key_warnings(definitions: Definitions, facts: Mapping[SourceId, TableFacts]) -> Iterator[Fault]:
    """One for each source of a table whose key neither its primary key nor a unique index covers.

    A query has no catalogue to say so, nor have files; of a table without any unique key only a column
    that may be null is told.
    """
    for source_id, source in sorted(definitions.sources.items()):
        known = facts.get(source_id)
        of_files = any(definitions.apps[app_id].type == "files" for app_id in source.app_ids)
        if source.table is None or known is None or of_files or known.identifies(source.key):
            continue
        file = definitions.file("sources", source_id)
        nullable = _nullable(source.key, known)
        if nullable is not None:
            column = source.key[nullable]
            message = f"{column} is nullable and no unique index covers it: {_WHAT_COMES_OF_IT}"
            yield Fault(file, f"key[{nullable}]", message)
        elif known.primary_key:
            named, primary = ", ".join(source.key), ", ".join(known.primary_key)
            message = f"no unique index covers ({named}): {_WHAT_COMES_OF_IT}; the primary key is ({primary})"
            yield Fault(file, "key", message)


def _nullable(key: tuple[str, ...], facts: TableFacts) -> int | None:
    """The place of the first column of the key that may be null."""
    columns = [facts.column(name) for name in key]
    return next((i for i, column in enumerate(columns) if column is not None and column.nullable), None)
