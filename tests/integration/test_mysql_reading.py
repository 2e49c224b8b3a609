"""What MySQL and MariaDB alone can hold, and how its server is kept from waiting for us or we for it."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pymysql
import pytest

from headrace.domain.coercion import coerce
from headrace.domain.oversize import oversized
from headrace.domain.position import Position
from headrace.domain.vocabulary import PropertyType
from headrace.errors import ConfigurationError, SourceDriftError, SourceUnavailableError
from headrace.ports import (
    Beyond,
    ExactKeys,
    KeyRange,
    NullCursors,
    Page,
    ReadPlan,
    Relation,
    Selection,
    Since,
)
from headrace.sources.mysql import MysqlReader
from headrace.sources.mysql_connection import Timeouts
from tests.conftest import mysql_connection

ALL = Since(None, None)
WHOLE = KeyRange(None, None, None)
Execute = Callable[..., Any]


@pytest.fixture
def execute(mysql_database: str) -> Iterator[Execute]:
    """Runs a statement of the application and gives its rows; any value may be stored."""
    with closing(mysql_connection(mysql_database)) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")

        def execute(statement: str, rows: list[tuple[Any, ...]] | None = None) -> Any:
            if rows is None:
                cursor.execute(statement)
            else:
                cursor.executemany(statement, rows)
            return cursor.fetchall()

        yield execute


@pytest.fixture
def reader(mysql_database: str) -> Iterator[MysqlReader]:
    with closing(MysqlReader("shop", mysql_database, nonce="test")) as reader:
        yield reader


def plan(table: str, *columns: str, cursor: str | None = None, **fields: Any) -> ReadPlan:
    return ReadPlan(relation=Relation(table), columns=columns, key=columns[:1], cursor=cursor, **fields)


def pages(reader: MysqlReader, plan: ReadPlan, selection: Selection) -> list[Page]:
    with reader.read(plan, selection) as stream:
        return list(stream)


def rows(reader: MysqlReader, plan: ReadPlan, selection: Selection) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for page in pages(reader, plan, selection) for row in page.rows.to_pylist()]


def one_by_one(reader: MysqlReader, plan: ReadPlan) -> list[tuple[Any, ...]]:
    """All rows of the cursor's order, each read by a statement that resumes after the one before."""
    found: list[tuple[Any, ...]] = []
    after: Position | None = None
    while True:
        with reader.read(replace(plan, page_rows=1), Since(after, None)) as stream:
            page = next(stream, None)
        if page is None:
            return found
        found.append(tuple(page.rows.to_pylist()[0].values()))
        after = page.end


