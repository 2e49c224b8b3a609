"""Lists files for `discover`, with what their first rows say of types, key and cursor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from headrace import logs
from headrace.domain.arrow import Array, Table, pa, pc
from headrace.domain.coercion import coerce
from headrace.domain.vocabulary import PropertyType
from headrace.errors import HeadraceError
from headrace.ports import ColumnFacts, TableListing
from headrace.sources.files_error import translated
from headrace.sources.files_parquet import read_parquet, row_count
from headrace.sources.files_path import Format, SourceFile
from headrace.sources.files_sample import sampled
from headrace.sources.files_shape import TEXT, shape_of
from headrace.sources.suggestion import suggest_cursor

log = logs.get(__name__)

_SAMPLE_ROWS: Final = 10_000
_FORMS: Final = (
    (PropertyType.INTEGER, r"\A-?(0|[1-9][0-9]{0,17})\z"),  # 007 is a code, not a number
    (PropertyType.DECIMAL, r"\A-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?\z"),
    (PropertyType.BOOLEAN, r"\A(?i:true|false)\z"),
    (PropertyType.DATE, r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\z"),
    (PropertyType.DATETIME, r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}([ T].*)?\z"),
)


def listed(app_id: str, files: Sequence[SourceFile]) -> tuple[TableListing, ...]:
    """Each directory of files alike as a table, and each file; one that cannot be read is left out, and a
    warning says why."""
    found: dict[str, TableListing] = {}
    for file in files:
        try:
            found[file.name] = _listing(app_id, file)
        except HeadraceError as error:
            log.warning("file not listed", file=file.name, error=str(error))
    return (*_directories(files, found), *found.values())


def _directories(files: Sequence[SourceFile], found: Mapping[str, TableListing]) -> Iterator[TableListing]:
    """Directories that are tables: every file right in one was found, and has the columns of the others."""
    inside: dict[str, list[TableListing | None]] = {}
    for file in files:
        inside.setdefault(str(PurePosixPath(file.name).parent), []).append(found.get(file.name))
    for folder, within in sorted(inside.items()):
        listings = [listing for listing in within if listing is not None]
        shapes = {frozenset(column.name for column in listing.facts.columns) for listing in listings}
        if folder == "." or len(listings) < len(within) or len(shapes) > 1:
            continue
        rows = [listing.estimated_rows for listing in listings if listing.estimated_rows is not None]
        first = next((listing for listing in listings if listing.estimated_rows), listings[0])
        about = sum(rows) if len(rows) == len(listings) else None
        yield replace(first, table=folder, estimated_rows=about)


def _listing(app_id: str, file: SourceFile) -> TableListing:
    shape = shape_of(app_id, [file])
    names = [column.name for column in shape.facts.columns]
    with translated(app_id, file.name):
        sample, rows = _sample(app_id, file, names)
    columns = tuple(_typed(column, sample) for column in shape.facts.columns)
    return TableListing(
        table=file.name,
        facts=replace(shape.facts, columns=columns),
        estimated_rows=rows,
        suggested_key=_suggested_key(names, sample),
        suggested_cursor=suggest_cursor(columns),
        cursor_has_index=True,  # none is needed: a file is read whole in any case
        foreign_keys=(),
    )


def _sample(app_id: str, file: SourceFile, names: Sequence[str]) -> tuple[Table, int | None]:
    """The file's first rows, and how many it has: about, where it is long."""
    if file.format is Format.PARQUET:
        with closing(read_parquet(file, names)) as pieces:
            first = next(pieces, None)
        rows = first.rows if first else _no_rows(names)
        return rows.slice(0, _SAMPLE_ROWS), row_count(file)
    found = sampled(app_id, file)
    return found.head.select(list(names)).slice(0, _SAMPLE_ROWS), found.rows


def _no_rows(names: Sequence[str]) -> Table:
    return pa.table({name: pa.array([], pa.string()) for name in names})


def _typed(column: ColumnFacts, sample: Table) -> ColumnFacts:
    if column.native_type != TEXT:
        return column
    return replace(column, type=_suggested_type(sample.column(column.name).combine_chunks().drop_null()))


def _suggested_type(texts: Array) -> PropertyType:
    """The narrowest type that every text has the form of; string when there is none."""
    for type_, form in _FORMS:
        formed = len(texts) and pc.all(pc.match_substring_regex(texts, form)).as_py()
        if formed and coerce(texts, type_, time_zone="UTC").invalid is None:
            return type_
    return PropertyType.STRING


def _suggested_key(names: Sequence[str], sample: Table) -> tuple[str, ...]:
    """The column whose values differ in all rows that were looked at: `id`, or one named like it, or the
    first."""
    unique = [
        name
        for name in names
        if sample.num_rows
        and not sample.column(name).null_count
        and len(pc.unique(sample.column(name))) == sample.num_rows
    ]
    named = [name for name in unique if name.lower() in {"id", "uuid", "key"}]
    named += [name for name in unique if name.lower().endswith(("_id", "_key", "id"))]
    first = [name for name in unique if name == names[0]]
    return tuple((named or first or unique)[:1])
