"""The rules of `SourceReader`, over every dialect.

Files are one of them, and are not a database: what they lack is said once, in `LACKS`.
"""

from __future__ import annotations

import re
import sqlite3
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from headrace.domain.position import Position
from headrace.domain.vocabulary import FeedClass, PropertyType
from headrace.errors import ConfigurationError, SourceDriftError
from headrace.ports import (
    Beyond,
    ExactKeys,
    Examination,
    KeyRange,
    NullCursors,
    Page,
    ReadPlan,
    Relation,
    Selection,
    Since,
    SourceReader,
)
from headrace.sources import open_reader
from tests.conformance.file_source import FORMATS, FileSource, file_source
from tests.conftest import mysql_connection

PLAN = ReadPlan(
    relation=Relation("people"), columns=("id", "name", "updated_at"), key=("id",), cursor="updated_at"
)
PAIRS = ReadPlan(
    relation=Relation("pairs"), columns=("a", "b", "at"), key=("a", "b"), cursor="at", page_rows=3
)


DIALECTS = ("postgres", "sqlite", "mysql", *FORMATS)
LACKS = {
    "csv": {"queries", "sql connection", "catalogue", "typed columns", "ordered text cursors"},
    "parquet": {"queries", "sql connection", "catalogue", "ordered text cursors"},
}
"""What some dialects do not have:

- queries: files are read whole, as tables.
- sql connection: there is nothing to write through; test_files_change.py proves that files stay as they are.
- catalogue: keys, indexes, references, columns that are never null; test_files_reading.py has what is told.
- typed columns: all that a CSV file holds is text, so a key of numbers is ordered as texts are.
- ordered text cursors: numbers and times only; test_files_reading.py proves that others are refused.
"""


def needs(ability: str) -> pytest.MarkDecorator:
    """The rule is one for the dialects that have this ability."""
    able = [dialect for dialect in DIALECTS if ability not in LACKS.get(dialect, ())]
    return pytest.mark.parametrize("source", able, indirect=True)


@dataclass
class Source:
    """A source database that a test writes to as an application would.

    Attributes:
        promises: the class of a feed with a clock.
        sql: whose SQL it is written by.
        missing: a table that is not there; of files it may be on its way.
    """

    dialect: str
    url: str
    connection: Any
    promises: FeedClass = FeedClass.EXACT
    missing: type[Exception] = SourceDriftError

    @property
    def sql(self) -> str:
        return self.dialect

    def execute(self, statement: str, *rows: Sequence[Any]) -> None:
        mark = "?" if self.dialect == "sqlite" else "%s"
        if self.dialect == "mysql":
            for word, meant in MYSQL_WORDS.items():
                statement = re.sub(word, meant, statement)
        cursor = self.connection.cursor()
        if rows:
            cursor.executemany(statement.replace("?", mark), rows)
        else:
            cursor.execute(statement)
        self.connection.commit()

    def time(self, text: str) -> str:
        """The cursor's text as this dialect shows it."""
        if self.dialect == "mysql":
            return text if "." in text else f"{text}.000000"
        return text if self.dialect == "sqlite" else f"{text}+00"


MYSQL_WORDS = {
    r"\btimestamp\b": "datetime",
    r"\btimestamptz\b": "datetime(6)",
    # Bytewise, as texts of the others are: a key that is not is no bound of a chunk (test_mysql_reading.py).
    r"\btext\b(?= PRIMARY KEY| NOT NULL)": "varchar(600) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
    r"\btext\b": "longtext",
    r"integer REFERENCES": "integer, FOREIGN KEY (buyer) REFERENCES",
    r"double precision": "double",
}
"""How MySQL says what the tests say as the others do."""