KINDS = [
    ("tiny", "tinyint unsigned", "255", "255", PropertyType.INTEGER),
    ("flag", "boolean", "1", "1", PropertyType.BOOLEAN),
    ("big", "bigint unsigned", "18446744073709551615", "18446744073709551615", PropertyType.INTEGER),
    ("padded", "int(6) zerofill", "42", "000042", PropertyType.INTEGER),
    ("year", "year", "2026", "2026", PropertyType.INTEGER),
    ("bits", "bit(10)", "b'1000000001'", "513", PropertyType.INTEGER),
    ("bit1", "bit(1)", "b'1'", "1", PropertyType.BOOLEAN),
    ("money", "decimal(30,10)", "12345678901234567890.0123456789", "12345678901234567890.0123456789",
     PropertyType.DECIMAL),
    ("single", "float", "9.99", "9.99", PropertyType.FLOAT),
    ("whole", "float", "16777217", "16777216", PropertyType.FLOAT),
    ("twice", "double", "0.1", "0.1", PropertyType.FLOAT),
    ("day", "date", "'2026-02-28'", "2026-02-28", PropertyType.DATE),
    ("naive", "datetime", "'2026-02-28 10:00:00'", "2026-02-28 10:00:00", PropertyType.DATETIME),
    ("naive3", "datetime(3)", "'2026-02-28 10:00:00.5'", "2026-02-28 10:00:00.500", PropertyType.DATETIME),
    ("moment", "timestamp NULL", "'2026-02-28 10:00:00'", "2026-02-28 10:00:00+00", PropertyType.DATETIME),
    ("moment6", "timestamp(6) NULL", "'2026-02-28 10:00:00.000001'", "2026-02-28 10:00:00.000001+00",
     PropertyType.DATETIME),
    ("clock", "time(2)", "'-838:59:59.25'", "-838:59:59.25", PropertyType.STRING),
    ("mood", "enum('sad','glad')", "'glad'", "glad", PropertyType.STRING),
    ("tags", "set('a','b','c')", "'c,a'", "a,c", PropertyType.STRING),
    ("doc", "json", "'{\"a\": [1, \"é\"]}'", '{"a": [1, "é"]}', PropertyType.JSON),
    ("fixed", "char(5)", "'ab'", "ab", PropertyType.STRING),
    ("latin", "varchar(9) CHARACTER SET latin1", "'é'", "é", PropertyType.STRING),
    ("bytes", "varbinary(9)", "X'00ff27'", "\\x00ff27", PropertyType.STRING),
    ("fixed_bytes", "binary(3)", "X'01'", "\\x010000", PropertyType.STRING),
    ("blob_", "blob", "X''", "\\x", PropertyType.STRING),
    ("place", "point", "POINT(1, 2.5)", "POINT(1 2.5)", PropertyType.STRING),
]  # fmt: skip


def test_every_type_has_a_text_that_becomes_its_value(execute: Execute, reader: MysqlReader) -> None:
    columns = ", ".join(f"`{name}` {kind}" for name, kind, *_ in KINDS)
    execute(f"CREATE TABLE kinds (id int PRIMARY KEY, {columns})")
    execute(f"INSERT INTO kinds VALUES (1, {', '.join(value for _, _, value, *_ in KINDS)})")
    execute("INSERT INTO kinds (id) VALUES (2)")
    table = plan("kinds", "id", *(name for name, *_ in KINDS))
    for relation in (Relation("kinds"), Relation(query="SELECT * FROM kinds")):
        facts = reader.describe(relation)
        full, empty = rows(reader, replace(table, relation=relation), WHOLE)
        for (name, _kind, _value, text, type_), shown in zip(KINDS, full[1:], strict=True):
            column = facts.column(name)
            assert column is not None
            if relation.table or name != "doc":  # MariaDB's JSON is known by a check of the table
                assert (name, shown, column.type) == (name, text, type_)
            if name != "big":  # more than 64 bits hold: told, not cut
                assert coerce(page_text(text), column.type, time_zone="UTC").invalid is None, name
        assert set(empty[1:]) == {None}


def page_text(text: str) -> Any:
    import pyarrow as pa

    return pa.array([text], pa.string())


def test_floats_come_back_as_they_were(execute: Execute, reader: MysqlReader) -> None:
    dice = random.Random(7)
    doubles = [struct.unpack("<d", dice.randbytes(8))[0] for _ in range(300)]
    doubles = [d for d in doubles if d == d and abs(d) < 1e300]
    singles = [struct.unpack("<f", struct.pack("<f", dice.uniform(-1e9, 1e9)))[0] for _ in doubles]
    execute("CREATE TABLE floats (id int PRIMARY KEY, d double, f float)")
    execute("INSERT INTO floats VALUES (%s, %s, %s)", list(zip(range(999), doubles, singles, strict=False)))
    read = rows(reader, plan("floats", "id", "d", "f"), WHOLE)
    assert [float(row[1]) for row in read] == doubles
    assert [struct.unpack("<f", struct.pack("<f", float(row[2])))[0] for row in read] == singles
    by_single = ReadPlan(relation=Relation("floats"), columns=("f",), key=("f",), cursor=None)
    assert len(rows(reader, by_single, ExactKeys(tuple((row[2],) for row in read)))) == len(set(singles))


