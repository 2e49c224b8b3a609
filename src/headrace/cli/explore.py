"""`headrace discover` and `headrace preview`: what an app's database holds, before anything is applied."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.options import Config, Json, SourceId

if TYPE_CHECKING:
    from headrace.definition.models import App
    from headrace.ports import SourceReader, TableListing

PREVIEWED_ROWS: Final = 10


def register(app: typer.Typer) -> None:
    panel = "Set up"
    app.command(rich_help_panel=panel)(discover)
    app.command(rich_help_panel=panel)(preview)


def discover(
    app_id: Annotated[str, typer.Argument(metavar="APP", help="The id of an app: config/apps/<id>.json.")],
    table: Annotated[
        str | None,
        typer.Argument(metavar="TABLE", help="Print a source definition of this table to start from."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write it to config/sources, with its model; overwrites nothing.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the tables of an app, with the key, cursor and foreign keys that a source could use.

    Needs only the app's own file to be right. With TABLE it prints a definition of a primary source; with
    --write it makes files of that, and says what the table lacks.

    Example: headrace discover shop_db purchases --write
    """
    from headrace.cli import screen
    from headrace.cli.session import settings_for
    from headrace.cli.source_file import concerns_of, definition_of, file_text, write_source
    from headrace.errors import ConfigurationError

    if write and (table is None or as_json):
        raise ConfigurationError(f"--write is of a table: headrace discover {app_id} TABLE --write")
    with _reader(config, app_id) as reader:
        tables = reader.tables()
        listing = None if table is None else _table_named(table, tables, reader)
        concerns = concerns_of(listing, reader) if listing is not None and write else []
    if listing is not None and write:
        _tell_written(write_source(settings_for(config).config_dir, app_id, listing), concerns)
    elif listing is not None:
        print(file_text(definition_of(app_id, listing)))  # noqa: T201
    elif as_json:
        screen.print_json([_as_json(listing) for listing in tables])
    elif not tables:
        screen.print_line(f"{app_id} has no tables that it may read.")
    else:
        columns = [screen.Column(name) for name in ("table", "rows, about", "key", "cursor", "foreign keys")]
        columns[1] = screen.Column("rows, about", right=True)
        screen.print_table(columns, [_as_row(listing) for listing in tables])
        start = f"headrace discover {app_id} {shlex.quote(tables[0].table)} --write"
        screen.print_line(f"\nTo start from one: {start}", markup=False)


def _tell_written(paths: Sequence[Path], concerns: Sequence[str]) -> None:
    from headrace.cli import screen

    source = paths[0]
    screen.print_line(f"Wrote {' and '.join(path.as_posix() for path in paths)}.\n", markup=False)
    for concern in concerns:
        screen.print_line(f"- {concern}", markup=False)
    screen.print_line("- Every column is a property: drop those that you do not want.", markup=False)
    screen.print_line(f"\nNext: headrace preview {source.stem}, then headrace sync.", markup=False)