@pytest.fixture(params=DIALECTS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source | FileSource]:
    if request.param in FORMATS:
        with file_source(request.param, tmp_path / "files") as files:
            yield files
        return
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
        with psycopg.connect(url, options="-c timezone=UTC") as connection:
            yield Source("postgres", url, connection)
        return
    if request.param == "mysql":
        url = request.getfixturevalue("mysql_database")
        modes = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES,PIPES_AS_CONCAT')"
        with closing(mysql_connection(url, autocommit=False)) as connection, connection.cursor() as cursor:
            cursor.execute(modes)
            yield Source("mysql", url, connection)
        return
    path = tmp_path / "source.db"
    with closing(sqlite3.connect(path)) as connection:
        yield Source("sqlite", f"sqlite:///{path}", connection)


@pytest.fixture
def reader(source: Source) -> Iterator[SourceReader]:
    with closing(open_reader("shop", source.url, nonce="test")) as reader:
        yield reader


@pytest.fixture
def people(source: Source) -> Source:
    source.execute("CREATE TABLE people (id integer PRIMARY KEY, name text, updated_at timestamptz)")
    return source


@pytest.fixture
def pairs(source: Source) -> Source:
    """24 rows with a key of two columns, many of them with the same time."""
    source.execute(
        "CREATE TABLE pairs (a integer NOT NULL, b text NOT NULL, at timestamptz, PRIMARY KEY (a, b))"
    )
    rows = [(a, b, f"2026-01-0{1 + (a + at) % 3} 10:00:00") for a in range(6) for at, b in enumerate("abBé")]
    source.execute("INSERT INTO pairs VALUES (?, ?, ?)", *rows)
    return source


def pages(reader: SourceReader, plan: ReadPlan, selection: Selection) -> list[Page]:
    with reader.read(plan, selection) as stream:
        return list(stream)


def rows(reader: SourceReader, plan: ReadPlan, selection: Selection) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for page in pages(reader, plan, selection) for row in page.rows.to_pylist()]


ALL = Since(None, None)
WHOLE = KeyRange(None, None, None)


@pytest.mark.parametrize("page_rows", [1, 2, 3, 5, 7, 24, 100])
def test_no_row_is_skipped_on_ties_at_any_page_size(
    pairs: Source, reader: SourceReader, page_rows: int
) -> None:
    plan = replace(PAIRS, page_rows=page_rows)
    read = rows(reader, plan, ALL)
    assert len(read) == len(set(read)) == 24
    assert [row[2] for row in read] == sorted(row[2] for row in read)
    assert all(page.rows.num_rows <= page_rows for page in pages(reader, plan, ALL))


def test_reading_resumes_after_every_position_with_exactly_the_rest(
    pairs: Source, reader: SourceReader
) -> None:
    plan = replace(PAIRS, page_rows=1)
    every = pages(reader, plan, ALL)
    read = [tuple(page.rows.to_pylist()[0].values()) for page in every]
    for at, page in enumerate(every):
        assert rows(reader, plan, Since(page.end, None)) == read[at + 1 :]


def test_a_position_without_a_key_reads_its_ties_again(pairs: Source, reader: SourceReader) -> None:
    cursor = pairs.time("2026-01-02 10:00:00")
    again = rows(reader, PAIRS, Since(Position(cursor, None), None))
    assert again == [row for row in rows(reader, PAIRS, ALL) if row[2] >= cursor]
    assert len(again) == 16


def test_until_is_inclusive_and_beyond_is_the_rest(pairs: Source, reader: SourceReader) -> None:
    until = pairs.time("2026-01-02 10:00:00")
    within = rows(reader, PAIRS, Since(None, until))
    beyond = rows(reader, PAIRS, Beyond(until))
    assert {row[2] for row in within} == {pairs.time(f"2026-01-0{day} 10:00:00") for day in (1, 2)}
    assert {row[2] for row in beyond} == {pairs.time("2026-01-03 10:00:00")}
    assert sorted(within + beyond) == sorted(rows(reader, PAIRS, ALL))


