"""What only SQLite can do to its reader: dynamic types, bytes, files that change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.position import Position
from headrace.domain.vocabulary import FeedClass
from headrace.errors import ConfigurationError, SourceUnavailableError
from headrace.ports import ExactKeys, KeyRange, Page, ReadPlan, Relation, Selection, Since
from headrace.sources import open_reader
from headrace.sources.sqlite import SqliteReader
from headrace.sources.sqlite_catalogue import find_relation
from headrace.sources.sqlite_select import compose_select

ALL = Since(None, None)
WHOLE = KeyRange(None, None, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "with space %41 é.db"


@pytest.fixture
def app(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as app:
        yield app


@pytest.fixture
def reader(path: Path) -> Iterator[SqliteReader]:
    with closing(SqliteReader("shop", f"sqlite:///{str(path).replace('%', '%25')}")) as reader:
        yield reader


def pages(reader: SqliteReader, plan: ReadPlan, selection: Selection) -> list[Page]:
    with reader.read(plan, selection) as stream:
        return list(stream)


def rows(reader: SqliteReader, plan: ReadPlan, selection: Selection) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for page in pages(reader, plan, selection) for row in page.rows.to_pylist()]


def resumes_everywhere(reader: SqliteReader, plan: ReadPlan) -> None:
    every = pages(reader, plan, ALL)
    read = [tuple(page.rows.to_pylist()[0].values()) for page in every]
    for at, page in enumerate(every):
        assert rows(reader, plan, Since(page.end, None)) == read[at + 1 :]


CURSORS = {
    "text": ["2026-01-01", "2026-01-02", "2026-01-02", "2026-01-10"],
    "integer": [1767225600, 1767225601, 1767225601, 999999999],
    "real": [1767225600.25, 1767225600.5, 1767225600.5, 999999999.125],
    "text that looks like numbers": ["10", "9", "9", "100"],
    "mixed": [5, 2.5, "5", b"\x00\xff"],
}


@pytest.mark.parametrize("values", CURSORS.values(), ids=CURSORS)
@pytest.mark.parametrize("declared", ["", "TEXT", "INTEGER", "REAL", "TIMESTAMP"])
@pytest.mark.parametrize("relation", ["t", "query"])
def test_reading_resumes_whatever_the_kind_of_the_cursor(
    app: sqlite3.Connection, reader: SqliteReader, values: list[Any], declared: str, relation: str
) -> None:
    if declared in {"", "TEXT"} and any(isinstance(value, bytes) for value in values):
        values = values[:2]  # kinds that only a numeric affinity can tell apart by their texts
    app.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, c {declared})")
    app.executemany("INSERT INTO t (c) VALUES (?)", [(value,) for value in values if value != b"\x00\xff"])
    query = Relation(query="SELECT id, max(c) AS c FROM t GROUP BY id")
    named = Relation("t") if relation == "t" else query
    plan = ReadPlan(relation=named, columns=("id", "c"), key=("id",), cursor="c", page_rows=1)
    resumes_everywhere(reader, plan)


def test_bytes_are_shown_in_hexadecimal_and_can_be_keys(
    app: sqlite3.Connection, reader: SqliteReader
) -> None:
    app.execute("CREATE TABLE blobs (k BLOB PRIMARY KEY, c INTEGER)")
    app.executemany("INSERT INTO blobs VALUES (?, ?)", [(b"\x00\xff", 1), (b"", 1), (b"\x01", 2)])
    plan = ReadPlan(relation=Relation("blobs"), columns=("k", "c"), key=("k",), cursor="c", page_rows=1)
    assert [row[0] for row in rows(reader, plan, ALL)] == ["\\x", "\\x00ff", "\\x01"]
    resumes_everywhere(reader, plan)
    assert rows(reader, plan, ExactKeys((("\\x00ff",), ("nothing",)))) == [("\\x00ff", "1")]


def test_text_that_is_no_utf8_is_shown_and_stops_nothing(
    app: sqlite3.Connection, reader: SqliteReader
) -> None:
    app.execute("CREATE TABLE latin (id INTEGER PRIMARY KEY, t TEXT)")
    app.execute("INSERT INTO latin VALUES (1, CAST(X'636166E9' AS TEXT)), (2, 'café'), (3, NULL)")
    plan = ReadPlan(relation=Relation("latin"), columns=("id", "t"), key=("id",), cursor=None)
    assert [row[1] for row in rows(reader, plan, WHOLE)] == ["caf\\xe9", "café", None]


def test_kinds_may_mix_within_a_column(app: sqlite3.Connection, reader: SqliteReader) -> None:
    app.execute("CREATE TABLE mixed (id INTEGER PRIMARY KEY, n NUMERIC)")
    values = [1, 1.54, 2.0, "none", None, 2**63 - 1, -0.5, 1e300]
    app.executemany("INSERT INTO mixed (n) VALUES (?)", [(value,) for value in values])
    plan = ReadPlan(relation=Relation("mixed"), columns=("id", "n"), key=("id",), cursor=None)
    read = [row[1] for row in rows(reader, plan, WHOLE)]
    assert read == ["1", "1.54", "2", "none", None, "9223372036854775807", "-0.5", "1e+300"]


def test_keys_that_differ_only_in_case_are_two_keys(app: sqlite3.Connection, reader: SqliteReader) -> None:
    app.execute("CREATE TABLE t (k TEXT COLLATE NOCASE, c TEXT)")
    app.executemany("INSERT INTO t VALUES (?, '2026-01-01')", [("a",), ("A",), ("b",), ("B",)])
    plan = ReadPlan(relation=Relation("t"), columns=("k", "c"), key=("k",), cursor="c", page_rows=1)
    resumes_everywhere(reader, plan)
    assert rows(reader, plan, ExactKeys((("a",),))) == [("a", "2026-01-01")]


def test_canonical_keys_find_booleans_and_date_times(app: sqlite3.Connection, reader: SqliteReader) -> None:
    app.execute("CREATE TABLE t (flag BOOLEAN, at DATETIME, PRIMARY KEY (flag, at))")
    app.execute("INSERT INTO t VALUES (1, '2026-01-01 10:00:00'), (0, '2026-01-01 10:00:00')")
    plan = ReadPlan(relation=Relation("t"), columns=("flag", "at"), key=("flag", "at"), cursor=None)
    canonical = ExactKeys((("true", "2026-01-01T10:00:00.000000Z"),))
    assert rows(reader, plan, canonical) == [("1", "2026-01-01 10:00:00")]


def test_only_key_columns_that_hold_one_kind_have_a_portable_order(
    app: sqlite3.Connection, reader: SqliteReader
) -> None:
    app.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, n INT NOT NULL, t TEXT NOT NULL, u TEXT)")
    app.execute("CREATE TABLE s (n INT NOT NULL, m INT) STRICT")
    app.execute("CREATE TABLE w (id INTEGER PRIMARY KEY, t TEXT) WITHOUT ROWID")
    loose = {column.name: column.portable_order for column in reader.describe(Relation("a")).columns}
    strict = {column.name: column.portable_order for column in reader.describe(Relation("s")).columns}
    without = reader.describe(Relation("main.w")).columns[0]
    assert loose == {"id": True, "n": False, "t": True, "u": False}
    assert strict == {"n": True, "m": False}
    assert (without.portable_order, without.nullable) == (False, False)


def test_an_index_on_cursor_and_key_serves_bound_and_order(
    app: sqlite3.Connection, reader: SqliteReader
) -> None:
    app.execute("CREATE TABLE t (a INTEGER, b TEXT, at TEXT, PRIMARY KEY (a, b))")
    app.execute("CREATE INDEX by_cursor ON t (at, a, b)")
    plan = ReadPlan(relation=Relation("t"), columns=("a", "b", "at"), key=("a", "b"), cursor="at")
    relation = find_relation(app, "shop", plan.relation)
    position = Position("2026-01-01", ("1", "x"))
    select = compose_select(relation, plan, Since(position, "2027-01-01"), lambda _name, text: text)
    plans = app.execute(f"EXPLAIN QUERY PLAN {select.sql}", select.values).fetchall()
    text = "\n".join(row[-1] for row in plans)
    assert "SEARCH" in text
    assert "by_cursor" in text
    assert "TEMP B-TREE" not in text


def test_the_change_token_follows_commits_and_a_replaced_file(
    app: sqlite3.Connection, reader: SqliteReader, path: Path
) -> None:
    app.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    first = reader.change_token()
    assert reader.change_token() == first
    assert (
        rows(reader, ReadPlan(relation=Relation("t"), columns=("id",), key=("id",), cursor=None), WHOLE) == []
    )
    assert reader.change_token() == first
    app.execute("INSERT INTO t VALUES (1)")
    second = reader.change_token()
    assert second != first
    app.close()
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other, isolation_level=None)) as another:
        another.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        another.execute("INSERT INTO t VALUES (7)")
    third = reader.change_token()
    other.replace(path)
    assert reader.change_token() not in {first, second, third}
    plan = ReadPlan(relation=Relation("t"), columns=("id",), key=("id",), cursor=None)
    assert rows(reader, plan, WHOLE) == [("7",)]


def test_the_fence_of_an_empty_table_reads_whatever_comes(
    app: sqlite3.Connection, reader: SqliteReader
) -> None:
    app.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP)")
    plan = ReadPlan(relation=Relation("t"), columns=("id", "at"), key=("id",), cursor="at")
    fence = reader.fence(plan, None)
    assert (fence.now, fence.bound, fence.feed_class) == (None, None, FeedClass.EXACT)


def test_a_missing_file_or_one_that_is_no_database_is_for_a_person(
    path: Path, reader: SqliteReader, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        reader.tables()
    assert not path.exists()
    path.write_text("this is no database, however long it goes on " * 100)
    with pytest.raises(ConfigurationError, match="not a database"):
        reader.tables()
    for url in ("sqlite://", "sqlite:///", "sqlite://host/path"):
        with pytest.raises(ConfigurationError, match="sqlite:///path"):
            open_reader("shop", url, nonce="x")


def test_a_url_of_no_dialect_is_told_which_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"shop: .*postgresql://, mysql://, .*file:///"):
        open_reader("shop", "oracle://h/d", nonce="x")


def test_a_statement_that_takes_too_long_is_interrupted(app: sqlite3.Connection, path: Path) -> None:
    query = (
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 100000000)"
        " SELECT count(*) AS n FROM n"
    )
    plan = ReadPlan(relation=Relation(query=query), columns=("n",), key=("n",), cursor=None)
    app.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    url = f"sqlite:///{str(path).replace('%', '%25')}"
    with (
        closing(SqliteReader("shop", url, statement_timeout_s=0.1)) as reader,
        pytest.raises(SourceUnavailableError, match="interrupted"),
    ):
        rows(reader, plan, WHOLE)
