"""What the end of a campaign is compared with: SQL over the source, against every store and customer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.acceptance.project import query
from tests.faults.shop import HOMES, ORACLE, PROPERTIES, SOURCES

SHOWN: Final = 12
COLUMNS: Final = (*PROPERTIES, "_invalid")
VALID: Final = None
"""What `_invalid` is where every value fits."""
KINDS: Final = ("lost", "stale", "ghost", "duplicate", "foreign")

Values = tuple[Any, ...]
Place = tuple[str, int]
"""Customer and key."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row in a store: where it is, whose it says it is, its key and values."""

    data_source: str
    customer: str
    key: int
    values: Values = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the stores differ from what the source says.

    Attributes:
        records, properties: compared; `rows`: of the source that they are made of.
        lost: records that are not where their customer's data source is.
        stale: records there with another value.
        ghost: records and staged rows that the source has no row for, of that customer.
        duplicate: keys that are there more than once, over all stores and customers.
        foreign: rows of a customer in a data source that is not its own.
    """

    rows: int
    records: int
    properties: int
    differences: Mapping[str, list[str]] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        return len(self.differences.get(kind, []))

    @property
    def clean(self) -> bool:
        return not any(self.differences.values())

    def __str__(self) -> str:
        counts = ", ".join(f"{kind} {self.count(kind)}" for kind in KINDS)
        lines = [
            f"compared {self.records} records, {self.properties} properties, made of {self.rows} rows",
            counts,
        ]
        for kind in KINDS:
            lines += [f"  {kind}: {line}" for line in self.differences.get(kind, [])[:SHOWN]]
        return "\n".join(lines)


def examine(source_url: str, stores: Mapping[str, str]) -> Verdict:
    """The stores as they are now, by data source, compared with the source as it is now."""
    expected: dict[Place, Values] = {(r[0], r[1]): (*r[1:], VALID) for r in query(source_url, ORACLE)}
    known = {name: _places(source_url, name) for name in SOURCES}
    records = [found for name, url in stores.items() for found in _records(name, url)]
    staged = {
        table: [found for name, url in stores.items() for found in _staged(name, url, table)]
        for table in SOURCES[1:]
    }
    differences = judged(expected, records)
    for table, rows in staged.items():
        for kind, lines in judged_staged(table, known[table], rows).items():
            differences[kind] += lines
    return Verdict(
        rows=sum(map(len, known.values())),
        records=len(expected),
        properties=len(expected) * len(PROPERTIES),
        differences=differences,
    )


def judged(expected: Mapping[Place, Values], records: Iterable[Found]) -> dict[str, list[str]]:
    """The differences between what should be and the records that are, by kind."""
    records = list(records)
    at_home = {(f.customer, f.key): f for f in records if HOMES.get(f.customer) == f.data_source}
    times = Counter(f.key for f in records)
    return {
        "lost": [f"{place}" for place in sorted(expected.keys() - at_home.keys())],
        "stale": [
            f"{place}: {_changed(values, at_home[place].values)}"
            for place, values in sorted(expected.items())
            if place in at_home and at_home[place].values != values
        ],
        "ghost": [
            f"{f.customer} {f.key} in {f.data_source}" for f in records if (f.customer, f.key) not in expected
        ],
        "duplicate": [f"{key} is there {number} times" for key, number in times.items() if number > 1],
        "foreign": _foreign("record", records),
    }


def judged_staged(table: str, known: set[Place], rows: Iterable[Found]) -> dict[str, list[str]]:
    """Staged rows that should not be: their values show in the records."""
    rows = list(rows)
    return {
        "ghost": [
            f"{table} of {f.customer} {f.key} staged in {f.data_source}"
            for f in rows
            if (f.customer, f.key) not in known
        ],
        "foreign": _foreign(table, rows),
    }


def _foreign(what: str, rows: Iterable[Found]) -> list[str]:
    return [
        f"{what} of {f.customer} {f.key} in {f.data_source}"
        for f in rows
        if HOMES.get(f.customer) != f.data_source
    ]


def _changed(expected: Values, actual: Values) -> str:
    return ", ".join(
        f"{name} is {is_!r}, should be {should!r}"
        for name, should, is_ in zip(COLUMNS, expected, actual, strict=True)
        if should != is_
    )


def _places(url: str, table: str) -> set[Place]:
    return {(customer, key) for customer, key in query(url, f"SELECT tenant, id FROM {table}")}


def _records(data_source: str, url: str) -> list[Found]:
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    rows = query(url, f"SELECT _customer_id, id, {columns} FROM headrace.users")
    return [Found(data_source, row[0], row[1], row[2:]) for row in rows]


def _staged(data_source: str, url: str, table: str) -> list[Found]:
    rows = query(url, f"SELECT _customer_id, id FROM headrace._staged_{table}")
    return [Found(data_source, customer, key) for customer, key in rows]