def test_rows_with_a_null_cursor_are_a_lane_of_their_own(people: Source, reader: SourceReader) -> None:
    people.execute(
        "INSERT INTO people VALUES (?, ?, ?)",
        (3, "c", None),
        (1, "a", None),
        (2, "b", "2026-01-01 00:00:00"),
    )
    assert [row[0] for row in rows(reader, PLAN, ALL)] == ["2"]
    lane = pages(reader, PLAN, NullCursors())
    assert lane[0].rows.column("id").to_pylist() == ["1", "3"]
    assert lane[0].rows.column("updated_at").to_pylist() == [None, None]
    assert lane[-1].end == Position("", ("3",))


@pytest.mark.parametrize("limit", [1, 2, 5, 23, 24, 25])
def test_chunks_of_keys_tile_the_whole_relation(pairs: Source, reader: SourceReader, limit: int) -> None:
    bounds: list[tuple[str, ...] | None] = [None]
    while found := pages(reader, PAIRS, KeyRange(bounds[-1], None, limit)):
        bounds.append(found[-1].end.key)
    tiles = [KeyRange(after, upto, None) for after, upto in zip(bounds, [*bounds[1:], None], strict=True)]
    tiled = [row[:2] for tile in tiles for row in rows(reader, PAIRS, tile)]
    assert tiled == [(str(a), b) for a in range(6) for b in ("B", "a", "b", "é")]


def test_an_open_range_of_keys_reads_the_whole_relation(pairs: Source, reader: SourceReader) -> None:
    whole = replace(PAIRS, cursor=None)
    assert len(rows(reader, whole, KeyRange(None, None, None))) == 24


def test_exact_keys_finds_what_is_there_and_ignores_what_cannot_be(
    pairs: Source, reader: SourceReader
) -> None:
    keys = (("4", "a"), ("1", "é"), ("1", "é"), ("99", "a"), ("x", "a"), ("99999999999999999999", "b"))
    assert [row[:2] for row in rows(reader, PAIRS, ExactKeys(keys))] == [("1", "é"), ("4", "a")]
    assert rows(reader, PAIRS, ExactKeys((("nothing", "fits"),))) == []
    assert rows(reader, PAIRS, ExactKeys(())) == []
    assert rows(reader, PAIRS, ExactKeys((("1", "nul\0nul"),))) == []


@needs("typed columns")
def test_exact_keys_finds_many_keys_at_once(people: Source, reader: SourceReader) -> None:
    people.execute(
        "INSERT INTO people VALUES (?, ?, ?)", *[(n, "x", "2026-01-01 00:00:00") for n in range(3000)]
    )
    keys = tuple((str(n),) for n in range(0, 40_000, 2))
    found = rows(reader, PLAN, ExactKeys(keys))
    assert [row[0] for row in found] == [str(n) for n in range(0, 3000, 2)]


HARD_TEXTS = [
    "",
    " ",
    "NULL",
    "\\N",
    "\\.",
    '"',
    "a,b",
    "two\nlines",
    "carriage\rreturn\r\n",
    "tab\t",
    "O'Hara; DROP TABLE people; --",
    "100%s {x} %(y)s",
    "back\\slash",
    "日本語 🎉 é",
    "x" * 100_000,
]


def test_texts_arrive_as_they_are_and_null_is_not_the_empty_text(
    people: Source, reader: SourceReader
) -> None:
    people.execute(
        "INSERT INTO people VALUES (?, ?, ?)",
        *[(at, text, "2026-01-01 00:00:00") for at, text in enumerate([*HARD_TEXTS, None], start=10)],
    )
    for page_rows in (1, 100):
        read = rows(reader, replace(PLAN, page_rows=page_rows), ALL)
        assert [row[1] for row in read] == [*HARD_TEXTS, None]
    alone = replace(PLAN, columns=("name",), key=("name",), cursor=None)
    assert {row[0] for row in rows(reader, alone, WHOLE)} == {*HARD_TEXTS, None}


