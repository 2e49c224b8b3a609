"""Records read by plain SQL, as values of their property types, and their comparison with an oracle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.acceptance.project import Definitions, query, sqlite_url

Record = dict[str, Any]
Records = dict[tuple[Any, ...], Record]
"""Records by (customer, *key)."""

SHOWN = 10

SQLITE_FORMS = {
    "decimal": re.compile(r"0|-?(0|[1-9]\d*)(\.\d*[1-9])?"),
    "datetime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
}
"""How SQLite keeps what it has no type for."""


def as_value(kind: str, raw: Any) -> Any:
    """The Python value that a property of type `kind` has, from what a driver gave."""
    if raw is None:
        return None
    match kind:
        case "boolean":
            assert raw in (0, 1), f"not a boolean: {raw!r}"
            return bool(raw)
        case "integer":
            assert isinstance(raw, int), f"not an integer: {raw!r}"
            return raw
        case "float":
            return float(raw)
        case "decimal":
            return Decimal(repr(raw)) if isinstance(raw, float) else Decimal(raw)
        case "date":
            return raw if isinstance(raw, date) else date.fromisoformat(raw)
        case "datetime":
            moment = raw if isinstance(raw, datetime) else datetime.fromisoformat(raw)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        case "json":
            return json.loads(raw) if isinstance(raw, str) else raw
        case _:
            assert isinstance(raw, str), f"not a text: {raw!r}"
            return raw


def property_types(definitions: Definitions, model: str, key: Mapping[str, str]) -> dict[str, str]:
    """Types of a model's properties by name: the key's first, as `key` says, then those declared."""
    types = dict(key)
    for place, source in definitions.items():
        if place.startswith("sources/") and source["model"] == model:
            types |= {name: declared["type"] for name, declared in source["properties"].items()}
    return types


@dataclass(frozen=True)
class PostgresStore:
    """A PostgreSQL data source, seen by a user with psql."""

    url: str
    namespace: str = "headrace"

    def definition(self) -> dict[str, Any]:
        return {"type": "postgres", "url": "${STORE_URL}"}

    def records(self, model: str, types: Mapping[str, str], key: Iterable[str]) -> Records:
        columns = ", ".join(f'"{name}"' for name in types)
        rows = query(self.url, f'SELECT _customer_id, _invalid, {columns} FROM "{self.namespace}"."{model}"')
        return _keyed(rows, types, tuple(key))

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Place and writing transaction of every row version, by table: a write of any kind shows."""
        tables = query(
            self.url, f"SELECT tablename FROM pg_tables WHERE schemaname = '{self.namespace}' ORDER BY 1"
        )
        return {
            name: query(
                self.url, f'SELECT ctid::text, xmin::text FROM "{self.namespace}"."{name}" ORDER BY 1'
            )
            for (name,) in tables
        }


@dataclass(frozen=True)
class SqliteStore:
    """A SQLite data source, seen by a user with the sqlite3 shell."""

    path: Path

    @property
    def url(self) -> str:
        return sqlite_url(self.path)

    def definition(self) -> dict[str, Any]:
        return {"type": "sqlite", "url": "${STORE_URL}"}

    def records(self, model: str, types: Mapping[str, str], key: Iterable[str]) -> Records:
        columns = ", ".join(f'"{name}"' for name in types)
        rows = query(self.url, f'SELECT _customer_id, _invalid, {columns} FROM "{model}"')
        for row in rows:
            for (name, kind), raw in zip(types.items(), row[2:], strict=True):
                form = SQLITE_FORMS.get(kind)
                assert raw is None or form is None or form.fullmatch(raw), f"{name} is kept as {raw!r}"
        return _keyed(rows, types, tuple(key))

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table with its `_updated_at`: a changed row shows."""
        tables = query(self.url, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
        return {name: sorted(query(self.url, f'SELECT * FROM "{name}"'), key=repr) for (name,) in tables}


Store = PostgresStore | SqliteStore


def oracle(
    url: str, statement: str, types: Mapping[str, str], key: Iterable[str], *, customer: str
) -> Records:
    """What the records should be, by one statement over the source: its columns are `types` in order."""
    rows = [(customer, None, *row) for row in query(url, statement)]
    return _keyed(rows, types, tuple(key))


def differences(expected: Records, actual: Records) -> list[str]:
    """Every way in which the records differ, one line each."""
    lines = [f"{key}: missing" for key in expected.keys() - actual.keys()]
    lines += [f"{key}: should not be there: {actual[key]}" for key in actual.keys() - expected.keys()]
    for key in expected.keys() & actual.keys():
        lines += [
            f"{key}: {name} is {actual[key].get(name)!r}, should be {value!r}"
            for name, value in expected[key].items()
            if actual[key].get(name) != value
        ]
    return sorted(lines)


def assert_equal_records(expected: Records, actual: Records) -> None:
    lines = differences(expected, actual)
    more = f"\n... and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    assert not lines, (
        f"{len(lines)} differences between {len(actual)} records and {len(expected)} expected:\n"
        + "\n".join(lines[:SHOWN])
        + more
    )


def _keyed(rows: Iterable[tuple[Any, ...]], types: Mapping[str, str], key: tuple[str, ...]) -> Records:
    records: Records = {}
    for customer, invalid, *values in rows:
        record = {name: as_value(kind, raw) for (name, kind), raw in zip(types.items(), values, strict=True)}
        record["_invalid"] = as_value("json", invalid)
        place = (customer, *(record[name] for name in key))
        assert place not in records, f"two records of {place}"
        records[place] = record
    return records
