"""What PostgreSQL's catalogue says of relations: their columns, keys, indexes and references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from headrace.errors import ConfigurationError
from headrace.ports import ForeignKey, Relation, TableFacts, TableListing
from headrace.sources.drift import missing_table, query_text
from headrace.sources.fingerprint import fingerprint
from headrace.sources.postgres_column import PostgresColumn, described_columns, query_columns, table_columns
from headrace.sources.suggestion import suggest_cursor

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresRelation:
    """A relation that exists: how FROM names it, and its columns.

    Attributes:
        oid: of a table or view, None of a query.
        seen: what `look` saw when it was found.
    """

    source: sql.Composable
    facts: TableFacts
    columns: tuple[PostgresColumn, ...]
    oid: int | None = None
    seen: str | None = None

    def column(self, name: str) -> PostgresColumn:
        return next(c for c in self.columns if c.facts.name == name)

    @property
    def numbers(self) -> tuple[tuple[str, int], ...]:
        """The number of each column, which no other column of the table is ever given; none of a query."""
        return () if self.oid is None else tuple((c.facts.name, c.number) for c in self.columns)


# The relation that the search path shows under the bare name comes before any that a dot leads to.
_FIND = """
SELECT c.oid, n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND ((c.relname = %(table)s AND pg_table_is_visible(c.oid))
       OR (n.nspname::text, c.relname::text)
          IN (SELECT * FROM unnest(%(namespaces)s::text[], %(names)s::text[])))
ORDER BY c.relname <> %(table)s
LIMIT 1
"""
# All of a table that its facts are made of, domains aside, in one statement.
_LOOK = f"""
SELECT concat_ws(' ', found.oid, found.nspname, found.relname,
  (SELECT string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull), ','
                     ORDER BY a.attnum)
   FROM pg_catalog.pg_attribute a WHERE a.attrelid = found.oid AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT string_agg(concat_ws(' ', i.indexrelid, i.indisvalid, i.indisunique, i.indisprimary, i.indkey), ','
                     ORDER BY i.indexrelid)
   FROM pg_catalog.pg_index i WHERE i.indrelid = found.oid))
FROM ({_FIND}) AS found
"""
_LIST = """
SELECT c.oid, n.nspname || '.' || c.relname, c.reltuples::bigint
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND has_schema_privilege(n.oid, 'usage') AND has_table_privilege(c.oid, 'select')
ORDER BY 2
"""
_INDEXES = """
SELECT i.indrelid, i.indisprimary, i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL,
       i.indpred IS NULL,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int[]) WITH ORDINALITY AS k(attnum, position)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.position <= i.indnkeyatts ORDER BY k.position),
       (i.indkey::int[])[0] <> 0
FROM pg_catalog.pg_index i
WHERE i.indrelid = ANY(%(oids)s) AND i.indisvalid
ORDER BY i.indrelid, NOT i.indisprimary, i.indnkeyatts, i.indexrelid
"""
_REFERENCES = """
SELECT k.conrelid, n.nspname || '.' || c.relname,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, position)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
             ORDER BY u.position),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(attnum, position)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum
             ORDER BY u.position)
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.confrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conrelid = ANY(%(oids)s)
ORDER BY k.conrelid, k.conname
"""


def find_relation(connection: Connection, app_id: str, relation: Relation) -> PostgresRelation:
    """The relation as the catalogue has it now; SourceDriftError when there is no such table."""
    if relation.table is not None:
        return _find_table(connection, app_id, relation.table)
    if relation.query is None:
        raise ConfigurationError(f"{app_id}: a source needs a table or a query")
    return _find_query(connection, relation.query)


def _find_table(connection: Connection, app_id: str, table: str) -> PostgresRelation:
    seen = _look_at_table(connection, table)
    found = connection.execute(_FIND, _named(table)).fetchone()
    if found is None:
        raise missing_table(app_id, table, _names(connection))
    oid, namespace, name = found
    columns = table_columns(connection, [oid]).get(oid, ())
    keys = _keys(connection, [oid], {oid: columns})[oid]
    return PostgresRelation(
        source=sql.Identifier(namespace, name),
        facts=_facts(columns, keys),
        columns=columns,
        oid=oid,
        seen=seen,
    )


def _named(table: str) -> dict[str, Any]:
    """What finds the table: its name may hold dots."""
    dots = [at for at, letter in enumerate(table) if letter == "."]
    return {
        "table": table,
        "namespaces": [table[:at] for at in dots],
        "names": [table[at + 1 :] for at in dots],
    }


def is_as_found(connection: Connection, relation: Relation, known: PostgresRelation) -> bool:
    """Nothing that the relation's facts are made of has changed since it was found; cheaper than finding."""
    if relation.table is not None:
        return known.seen is not None and known.seen == _look_at_table(connection, relation.table)
    described = describe_query(connection, known.source)
    return known.seen is not None and known.seen == repr(described)