def test_any_text_can_be_a_key_that_reading_resumes_after(source: Source, reader: SourceReader) -> None:
    source.execute("CREATE TABLE texts (k text PRIMARY KEY, at timestamptz)")
    source.execute(
        "INSERT INTO texts VALUES (?, ?)", *[(text[:500], "2026-01-01 00:00:00") for text in HARD_TEXTS]
    )
    plan = ReadPlan(relation=Relation("texts"), columns=("k", "at"), key=("k",), cursor="at", page_rows=1)
    every = pages(reader, plan, ALL)
    for at, page in enumerate(every):
        key = page.end.key
        assert key is not None
        assert len(rows(reader, plan, Since(page.end, None))) == len(HARD_TEXTS) - at - 1
        assert [row[0] for row in rows(reader, plan, ExactKeys((key,)))] == list(key)
    by_key = [row[0] for row in rows(reader, plan, WHOLE)]
    assert by_key == sorted(by_key, key=str.encode)


def test_microseconds_survive_the_journey_and_part_rows(people: Source, reader: SourceReader) -> None:
    times = [f"2026-01-01 10:00:00.{micros:06d}" for micros in (1, 2, 123456, 999999)]
    people.execute("INSERT INTO people VALUES (?, ?, ?)", *[(n, "x", at) for n, at in enumerate(times)])
    assert [row[2] for row in rows(reader, PLAN, ALL)] == [people.time(at) for at in times]
    rest = rows(reader, PLAN, Since(Position(people.time(times[1]), ("1",)), None))
    assert [row[0] for row in rest] == ["2", "3"]


@needs("queries")
def test_a_query_is_read_like_a_table(pairs: Source, reader: SourceReader) -> None:
    joined = "CONCAT(b, '%s')" if pairs.dialect == "mysql" else "b || '%s'"
    query = f"SELECT a * 10 AS a, {joined} AS b, at FROM pairs WHERE a > 1 -- not the first ones\n;"
    plan = replace(PAIRS, relation=Relation(query=query))
    assert [column.name for column in reader.describe(plan.relation).columns] == ["a", "b", "at"]
    read = rows(reader, plan, ALL)
    assert len(read) == 16
    assert {row[0] for row in read} == {"20", "30", "40", "50"}
    every = pages(reader, plan, ALL)
    assert rows(reader, plan, Since(every[1].end, None)) == read[6:]
    assert rows(reader, plan, ExactKeys((("20", "a%s"), ("21", "a%s"))))[0][:2] == ("20", "a%s")
    assert [row[:2] for row in rows(reader, plan, KeyRange(("50", "a%s"), None, None))] == [
        ("50", "b%s"),
        ("50", "é%s"),
    ]


@pytest.mark.parametrize("query", ["SELECT 1 AS a; DROP TABLE pairs", "SELECT 1) AS q; DROP TABLE pairs; --"])
def test_a_query_of_two_statements_is_refused(pairs: Source, reader: SourceReader, query: str) -> None:
    with pytest.raises(ConfigurationError):
        reader.describe(Relation(query=query))
    assert len(rows(reader, PAIRS, ALL)) == 24


@needs("queries")
def test_a_broken_query_is_for_a_person_and_a_vanished_table_is_drift(
    pairs: Source, reader: SourceReader
) -> None:
    with pytest.raises(ConfigurationError, match="shop"):
        reader.describe(Relation(query="SELEC 1"))
    with pytest.raises(SourceDriftError, match="nowhere"):
        reader.describe(Relation(query="SELECT a FROM nowhere"))


def test_a_missing_table_names_the_nearest(pairs: Source, reader: SourceReader) -> None:
    with pytest.raises(pairs.missing, match=r'shop: table "pair" does not exist; the nearest .*pairs"'):
        reader.describe(Relation("pair"))


def test_a_missing_column_names_the_nearest(pairs: Source, reader: SourceReader) -> None:
    plan = replace(PAIRS, columns=("a", "b", "att"), cursor="att")
    with pytest.raises(SourceDriftError, match='"att" does not exist; the nearest existing name is "at"'):
        pages(reader, plan, ALL)
    with pytest.raises(SourceDriftError, match="att"):
        reader.fence(plan, None)


