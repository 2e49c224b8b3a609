"""A source to start from: a table's definition as a person would write it, and its files."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import ConfigurationError, ErrorCode, Fault

if TYPE_CHECKING:
    from headrace.ports import SourceReader, TableListing

_WILD: Final = frozenset("*?[")
_ID_LENGTH: Final = 40
_ANSWER_WITHIN_S: Final = 2.0


def bare_name(table: str) -> str:
    """The table without its namespace, the file without its directory and endings, a pattern without what
    stands for others."""
    file = re.fullmatch(r"(?:.*/)?(.+?)\.(?:csv|tsv|parquet)(?:\.(?:gz|zst|bz2))?", table, re.IGNORECASE)
    name = file[1] if file else table.rpartition("/")[2].rpartition(".")[2]
    if not _WILD & set(name):
        return name
    plain = re.sub(r"\[[^]]*\]|[*?]", "", name).strip("_-. ")
    return plain or bare_name(table.rpartition("/")[0] or "files")


def definition_of(app_id: str, listing: TableListing) -> dict[str, Any]:
    """A primary source of a table, every column a property: to be cut down by a person."""
    name = bare_name(listing.table)
    schedule: dict[str, Any] = {"every": "1m"}
    if listing.suggested_cursor:
        schedule["cursor"] = listing.suggested_cursor
    columns = listing.facts.columns
    names = _property_names(column.name for column in columns)
    return {
        "name": name.replace("_", " ").capitalize(),
        "model": id_of(name),
        "primary": True,
        "app": app_id,
        "table": listing.table,
        "key": listing.suggested_key,
        "schedule": schedule,
        "properties": {
            name: {"type": c.type, "column": c.name} for name, c in zip(names, columns, strict=True)
        },
    }


def id_of(name: str) -> str:
    """What a file of it may be called: a small letter, then small letters, digits and underscores."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return (plain if plain[:1].isalpha() else f"t_{plain}".rstrip("_"))[:_ID_LENGTH]


def _property_names(columns: Iterable[str]) -> Iterator[str]:
    """Of each column; an underscore at the beginning is Headrace's."""
    listed = list(columns)
    taken = {name for name in listed if not name.startswith("_")}
    for name in listed:
        free = name.lstrip("_") or "column"
        while free != name and free in taken:
            free += "_"
        taken.add(free)
        yield free


def file_text(definition: dict[str, Any]) -> str:
    """JSON as a person would write it: a line a key, and a line a property."""
    lines = []
    for key, value in definition.items():
        if key == "properties":
            inner = ",\n".join(f"    {json.dumps(name)}: {json.dumps(p)}" for name, p in value.items())
            lines.append(f'  "properties": {{\n{inner}\n  }}')
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def write_source(directory: Path, app_id: str, listing: TableListing) -> list[Path]:
    """The files that are new: the source's, and its model's unless there is one.

    Args:
        directory: of definitions.

    Raises:
        ConfigurationError: a file is in the way, or nobody can tell which schema the model belongs to;
            nothing was written.
    """
    definition = definition_of(app_id, listing)
    id_ = definition["model"]
    source, model = directory / "sources" / f"{id_}.json", directory / "models" / f"{id_}.json"
    if source.exists():
        printed = f"headrace discover {app_id} {shlex.quote(listing.table)}"
        message = f"exists already, and is kept: remove or rename it first, or have it printed: {printed}"
        raise ConfigurationError(Fault(source.as_posix(), "", message, ErrorCode.CONFIGURATION_INVALID))
    texts = {source: file_text(definition)}
    if not model.exists():
        texts[model] = file_text({"name": definition["name"], "schema": _schema(directory, model)})
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return list(texts)


def _schema(directory: Path, model: Path) -> str:
    """The only one that there is."""
    from headrace.definition.reading import read

    schemas = sorted(read(directory).ids("schemas"))
    if len(schemas) == 1:
        return schemas[0]
    meant = (
        f'one of {", ".join(schemas)}: {{"name": …, "schema": …}}'
        if schemas
        else "make config/schemas/main.json"
    )
    raise ConfigurationError(
        Fault(model.as_posix(), "schema", f"write this file first, with its schema; {meant}")
    )


def concerns_of(listing: TableListing, reader: SourceReader) -> list[str]:
    """What the table lacks for what is written of it, each with how to mend it."""
    cursor, concerns = listing.suggested_cursor, list[str]()
    if not listing.suggested_key:
        concerns.append(
            'It has no primary or other unique key: name in "key" the columns that tell its rows apart.'
        )
    if cursor is None:
        concerns.append(
            "No column says when a row changed, so it is read whole at each poll. Add one that the database "
            'sets at every insert and update, and name it in the schedule, "cursor": "…"; or poll it rarely.'
        )
        return concerns
    statement = _index_wanted(listing, cursor, reader)
    if statement:
        concerns.append(f"No index begins with {cursor}: each poll would scan the whole table. {statement}")
    concerns.append(
        f"If the database sets {cursor} at every insert and update, "
        'say so: "clock": "database" in its schedule.'
    )
    return concerns


def _index_wanted(listing: TableListing, cursor: str, reader: SourceReader) -> str:
    """The statement that makes an index of the cursor; empty where there is one, or none can be."""
    from headrace.ports import ReadPlan, Relation

    key = listing.suggested_key or (cursor,)
    plan = ReadPlan(
        relation=Relation(table=listing.table),
        columns=tuple(dict.fromkeys((*key, cursor))),
        key=key,
        cursor=cursor,
    )
    found = reader.examine(plan, limit_s=_ANSWER_WITHIN_S)
    if found.indexes is None or any(index[:1] == (cursor,) for index in found.indexes):
        return ""
    return found.index_statement
