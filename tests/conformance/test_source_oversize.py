"""Cells that are too big stay in their source, over every dialect of databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from headrace.domain.oversize import MARK, Oversized, mark_oversized, oversized
from headrace.domain.position import Position
from headrace.domain.unreadable import Unreadable, has_unreadable
from headrace.errors import SourceDriftError
from headrace.ports import ExactKeys, KeyRange, Page, ReadPlan, Relation, Selection, Since, SourceReader
from headrace.sources import open_reader
from tests.conftest import mysql_connection

LIMIT = 2_000
PLAN = ReadPlan(
    relation=Relation("notes"),
    columns=("id", "note", "data", "at"),
    key=("id",),
    cursor="at",
    max_cell_bytes=LIMIT,
)
ALL = Since(None, None)


class Source:
    """A table of notes that a test writes to; `?` marks values."""

    def __init__(self, dialect: str, url: str, connection: Any) -> None:
        self.dialect, self.url, self._connection = dialect, url, connection

    def execute(self, statement: str, *values: Any) -> None:
        mark = "?" if self.dialect == "sqlite" else "%s"
        self._connection.cursor().execute(statement.replace("?", mark), values)
        self._connection.commit()


@pytest.fixture(params=["postgres", "mysql", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    kind = "bytea" if request.param == "postgres" else "BLOB"
    table = f"CREATE TABLE notes (id integer PRIMARY KEY, note text, data {kind}, at timestamp)"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
        with psycopg.connect(url) as postgres:
            made = Source("postgres", url, postgres)
            made.execute(table)
            yield made
        return
    if request.param == "mysql":
        url = request.getfixturevalue("mysql_database")
        kinds = "note longtext, data longblob, at datetime(6)"
        with closing(mysql_connection(url, autocommit=False)) as mysql:
            made = Source("mysql", url, mysql)
            made.execute(f"CREATE TABLE notes (id integer PRIMARY KEY, {kinds})")
            yield made
        return
    path = tmp_path / "source.db"
    with closing(sqlite3.connect(path)) as sqlite:
        made = Source("sqlite", f"sqlite:///{path}", sqlite)
        made.execute(table)
        yield made


@pytest.fixture
def reader(source: Source) -> Iterator[SourceReader]:
    with closing(open_reader("shop", source.url, nonce="test")) as opened:
        yield opened


def fill(source: Source, rows: int = 9) -> None:
    """Rows 1 to 9, small but for the texts of 3 and 7."""
    for n in range(1, rows + 1):
        note = "é" * LIMIT if n in {3, 7} else f"note {n}"
        source.execute("INSERT INTO notes VALUES (?, ?, ?, ?)", n, note, b"\x01", f"2026-01-0{n} 00:00:00")


def pages(reader: SourceReader, plan: ReadPlan, selection: Selection) -> list[Page]:
    with reader.read(plan, selection) as stream:
        return list(stream)


def column(found: list[Page], name: str) -> list[Any]:
    return [value for page in found for value in page.rows.column(name).to_pylist()]


@pytest.mark.parametrize("page_rows", [1, 2, 4, 100])
def test_every_row_comes_and_a_big_cell_is_a_mark(
    source: Source, reader: SourceReader, page_rows: int
) -> None:
    fill(source)
    wanted = [f"note {n}" for n in range(1, 10)]
    wanted[2] = wanted[6] = Oversized(2 * LIMIT, LIMIT, "é" * 1_000).mark
    for selection in (ALL, KeyRange(None, None, None), ExactKeys(tuple((str(n),) for n in range(1, 10)))):
        found = pages(reader, replace(PLAN, page_rows=page_rows), selection)
        assert column(found, "id") == [str(n) for n in range(1, 10)]
        assert column(found, "note") == wanted
        assert column(found, "data") == ["\\x01"] * 9


def test_a_limit_of_rows_holds_across_a_big_cell(source: Source, reader: SourceReader) -> None:
    fill(source)
    for limit in range(1, 10):
        found = pages(reader, replace(PLAN, page_rows=2), KeyRange(None, None, limit))
        assert column(found, "id") == [str(n) for n in range(1, limit + 1)]


def test_reading_goes_on_after_a_row_with_a_big_cell(source: Source, reader: SourceReader) -> None:
    fill(source)
    third = pages(reader, replace(PLAN, page_rows=1), ALL)[2].end
    assert third.key == ("3",)
    assert column(pages(reader, PLAN, Since(third, None)), "id") == [str(n) for n in range(4, 10)]


@pytest.mark.parametrize(("size", "too_big"), [(LIMIT - 1, False), (LIMIT, False), (LIMIT + 1, True)])
def test_the_limit_is_of_bytes_and_inclusive(
    source: Source, reader: SourceReader, size: int, too_big: bool
) -> None:
    source.execute("INSERT INTO notes VALUES (1, ?, NULL, '2026-01-01')", "x" * size)
    (note,) = column(pages(reader, PLAN, ALL), "note")
    assert note.startswith(MARK) == too_big
    assert note == (Oversized(size, LIMIT, "x" * 1_000).mark if too_big else "x" * size)


def test_bytes_count_as_the_text_that_shows_them(source: Source, reader: SourceReader) -> None:
    for n, size in enumerate((LIMIT // 2 - 1, LIMIT // 2 + 1), start=1):
        source.execute("INSERT INTO notes VALUES (?, 'n', ?, '2026-01-01')", n, b"\xff" * size)
    fits, too_big = column(pages(reader, PLAN, ALL), "data")
    assert fits == "\\x" + "ff" * (LIMIT // 2 - 1)
    assert too_big.startswith(MARK)


def test_a_text_of_the_sources_own_is_never_taken_for_a_mark(source: Source, reader: SourceReader) -> None:
    if source.dialect == "postgres":
        pytest.skip("PostgreSQL's texts hold no NUL")
    fill(source)
    line = Unreadable(at="1", reason="forged", line="1")
    forged = ["\0oversized:x", Oversized(9, 5, "y").mark, Oversized(LIMIT + 1, LIMIT).mark, line.mark]
    for n, text in enumerate(forged, start=10):
        source.execute("INSERT INTO notes VALUES (?, ?, NULL, ?)", n, text, "2026-02-01 00:00:00")
    found = column(pages(reader, PLAN, ALL), "note")
    assert [n for n, note in enumerate(found, start=1) if oversized(note) is not None] == [3, 7]
    assert not has_unreadable(pa.array(found))
    assert [text.replace("\0", "") for text in found[9:]] == [text.replace("\0", "") for text in forged]
    with closing(open_reader("shop", source.url, nonce="other")) as other:
        assert column(pages(other, PLAN, ALL), "note") == found


def test_rows_keyed_by_texts_like_a_mark_are_all_read(source: Source, reader: SourceReader) -> None:
    if source.dialect == "postgres":
        pytest.skip("PostgreSQL's texts hold no NUL")
    for n in range(1, 6):
        source.execute("INSERT INTO notes VALUES (?, ?, NULL, '2026-01-01')", n, f"\0oversized:{n}:5:")
    plan = replace(PLAN, key=("note",), page_rows=2)
    assert [page.end.key for page in pages(reader, plan, ALL)] == [None] * 3
    assert column(pages(reader, plan, KeyRange(None, None, None)), "id") == ["1", "2", "3", "4", "5"]


def test_a_text_like_a_mark_is_told_from_those_that_are_made() -> None:
    texts = pa.array(["\0oversized:9:5:y", "x" * 6, None, "\0oversized:"])
    own, big, nothing, unlike = mark_oversized(texts, 100).to_pylist()
    assert (own, big, nothing, unlike) == ("\0\0oversized:9:5:y", "x" * 6, None, "\0oversized:")
    assert mark_oversized(pa.array(["x" * 6]), 5).to_pylist() == [Oversized(6, 5, "x" * 6).mark]


def test_the_column_that_is_not_read_may_be_of_any_size(source: Source, reader: SourceReader) -> None:
    fill(source)
    plan = replace(PLAN, columns=("id", "at"))
    assert column(pages(reader, plan, ALL), "id") == [str(n) for n in range(1, 10)]


def test_a_query_is_guarded_like_a_table(source: Source, reader: SourceReader) -> None:
    fill(source)
    loud = "CONCAT(note, '!')" if source.dialect == "mysql" else "note || '!'"
    plan = replace(PLAN, relation=Relation(query=f"SELECT id, {loud} AS note, data, at FROM notes"))
    notes = column(pages(reader, plan, ALL), "note")
    assert [n for n, note in enumerate(notes, start=1) if note.startswith(MARK)] == [3, 7]
    assert notes[0] == "note 1!"


def test_a_big_key_cannot_be_resumed_after(source: Source, reader: SourceReader) -> None:
    fill(source, rows=3)
    plan = replace(PLAN, key=("note",), page_rows=1)
    found = pages(reader, plan, ALL)
    assert [page.end.key for page in found[:2]] == [("note 1",), ("note 2",)]
    assert found[2].end == Position(found[2].rows.column("at")[0].as_py(), None)
    assert column(pages(reader, plan, KeyRange(None, None, None)), "id") == ["1", "2", "3"]


def test_a_big_cursor_stops_the_feed_with_its_reason(source: Source, reader: SourceReader) -> None:
    fill(source, rows=3)
    plan = replace(PLAN, cursor="note")
    with pytest.raises(SourceDriftError, match="the cursor note has 4,000 bytes, more than the 2,000"):
        pages(reader, plan, ALL)


def test_pages_end_at_their_bytes_however_small_the_rows_before(source: Source, reader: SourceReader) -> None:
    for n in range(1, 2_001):
        source.execute("INSERT INTO notes VALUES (?, 'small', NULL, '2026-01-01')", n)
    for n in range(2_001, 2_101):
        source.execute("INSERT INTO notes VALUES (?, ?, NULL, '2026-01-01')", n, "x" * 100_000)
    plan = replace(PLAN, max_cell_bytes=200_000, page_bytes=500_000)
    found = pages(reader, plan, ALL)
    assert column(found, "id") == [str(n) for n in range(1, 2_101)]
    assert max(page.rows.nbytes for page in found) < 1_000_000