def test_a_column_that_vanishes_after_describe_is_drift(people: Source, reader: SourceReader) -> None:
    reader.describe(PLAN.relation)
    people.execute("ALTER TABLE people DROP COLUMN name")
    with pytest.raises(SourceDriftError, match="name"):
        pages(reader, PLAN, ALL)


@needs("catalogue")
def test_the_fingerprint_follows_names_and_types(people: Source, reader: SourceReader) -> None:
    before = reader.describe(PLAN.relation)
    people.execute("INSERT INTO people (id) VALUES (1)")
    assert reader.describe(PLAN.relation).fingerprint == before.fingerprint
    people.execute("ALTER TABLE people ADD COLUMN extra integer")
    after = reader.describe(PLAN.relation)
    assert after.fingerprint != before.fingerprint
    assert after.primary_key == ("id",)
    extra = after.column("extra")
    assert extra is not None
    assert extra.type is PropertyType.INTEGER


@needs("catalogue")
def test_facts_tell_types_nullability_and_order(source: Source, reader: SourceReader) -> None:
    source.execute(
        "CREATE TABLE kinds (i integer PRIMARY KEY, t text NOT NULL, b boolean, n numeric(12,2),"
        " f double precision, d date, at timestamp, j json, v varchar(10))"
    )
    facts = reader.describe(Relation("kinds"))
    assert [column.type.value for column in facts.columns] == [
        "integer", "string", "boolean", "decimal", "float", "date", "datetime", "json", "string",
    ]  # fmt: skip
    by_name = {column.name: column for column in facts.columns}
    assert by_name["i"].portable_order
    assert by_name["t"].portable_order
    assert not by_name["f"].portable_order
    assert not by_name["i"].nullable
    assert not by_name["t"].nullable
    assert by_name["v"].nullable


@needs("catalogue")
def test_names_may_hold_quotes_dots_and_any_letter(source: Source, reader: SourceReader) -> None:
    source.execute('CREATE TABLE "Ünï ""q"".x%s" ("Kéy ""1"" {x}" integer PRIMARY KEY, "at%s" timestamptz)')
    source.execute('INSERT INTO "Ünï ""q"".x%s" VALUES (1, \'2026-01-01 00:00:00\')')
    table, key, cursor = 'Ünï "q".x%s', 'Kéy "1" {x}', "at%s"
    plan = ReadPlan(relation=Relation(table), columns=(key, cursor), key=(key,), cursor=cursor)
    assert reader.describe(plan.relation).primary_key == (key,)
    assert [row[0] for row in rows(reader, plan, ALL)] == ["1"]
    assert rows(reader, plan, Since(Position(source.time("2026-01-01 00:00:00"), ("1",)), None)) == []


def test_rows_committed_after_the_context_was_entered_are_not_seen(
    people: Source, reader: SourceReader
) -> None:
    if people.dialect == "sqlite":
        people.execute("PRAGMA journal_mode = WAL")  # a rollback journal would make the writer wait
    people.execute(
        "INSERT INTO people VALUES (?, ?, ?)", *[(n, "old", "2026-01-01 00:00:00") for n in range(10)]
    )
    with reader.read(replace(PLAN, page_rows=2), ALL) as stream:
        people.execute("INSERT INTO people VALUES (?, ?, ?)", (99, "new", "2026-01-02 00:00:00"))
        people.execute("UPDATE people SET name = 'new'")
        names = [name for page in stream for name in page.rows.column("name").to_pylist()]
    assert names == ["old"] * 10
    assert len(rows(reader, PLAN, ALL)) == 11