def test_a_float_may_be_the_cursor_and_the_key(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE marks (f float, d double, PRIMARY KEY (f))")
    execute("INSERT INTO marks VALUES (%s, %s)", [(n / 7, n / 3) for n in range(20)])
    assert len(one_by_one(reader, plan("marks", "f", "d", cursor="f"))) == 20


# --- dates that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["datetime NOT NULL", "timestamp NOT NULL DEFAULT '0000-00-00'", "date NOT NULL"]
)
def test_zero_dates_are_the_first_of_all_and_fit_no_type(
    execute: Execute, reader: MysqlReader, kind: str
) -> None:
    execute(f"CREATE TABLE zeros (id int PRIMARY KEY, at {kind})")
    execute(
        "INSERT INTO zeros VALUES (%s, %s)",
        [(1, "2026-01-01"), (2, "0000-00-00"), (3, "1971-01-01"), (4, "0000-00-00")],
    )
    zeros = plan("zeros", "id", "at", cursor="at")
    read = rows(reader, zeros, ALL)
    assert [row[0] for row in read] == ["2", "4", "3", "1"]
    assert one_by_one(reader, zeros) == read
    ranks = [reader.rank(zeros, row[1]) for row in read]
    assert ranks == sorted(ranks)
    assert rows(reader, zeros, NullCursors()) == [], "the server takes a zero date for null, we do not"
    assert [row[0] for row in rows(reader, zeros, Beyond(read[0][1]))] == ["1", "3"]
    texts = page_text(read[0][1])
    assert coerce(texts, PropertyType.DATETIME, time_zone="UTC").invalid.to_pylist() == [True]
    fence = reader.fence(zeros, None)
    assert fence.bound is not None
    assert reader.rank(zeros, read[0][1]) < reader.rank(zeros, fence.bound)


def test_zero_and_impossible_dates_may_be_keys(execute: Execute, reader: MysqlReader) -> None:
    execute("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'")
    execute("CREATE TABLE days (day date PRIMARY KEY, at datetime)")
    days = ["0000-00-00", "2026-02-00", "2026-02-31", "2026-03-01"]
    execute("INSERT INTO days VALUES (%s, '2026-01-01')", [(day,) for day in days])
    by_day = plan("days", "day", "at", cursor="at")
    assert [row[0] for row in one_by_one(reader, by_day)] == days
    wanted = (("2026-02-31",), ("0000-00-00",), ("2026-13-01",), ("tomorrow",))
    assert [row[0] for row in rows(reader, by_day, ExactKeys(wanted))] == ["0000-00-00", "2026-02-31"]


# --- texts and their collations -----------------------------------------------------------------

TWINS = ["A", "a", "Á", "a ", "a\x01", "b", "B", "ß", "ss", ""]
"""Texts that some collation takes for the same, or orders otherwise than their bytes."""


@pytest.mark.parametrize(
    "collation", ["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin", "latin1_swedish_ci"]
)
def test_texts_that_a_collation_takes_for_equal_are_told_apart(
    execute: Execute, reader: MysqlReader, collation: str
) -> None:
    charset = collation.partition("_")[0]
    execute(
        f"CREATE TABLE twins (k varchar(20) CHARACTER SET {charset} COLLATE {collation} NOT NULL,"
        " at datetime NOT NULL, INDEX (at, k))"
    )
    execute("INSERT INTO twins VALUES (%s, '2026-01-01')", [(text,) for text in TWINS])
    twins = plan("twins", "k", "at", cursor="at")
    assert sorted(row[0] for row in one_by_one(reader, twins)) == sorted(TWINS)
    for text in TWINS:
        assert [row[0] for row in rows(reader, twins, ExactKeys(((text,),)))] == [text]
    assert rows(reader, twins, ExactKeys((("á",), ("日",), ("a  ",)))) == []
    facts = reader.describe(Relation("twins")).column("k")
    assert facts is not None
    assert not facts.portable_order
    bounds = [None, *((text,) for text in sorted(TWINS, key=str.encode)), None]
    tiles = [KeyRange(after, upto, None) for after, upto in pairwise(bounds)]
    assert [row[0] for tile in tiles for row in rows(reader, twins, tile)] == sorted(TWINS, key=str.encode)