def preview(
    source_id: SourceId,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows to show, at most.")] = PREVIEWED_ROWS,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the first rows of a source, as its database has them, and which columns feed properties.

    Nothing is applied, journalled or stored.

    Example: headrace preview purchases --limit 5
    """
    from headrace.cli import screen
    from headrace.cli.session import definitions_of, named, settings_for
    from headrace.definition.column_rules import column_faults
    from headrace.definition.relation import query_text
    from headrace.errors import ConfigurationError
    from headrace.ports import KeyRange, ReadPlan, Relation

    definitions = definitions_of(settings_for(config))
    source = named(definitions.sources, source_id, word="source", directory=definitions.directory)
    relation = Relation(table=source.table, query=query_text(source.query) if source.query else None)
    rows: list[dict[str, Any]] = []
    for app_id in source.app_ids:
        with _opened(app_id, definitions.apps[app_id], definitions.file("apps", app_id)) as reader:
            facts = reader.describe(relation)
            faults = tuple(column_faults(definitions.file("sources", source_id), source, facts))
            if faults:
                raise ConfigurationError(*faults)
            plan = ReadPlan(
                relation=relation,
                columns=tuple(column.name for column in facts.columns),
                key=source.key,
                cursor=None,
                page_rows=limit,
            )
            with reader.read(plan, KeyRange(None, None, limit - len(rows))) as pages:
                rows += [row for page in pages for row in page.rows.to_pylist()]
        if len(rows) >= limit:
            break
    if as_json:
        screen.print_json(rows)
        return
    names = [column.name for column in facts.columns]
    shown = [[row[name] for name in names] for row in rows]
    screen.print_blocks_if_wide([screen.Column(name) for name in names], shown)
    screen.print_line()
    screen.print_table(
        [screen.Column("column"), screen.Column("type at the source"), screen.Column("feeds")],
        [[c.name, c.native_type, ", ".join(_uses(source, c.name))] for c in facts.columns],
    )


@contextmanager
def _reader(config: Path | None, app_id: str) -> Iterator[SourceReader]:
    """A reader of an app that is known by its own file alone: other definitions may still be wrong."""
    from headrace.cli.session import named, settings_for
    from headrace.definition.models import App
    from headrace.definition.parsing import parse
    from headrace.definition.reading import read
    from headrace.errors import ConfigurationError

    written = read(settings_for(config).config_dir)
    if not written.ids("apps"):
        raise ConfigurationError(*written.faults, f"there is no app in {written.directory}/apps")
    if app_id in written.broken["apps"]:
        raise ConfigurationError(*(f for f in written.faults if f.file == written.file("apps", app_id)))
    body = named(written.bodies["apps"], app_id, word="app", directory=written.directory)
    app, faults = parse("apps", body, written.file("apps", app_id))
    if faults or not isinstance(app, App):
        raise ConfigurationError(*faults)
    with _opened(app_id, app, written.file("apps", app_id)) as reader:
        yield reader


@contextmanager
def _opened(app_id: str, app: App, file: str) -> Iterator[SourceReader]:
    from headrace import logs
    from headrace.errors import ConfigurationError, Fault
    from headrace.sources.connect import open_reader

    try:
        url = app.url.resolve(os.environ)
    except ConfigurationError as error:
        raise ConfigurationError(*(Fault(file, "url", f.message, f.code) for f in error.faults)) from error
    logs.keep_secret(url)
    reader = open_reader(app_id, url, nonce="headrace")
    try:
        yield reader
    finally:
        reader.close()


def _table_named(name: str, tables: tuple[TableListing, ...], reader: SourceReader) -> TableListing:
    """A listed table by its name or bare name, or whatever else a source may name (a pattern of files).

    Raises:
        ConfigurationError: there is no such table; says which name was probably meant.
    """
    from headrace.cli.source_file import bare_name
    from headrace.errors import ConfigurationError, ErrorCode, RelationUnavailableError, SourceDriftError

    by_name = {listing.table: listing for listing in tables}
    by_name |= {bare_name(listing.table): listing for listing in reversed(tables)} | by_name
    if name in by_name:
        return by_name[name]
    try:
        return _unlisted(name, tables, reader)
    except (SourceDriftError, RelationUnavailableError) as error:
        raise ConfigurationError(str(error), code=ErrorCode(error.code)) from error


def _unlisted(name: str, tables: tuple[TableListing, ...], reader: SourceReader) -> TableListing:
    """Its columns, with what is suggested for a listed table that has the same."""
    from dataclasses import replace

    from headrace.ports import Relation, TableListing

    facts = reader.describe(Relation(table=name))
    columns = [column.name for column in facts.columns]
    for listing in tables:
        if [column.name for column in listing.facts.columns] == columns:
            return replace(listing, table=name, estimated_rows=None)
    return TableListing(
        table=name,
        facts=facts,
        estimated_rows=None,
        suggested_key=next((key for key in (facts.primary_key, *facts.unique_keys) if key), ()),
        suggested_cursor=None,
        cursor_has_index=False,
        foreign_keys=(),
    )


def _as_row(listing: TableListing) -> list[str | None]:
    cursor = listing.suggested_cursor
    if cursor and not listing.cursor_has_index:
        cursor += " (no index)"
    rows = None if listing.estimated_rows is None else f"{listing.estimated_rows:,}"
    foreign = [f"{', '.join(f.columns)} → {f.table}" for f in listing.foreign_keys]
    return [listing.table, rows, ", ".join(listing.suggested_key) or None, cursor, "; ".join(foreign) or None]


def _as_json(listing: TableListing) -> dict[str, Any]:
    return {
        "table": listing.table,
        "estimated_rows": listing.estimated_rows,
        "key": listing.suggested_key,
        "cursor": listing.suggested_cursor,
        "cursor_has_index": listing.cursor_has_index,
        "foreign_keys": [
            {"columns": f.columns, "table": f.table, "references": f.references} for f in listing.foreign_keys
        ],
        "columns": [
            {"name": c.name, "native_type": c.native_type, "type": c.type, "nullable": c.nullable}
            for c in listing.facts.columns
        ],
    }


def _uses(source: Any, column: str) -> list[str]:
    from headrace.definition.column_rules import named_columns

    roles = []
    for path, used in named_columns(source):
        if used != column:
            continue
        first, *rest = path.replace("[", ".").split(".")
        match first:
            case "key":
                roles.append("the key")
            case "mapping":
                roles.append(f"the mapping to {source.mapped_property}")
            case "schedule":
                roles.append("the cursor" if rest[0] == "cursor" else "deletes")
            case "customer":
                roles.append("the customer")
            case _:
                roles.append(rest[0])
    return list(dict.fromkeys(roles))