@needs("typed columns")
def test_leaving_a_stream_early_leaves_the_reader_usable(people: Source, reader: SourceReader) -> None:
    people.execute(
        "INSERT INTO people VALUES (?, ?, ?)", *[(n, "x" * 500, "2026-01-01 00:00:00") for n in range(20_000)]
    )
    plan = replace(PLAN, page_rows=10)
    with reader.read(plan, ALL) as stream:
        first = next(stream)
    with reader.read(plan, Since(first.end, None)) as stream:
        assert next(stream).rows.column("id")[0].as_py() == "10"
    with pytest.raises(RuntimeError, match="the caller's own"), reader.read(plan, ALL) as stream:
        raise RuntimeError("the caller's own")
    with reader.read(plan, ALL) as stream:
        assert next(stream).end == first.end


@needs("sql connection")
def test_readers_cannot_write(people: Source, reader: SourceReader) -> None:
    reader.describe(PLAN.relation)
    connection: Any = reader._connection  # type: ignore[attr-defined]
    refusals = (psycopg.errors.ReadOnlySqlTransaction, sqlite3.OperationalError, pymysql.err.OperationalError)
    with pytest.raises(refusals):
        connection.cursor().execute("INSERT INTO people VALUES (1, 'x', NULL)")


def test_pages_end_at_their_bytes(people: Source, reader: SourceReader) -> None:
    people.execute(
        "INSERT INTO people VALUES (?, ?, ?)", *[(n, "x" * 10_000, "2026-01-01 00:00:00") for n in range(200)]
    )
    found = pages(reader, replace(PLAN, page_bytes=100_000), ALL)
    assert sum(page.rows.num_rows for page in found) == 200
    assert len(found) > 10
    assert max(page.rows.nbytes for page in found) < 400_000


def test_a_long_read_stays_in_bounded_memory(people: Source, reader: SourceReader) -> None:
    generate = {
        "postgres": "generate_series(1, 200000) AS n(n)",
        "sqlite": "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 200000)"
        " SELECT n FROM n)",
        "mysql": "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200000)"
        " SELECT n FROM n) AS n",
    }[people.sql]
    if people.dialect == "mysql":
        people.execute("SET SESSION max_recursive_iterations = 200000")
    people.execute(
        "INSERT INTO people SELECT n, 'a name of some length and more of it, ' || n, '2026-01-01 00:00:00'"
        f" FROM {generate}"
    )
    people.execute("CREATE INDEX by_cursor ON people (updated_at, id)")
    plan = replace(PLAN, page_rows=5_000)
    tracemalloc.start()
    try:
        with reader.read(plan, ALL) as stream:
            total = sum(page.rows.num_rows for page in stream)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 200_000
    assert peak < 8 * 1024 * 1024


def test_the_fence_says_the_clock_in_the_cursors_own_form(people: Source, reader: SourceReader) -> None:
    people.execute(
        "INSERT INTO people VALUES (?, ?, ?)",
        (1, "past", "1970-01-01 00:00:00"),
        (2, "now", "2026-01-01 00:00:00"),
    )
    fence = reader.fence(PLAN, None)
    assert fence.feed_class is people.promises
    assert fence.now is not None
    people.execute("INSERT INTO people VALUES (?, ?, ?)", (3, "future", "2999-01-01 00:00:00"))
    assert [row[0] for row in rows(reader, PLAN, Since(None, fence.now))] == ["1", "2"]
    assert [row[0] for row in rows(reader, PLAN, Beyond(fence.now))] == ["3"]
    past, future = people.time("1970-01-01 00:00:00"), people.time("2999-01-01 00:00:00")
    assert reader.rank(PLAN, past) < reader.rank(PLAN, fence.now) < reader.rank(PLAN, future)


def test_a_cursor_that_is_no_time_has_no_clock_and_is_eventual(source: Source, reader: SourceReader) -> None:
    source.execute("CREATE TABLE versions (id integer PRIMARY KEY, v integer)")
    source.execute("INSERT INTO versions VALUES (?, ?)", *[(n, n) for n in range(12)])
    assert_read_without_a_clock(reader)