def test_a_case_insensitive_primary_key_is_paged_by_its_index(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE codes (k varchar(40) PRIMARY KEY, at datetime NOT NULL, INDEX by_at (at, k))")
    execute(
        "INSERT INTO codes SELECT CONCAT(CHAR(65 + seq % 26), seq),"
        " '2026-01-01' + INTERVAL seq DIV 100 SECOND FROM seq_1_to_3000"
    )
    codes = plan("codes", "k", "at", cursor="at", page_rows=100)
    whole = rows(reader, codes, ALL)
    assert len(set(whole)) == 3000
    middle = pages(reader, codes, ALL)[20].end
    assert rows(reader, codes, Since(middle, None)) == whole[2100:]
    statement = reader._composed(reader._relation(codes.relation), codes, Since(middle, None))
    plan_of = execute(f"EXPLAIN {statement}")
    assert plan_of[0][5] == "by_at"
    assert "filesort" not in plan_of[0][-1]
    found = reader._composed(reader._relation(codes.relation), codes, ExactKeys((("B1",), ("C2",))))
    assert execute(f"EXPLAIN {found}")[0][5] == "PRIMARY"


def test_an_enum_key_is_ordered_as_it_is_compared(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE moods (mood enum('z','m','a') PRIMARY KEY, at datetime)")
    execute("INSERT INTO moods VALUES ('z', '2026-01-01'), ('m', '2026-01-01'), ('a', '2026-01-01')")
    moods = plan("moods", "mood", "at", cursor="at")
    assert [row[0] for row in one_by_one(reader, moods)] == ["a", "m", "z"]
    assert [row[0] for row in rows(reader, moods, KeyRange(("a",), ("m",), None))] == ["m"]


def test_binary_keys_are_portable_and_found(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE ids (id binary(2) PRIMARY KEY, at timestamp(3) NULL)")
    execute(
        "INSERT INTO ids VALUES (X'00ff', '2026-01-01'), (X'ff00', '2026-01-01'), (X'2e2e', '2026-01-01')"
    )
    ids = plan("ids", "id", "at", cursor="at")
    keys = ["\\x00ff", "\\x2e2e", "\\xff00"]
    assert [row[0] for row in one_by_one(reader, ids)] == keys
    assert [row[0] for row in rows(reader, ids, KeyRange((keys[0],), (keys[1],), None))] == keys[1:2]
    assert [row[0] for row in rows(reader, ids, ExactKeys(((keys[2],), ("\\xZZ",), ("ff00",))))] == keys[2:]


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", range(7))
def test_cursors_of_every_precision_part_rows(execute: Execute, reader: MysqlReader, digits: int) -> None:
    execute(f"CREATE TABLE ticks (id int PRIMARY KEY, at datetime({digits}), ts timestamp({digits}) NULL)")
    times = [
        f"2026-01-01 10:00:0{second}.{micros:06d}" for second in (0, 1) for micros in (0, 1, 499_999, 500_000)
    ]
    execute("INSERT INTO ticks VALUES (%s, %s, %s)", [(n, at, at) for n, at in enumerate(times)])
    for cursor in ("at", "ts"):
        ticks = plan("ticks", "id", cursor, cursor=cursor)
        assert [row[0] for row in one_by_one(reader, ticks)] == [str(n) for n in range(len(times))]
        fence = reader.fence(ticks, None)
        for text in (fence.now, fence.bound):
            assert text is not None
            fraction = text.removesuffix("+00").partition(".")[2]
            assert len(fraction) == digits


def test_canonical_keys_find_naive_and_absolute_times(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE naive (at datetime(3) PRIMARY KEY, ts timestamp NULL, UNIQUE (ts))")
    execute("INSERT INTO naive VALUES ('2026-07-01 12:00:00.5', '2026-07-01 12:00:00')")
    zoned = plan("naive", "at", time_zone="Europe/Berlin")
    assert len(rows(reader, zoned, ExactKeys((("2026-07-01T10:00:00.500000Z",),)))) == 1
    assert len(rows(reader, zoned, ExactKeys((("2026-07-01 12:00:00.500",),)))) == 1
    absolute = plan("naive", "ts", time_zone="Europe/Berlin")
    for key in ("2026-07-01T12:00:00.000000Z", "2026-07-01 12:00:00+00"):
        assert len(rows(reader, absolute, ExactKeys(((key,),)))) == 1


# --- the server ---------------------------------------------------------------------------------


def test_a_stream_that_is_left_early_is_ended_on_the_server(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE many (id int PRIMARY KEY, pad varchar(2000))")
    execute("INSERT INTO many SELECT seq, REPEAT('x', 2000) FROM seq_1_to_20000")
    began = time.monotonic()
    with reader.read(plan("many", "id", "pad", page_rows=10), WHOLE) as stream:
        next(stream)
    assert time.monotonic() - began < 5
    mine = (
        "SELECT count(*) FROM information_schema.processlist"
        " WHERE info LIKE 'SELECT /* headrace-reader:test */%many%'"
    )
    deadline = time.monotonic() + 10
    while execute(mine) != ((0,),):
        assert time.monotonic() < deadline
    assert len(rows(reader, plan("many", "id"), WHOLE)) == 20_000


def test_a_limit_that_is_met_keeps_the_connection(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE few (id int PRIMARY KEY)")
    execute("INSERT INTO few SELECT seq FROM seq_1_to_100")
    with reader.read(plan("few", "id", page_rows=10), KeyRange(None, None, 10)) as stream:
        assert next(stream).rows.num_rows == 10
    kept = reader._connection
    assert kept is not None
    assert len(rows(reader, plan("few", "id"), WHOLE)) == 100
    assert reader._connection is kept


def test_big_cells_stay_in_the_server(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE big (id int PRIMARY KEY, t longtext, b longblob, j json)")
    execute(
        "INSERT INTO big VALUES (2, 'é', X'ab', '1'),"
        " (1, REPEAT('é', 3000), REPEAT(X'ab', 3000), CONCAT('\"', REPEAT('j', 5000), '\"'))"
    )
    guarded = plan("big", "id", "t", "b", "j", max_cell_bytes=4000)
    first, second = rows(reader, guarded, WHOLE)
    assert second == ("2", "é", "\\xab", "1")
    sizes = [(big.size, big.beginning[:3]) for text in first[1:] for big in [oversized(text)] if big]
    assert sizes == [(6000, "ééé"), (6002, "\\xa"), (5002, '"jj')]


def test_a_statement_that_takes_too_long_is_ended_by_the_server(
    mysql_database: str, execute: Execute
) -> None:
    execute("CREATE TABLE t (id int PRIMARY KEY)")
    with closing(MysqlReader("shop", mysql_database, nonce="x", timeouts=Timeouts(statement_s=1))) as hasty:
        slow = ReadPlan(
            relation=Relation(
                query="SELECT a.seq AS n FROM seq_1_to_100000 a, seq_1_to_100000 b WHERE a.seq + b.seq < 0"
            ),
            columns=("n",),
            key=("n",),
            cursor=None,
        )
        with pytest.raises(SourceUnavailableError, match=r"shop: .*execution"):
            rows(hasty, slow, WHOLE)
        assert rows(hasty, plan("t", "id"), WHOLE) == []


def test_a_lost_connection_is_unavailable_and_then_made_again(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE t (id int PRIMARY KEY)")
    assert rows(reader, plan("t", "id"), WHOLE) == []
    assert reader._connection is not None
    execute(f"KILL {reader._connection.thread_id()}")
    with pytest.raises(SourceUnavailableError, match="shop"):
        rows(reader, plan("t", "id"), WHOLE)
    assert rows(reader, plan("t", "id"), WHOLE) == []


def test_a_connection_that_was_dropped_while_idle_is_replaced_unseen(
    execute: Execute, reader: MysqlReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute("CREATE TABLE t (id int PRIMARY KEY)")
    assert rows(reader, plan("t", "id"), WHOLE) == []
    assert reader._connection is not None
    execute(f"KILL {reader._connection.thread_id()}")
    monkeypatch.setattr("headrace.sources.mysql._UNASKED_S", 0.0)
    assert rows(reader, plan("t", "id"), WHOLE) == []


# --- errors -------------------------------------------------------------------------------------


def test_refusals_are_for_a_person_and_tell_no_secret(mysql_server: str, mysql_database: str) -> None:
    name = mysql_database.rsplit("/", 1)[1]
    place = mysql_server.partition("@")[2]
    wrong = {
        f"mysql://nobody:hunter2@{place}/{name}": "correct the user or password",
        f"mysql://root@{place}/nowhere_at_all": "correct the database",
        f"mysql://root:hunter2@{place}": "names no database",
        f"mysql://root:hunter2@{place}/{name}?ssl_mod=required": "unknown option",
        f"mysql://root:hunter2@{place}/{name}?ssl_mode=always": "is one of",
        f"mysql://root:hunter2@{place}/{name}?connect_timeout=soon": "whole number",
        f"mysql://root:hunter2@{place}/{name}?ssl_mode=verify_ca&ssl_ca=/nowhere.pem": "correct ssl_ca",
    }
    for url, said in wrong.items():
        with pytest.raises(ConfigurationError, match=said) as caught:
            MysqlReader("shop", url, nonce="x").tables()
        assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"
    with pytest.raises(SourceUnavailableError, match="shop"):
        MysqlReader("shop", f"mysql://root:hunter2@127.0.0.1:1/{name}?connect_timeout=1", nonce="x").tables()


def test_rights_that_are_missing_are_for_a_person(
    mysql_server: str, mysql_database: str, execute: Execute
) -> None:
    name = mysql_database.rsplit("/", 1)[1]
    execute("CREATE TABLE secret (id int PRIMARY KEY)")
    execute("CREATE TABLE open (id int PRIMARY KEY)")
    user = f"u{name[-12:]}"
    execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'hunter2'")
    try:
        execute(f"GRANT SELECT ON {name}.open TO {user}@'%'")
        url = f"mysql://{user}:hunter2@{mysql_server.partition('@')[2]}/{name}"
        with closing(MysqlReader("shop", url, nonce="x")) as reader:
            assert [listing.table for listing in reader.tables()] == ["open"]
            with pytest.raises(ConfigurationError, match="GRANT SELECT"):
                reader.describe(Relation(query="SELECT id FROM secret"))
    finally:
        execute(f"DROP USER {user}@'%'")


def test_a_key_that_changed_its_type_is_drift(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE changed (id int PRIMARY KEY)")
    with pytest.raises(SourceDriftError, match="type"):
        rows(reader, plan("changed", "id"), KeyRange(("abc",), None, None))


def test_a_reader_cannot_write_however_it_is_asked(execute: Execute, reader: MysqlReader) -> None:
    execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader.describe(Relation("t"))
    connection = reader._connection
    assert connection is not None
    for statement in ("INSERT INTO t VALUES (1)", "CREATE TABLE u (id int)", "DROP TABLE t"):
        with pytest.raises(pymysql.err.OperationalError, match="READ ONLY"):
            connection.ask(statement)