def _look_at_table(connection: Connection, table: str) -> str | None:
    seen = connection.execute(_LOOK, _named(table)).fetchone()
    return None if seen is None else str(seen[0])


def _names(connection: Connection) -> list[str]:
    return [name for _oid, name, _rows in connection.execute(_LIST).fetchall()]


def _find_query(connection: Connection, query: str) -> PostgresRelation:
    # The extended protocol refuses a second statement, so nothing hides behind the parentheses.
    source = sql.SQL("(\n{}\n)").format(sql.SQL(query_text(query)))
    described = describe_query(connection, source)
    columns = query_columns(connection, described)
    return PostgresRelation(
        source=source, facts=_facts(columns, _NO_KEYS), columns=columns, seen=repr(described)
    )


def describe_query(connection: Connection, source: sql.Composable) -> list[tuple[str, int, int]]:
    """Name, type and modifier of each column."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {} AS q LIMIT 0").format(source), binary=True)
        return described_columns(cursor)


class _Keys(NamedTuple):
    """Primary key, unique not-null indexes, and columns that a whole index begins with."""

    primary: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    leading: frozenset[str]


_NO_KEYS: Final = _Keys((), (), frozenset())


def _facts(columns: Sequence[PostgresColumn], keys: _Keys) -> TableFacts:
    facts = tuple(column.facts for column in columns)
    return TableFacts(
        columns=facts, primary_key=keys.primary, fingerprint=fingerprint(facts), unique_keys=keys.unique
    )


def _keys(
    connection: Connection, oids: list[int], columns: dict[int, tuple[PostgresColumn, ...]]
) -> dict[int, _Keys]:
    """By table."""
    primary: dict[int, tuple[str, ...]] = {}
    unique: dict[int, list[tuple[str, ...]]] = {oid: [] for oid in oids}
    leading: dict[int, set[str]] = {oid: set() for oid in oids}
    not_null = {oid: {c.facts.name for c in columns.get(oid, ()) if not c.facts.nullable} for oid in oids}
    for oid, is_primary, is_unique, whole, names, plain in connection.execute(_INDEXES, {"oids": oids}):
        if is_primary:
            primary[oid] = tuple(names)
        elif is_unique and names and not_null[oid].issuperset(names):
            unique[oid].append(tuple(names))
        if whole and plain and names:
            leading[oid].add(names[0])
    return {oid: _Keys(primary.get(oid, ()), tuple(unique[oid]), frozenset(leading[oid])) for oid in oids}


def list_tables(connection: Connection) -> tuple[TableListing, ...]:
    """Every table and view that this role may read, but for system ones and partitions, by name."""
    tables = connection.execute(_LIST).fetchall()
    oids = [oid for oid, _name, _rows in tables]
    columns = table_columns(connection, oids)
    keys = _keys(connection, oids, columns)
    references: dict[int, list[ForeignKey]] = {}
    for oid, table, own, theirs in connection.execute(_REFERENCES, {"oids": oids}):
        key = ForeignKey(columns=tuple(own), table=table, references=tuple(theirs))
        references.setdefault(oid, []).append(key)
    listings = []
    for oid, name, rows in tables:
        facts = _facts(columns.get(oid, ()), keys[oid])
        cursor = suggest_cursor(facts.columns)
        listings.append(
            TableListing(
                table=name,
                facts=facts,
                estimated_rows=rows if rows >= 0 else None,
                suggested_key=next((key for key in (facts.primary_key, *facts.unique_keys) if key), ()),
                suggested_cursor=cursor,
                cursor_has_index=cursor in keys[oid].leading,
                foreign_keys=tuple(references.get(oid, ())),
            )
        )
    return tuple(listings)