@needs("ordered text cursors")
def test_a_cursor_of_texts_has_no_clock_and_is_eventual(source: Source, reader: SourceReader) -> None:
    source.execute("CREATE TABLE versions (id integer PRIMARY KEY, v text)")
    source.execute("INSERT INTO versions VALUES (?, ?)", *[(n, f"v{n}") for n in range(12)])
    assert_read_without_a_clock(reader)


def assert_read_without_a_clock(reader: SourceReader) -> None:
    plan = ReadPlan(relation=Relation("versions"), columns=("id", "v"), key=("id",), cursor="v", page_rows=1)
    fence = reader.fence(plan, None)
    assert (fence.now, fence.bound, fence.feed_class) == (None, None, FeedClass.EVENTUAL)
    assert "v" in fence.reason
    every = pages(reader, plan, ALL)
    cursors = [page.end.cursor for page in every]
    assert cursors == sorted(cursors, key=lambda text: reader.rank(plan, text))
    for at, page in enumerate(every):
        assert len(rows(reader, plan, Since(page.end, None))) == 11 - at


def test_a_plan_without_a_cursor_is_eventual(pairs: Source, reader: SourceReader) -> None:
    fence = reader.fence(replace(PAIRS, cursor=None), None)
    assert (fence.now, fence.bound, fence.feed_class) == (None, None, FeedClass.EVENTUAL)
    assert fence.reason


@needs("catalogue")
def test_tables_are_listed_with_what_suits_a_source(source: Source, reader: SourceReader) -> None:
    source.execute(
        "CREATE TABLE users (id integer PRIMARY KEY, created_at timestamp, updated_at timestamp, note text)"
    )
    source.execute("CREATE TABLE orders (no integer NOT NULL, buyer integer REFERENCES users(id), day date)")
    source.execute("CREATE UNIQUE INDEX by_no ON orders (no)")
    source.execute("CREATE INDEX by_time ON users (updated_at, id)")
    listed = {listing.table.removeprefix("public."): listing for listing in reader.tables()}
    users, orders = listed["users"], listed["orders"]
    assert (users.suggested_key, users.suggested_cursor, users.cursor_has_index) == (
        ("id",),
        "updated_at",
        True,
    )
    assert (orders.suggested_key, orders.suggested_cursor, orders.cursor_has_index) == (("no",), None, False)
    assert orders.foreign_keys[0].columns == ("buyer",)
    assert orders.foreign_keys[0].table.removeprefix("public.") == "users"
    assert orders.foreign_keys[0].references == ("id",)
    for listing in listed.values():
        assert reader.describe(Relation(listing.table)).fingerprint == listing.facts.fingerprint


def test_a_reader_recovers_after_an_error(pairs: Source, reader: SourceReader) -> None:
    with pytest.raises(ConfigurationError):
        reader.describe(Relation(query="SELECT (1"))
    assert len(rows(reader, PAIRS, ALL)) == 24
    reader.close()
    assert len(rows(reader, PAIRS, ALL)) == 24


def test_an_examination_tells_the_indexes_null_cursors_and_the_newest(
    people: Source, reader: SourceReader
) -> None:
    people.execute("INSERT INTO people VALUES (1, 'ada', '2026-01-02 10:00:00')")
    found = reader.examine(PLAN, limit_s=2)
    if "catalogue" in LACKS.get(people.dialect, ()):
        assert found == Examination()
        return
    assert found.indexes is not None
    assert not any(index[:1] == ("updated_at",) for index in found.indexes)
    assert (found.newest, found.null_cursors, found.slow) == (None, False, False)
    people.execute(found.index_statement.replace("CONCURRENTLY ", "").replace("`", '"'))
    people.execute("INSERT INTO people VALUES (2, 'bob', NULL)")
    indexed = reader.examine(PLAN, limit_s=2)
    assert any(index[:2] == ("updated_at", "id") for index in indexed.indexes or ())
    assert (indexed.newest, indexed.null_cursors) == (people.time("2026-01-02 10:00:00"), True)
