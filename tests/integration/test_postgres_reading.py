"""What only PostgreSQL can do to its reader: plans, types, rights and refusals."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from headrace.domain.oversize import oversized
from headrace.domain.position import Position
from headrace.errors import ConfigurationError, HeadraceError, SourceDriftError, SourceUnavailableError
from headrace.ports import ExactKeys, KeyRange, ReadPlan, Relation, Selection, Since
from headrace.sources.postgres import PostgresReader, Timeouts
from headrace.sources.postgres_catalogue import find_relation
from headrace.sources.postgres_select import compose_select
from tests.proxy import Proxy

WHOLE = KeyRange(None, None, None)
SLOWLY_SENT = """
CREATE TABLE things AS SELECT n AS id, repeat('x', 2000) AS text FROM generate_series(1, 60000) AS n;
ALTER TABLE things ADD PRIMARY KEY (id)
"""


@pytest.fixture
def app(postgres_database: str) -> Iterator[psycopg.Connection[Any]]:
    with closing(psycopg.connect(postgres_database, autocommit=True)) as app:
        yield app


@pytest.fixture
def reader(postgres_database: str) -> Iterator[PostgresReader]:
    with closing(PostgresReader("shop", postgres_database, nonce="mine")) as reader:
        yield reader


def rows(reader: PostgresReader, plan: ReadPlan, selection: Selection) -> list[tuple[Any, ...]]:
    with reader.read(plan, selection) as stream:
        return [tuple(row.values()) for page in stream for row in page.rows.to_pylist()]


def test_an_index_on_cursor_and_key_serves_bound_and_order(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute("CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz)")
    app.execute("INSERT INTO events SELECT n, now() - n * interval '1 s' FROM generate_series(1, 20000) n")
    app.execute("CREATE INDEX by_cursor ON events (at, id)")
    app.execute("VACUUM ANALYZE events")
    plan = ReadPlan(relation=Relation("events"), columns=("id", "at"), key=("id",), cursor="at")
    relation = find_relation(app, "shop", plan.relation)
    row = app.execute("SELECT (now() - interval '1 min')::text").fetchone()
    assert row is not None
    for position in (Position(row[0], ("5",)), Position(row[0], None)):
        select = compose_select(relation, plan, Since(position, None), mark="")
        explained = app.execute(sql.SQL("EXPLAIN {}").format(select)).fetchall()
        text = "\n".join(line for (line,) in explained)
        assert "by_cursor" in text
        assert "Index Cond: (ROW(at, id) >" in text or "Index Cond: (at >=" in text
        assert "Sort" not in text
    keys = compose_select(relation, plan, ExactKeys((("1",), ("2",))), mark="")
    text = "\n".join(line for (line,) in app.execute(sql.SQL("EXPLAIN {}").format(keys)).fetchall())
    assert "events_pkey" in text


def test_every_type_has_its_text_and_its_property_type(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute("CREATE DOMAIN positive AS integer NOT NULL CHECK (VALUE > 0)")
    app.execute("CREATE DOMAIN very_positive AS positive")
    app.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    values = {
        "smallint": ("7", "7", "integer"),
        "very_positive": ("7", "7", "integer"),
        "mood": ("'glad'", "glad", "string"),
        "integer[]": ("'{1,NULL}'", "{1,NULL}", "string"),
        "int4range": ("'[1,5)'", "[1,5)", "string"),
        "bytea": ("'\\x00ff'", "\\x00ff", "string"),
        "tsvector": ("'a b'", "'a' 'b'", "string"),
        "numeric": ("1e-20", "0.00000000000000000001", "decimal"),
        "money": ("1234.5", "1234.50", "decimal"),
        "real": ("0.1", "0.1", "float"),
        "double precision": ("0.1 + 0.2::float8", "0.30000000000000004", "float"),
        "boolean": ("true", "t", "boolean"),
        "date": ("'infinity'", "infinity", "date"),
        "timestamp(3)": ("'2026-01-01 10:00:00.1234'", "2026-01-01 10:00:00.123", "datetime"),
        "timestamptz": ("'2026-01-01 10:00:00+05'", "2026-01-01 05:00:00+00", "datetime"),
        "interval": ("'1 day 2 hours'", "1 day 02:00:00", "string"),
        "jsonb": ("'{\"a\": [1, null]}'", '{"a": [1, null]}', "json"),
        "uuid": ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "string"),
        "char(5)": ("'ab'", "ab   ", "string"),
    }
    columns = ", ".join(f"c{at} {kind}" for at, kind in enumerate(values))
    app.execute(f"CREATE TABLE kinds (id int PRIMARY KEY, {columns})")  # type: ignore[arg-type]
    shown = ", ".join(literal for literal, _text, _type in values.values())
    app.execute(f"INSERT INTO kinds VALUES (1, {shown})")  # type: ignore[arg-type]
    names = tuple(f"c{at}" for at in range(len(values)))
    plan = ReadPlan(relation=Relation("kinds"), columns=("id", *names), key=("id",), cursor=None)
    assert list(rows(reader, plan, WHOLE)[0][1:]) == [text for _literal, text, _type in values.values()]
    for relation in (plan.relation, Relation(query="SELECT * FROM kinds")):
        facts = reader.describe(relation)
        assert [column.type.value for column in facts.columns[1:]] == [kind for *_, kind in values.values()]
    assert not reader.describe(plan.relation).columns[2].nullable, "the domain is NOT NULL"
    for name, kind, (_literal, text, _type) in zip(names, values, values.values(), strict=True):
        if kind == "integer[]":
            continue
        by_name = ReadPlan(relation=Relation("kinds"), columns=(name,), key=(name,), cursor=None)
        assert rows(reader, by_name, ExactKeys(((text,),))) == [(text,)]


def test_longer_texts_are_not_cut_into_keys(app: psycopg.Connection[Any], reader: PostgresReader) -> None:
    app.execute("CREATE TABLE codes (code varchar(3) PRIMARY KEY, padded char(3) NOT NULL)")
    app.execute("INSERT INTO codes VALUES ('abc', 'x')")
    plan = ReadPlan(relation=Relation("codes"), columns=("code",), key=("code",), cursor=None)
    assert rows(reader, plan, ExactKeys((("abcd",),))) == []
    assert rows(reader, plan, ExactKeys((("abc",),))) == [("abc",)]


@pytest.mark.parametrize(
    ("kind", "fits", "too_big"),
    [
        ("json", "'{\"a\":  1}'", "json_build_object('a', repeat('x', 5000))"),
        ("jsonb", "'[1, 2]'", "to_jsonb(array_fill(1, ARRAY[2000]))"),
        ("text[]", "'{a,NULL,\"b c\"}'", "array_fill('x'::text, ARRAY[2000])"),
        ("bool[]", "'{t,NULL}'", "array_fill(NULL::bool, ARRAY[2000])"),
        ("varchar(9000)", "'a'", "repeat('x', 9000)"),
        ("char(3000)", "repeat('a', 3000)", None),
        ("char(6000)", None, "'a'"),
        ("xml", "'<a>é</a>'", "('<a>' || repeat('x', 5000) || '</a>')::xml"),
        ("varbit", "B'0101'", "repeat('0', 8000)::varbit"),
        ("numeric", "1.50", "repeat('9', 5000)::numeric"),
        ("int4range", "'[1,5)'", None),
        ("tsvector", "'a:1'", "array_to_tsvector(ARRAY(SELECT 'w' || n FROM generate_series(1, 2000) n))"),
    ],
)
def test_every_type_that_can_be_big_is_guarded_and_shown_as_before(
    app: psycopg.Connection[Any], reader: PostgresReader, kind: str, fits: str | None, too_big: str | None
) -> None:
    app.execute(f"CREATE TABLE big (id integer PRIMARY KEY, v {kind})")
    app.execute(f"INSERT INTO big VALUES (1, {fits or 'NULL'}), (2, {too_big or 'NULL'}), (3, NULL)")
    app.execute("UPDATE big SET id = id")  # stored values, maybe compressed
    plan = ReadPlan(
        relation=Relation("big"), columns=("id", "v"), key=("id",), cursor=None, max_cell_bytes=4000
    )
    first, second, third = (row[1] for row in rows(reader, plan, WHOLE))
    shown = rows(reader, replace(plan, max_cell_bytes=10**9), WHOLE)
    assert (first, third) == (shown[0][1], None)
    if too_big is None:
        assert second is None
    else:
        big = oversized(second)
        assert big is not None
        assert big.size == len(shown[1][1].encode()) > big.limit


def test_canonical_date_times_find_naive_keys_in_their_zone(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute("CREATE TABLE slots (at timestamp PRIMARY KEY)")
    app.execute("INSERT INTO slots VALUES ('2026-07-01 10:00:00')")
    plan = ReadPlan(
        relation=Relation("slots"), columns=("at",), key=("at",), cursor=None, time_zone="Europe/Berlin"
    )
    keys = ExactKeys((("2026-07-01T08:00:00.000000Z",), ("nonsenseZ",)))
    assert rows(reader, plan, keys) == [("2026-07-01 10:00:00",)]


def test_views_and_partitioned_tables_are_read_and_partitions_not_listed(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute("CREATE SCHEMA other")
    app.execute("CREATE TABLE other.parted (id int PRIMARY KEY, n int) PARTITION BY RANGE (id)")
    app.execute("CREATE TABLE other.low PARTITION OF other.parted FOR VALUES FROM (0) TO (10)")
    app.execute("INSERT INTO other.parted VALUES (1, 1)")
    app.execute("CREATE VIEW seen AS SELECT id, n FROM other.parted")
    assert [listing.table for listing in reader.tables()] == ["other.parted", "public.seen"]
    for table in ("other.parted", "seen", "public.seen"):
        plan = ReadPlan(relation=Relation(table), columns=("id", "n"), key=("id",), cursor="n")
        assert rows(reader, plan, Since(None, None)) == [("1", "1")]
    assert reader.describe(Relation("other.parted")).primary_key == ("id",)


def test_dropped_columns_are_gone_and_a_changed_type_changes_the_fingerprint(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute("CREATE TABLE changing (id int PRIMARY KEY, gone int, kept varchar(10))")
    before = reader.describe(Relation("changing"))
    app.execute("ALTER TABLE changing DROP gone")
    dropped = reader.describe(Relation("changing"))
    app.execute("ALTER TABLE changing ALTER kept TYPE varchar(20)")
    widened = reader.describe(Relation("changing"))
    assert [column.name for column in dropped.columns] == ["id", "kept"]
    assert len({facts.fingerprint for facts in (before, dropped, widened)}) == 3


def test_a_position_that_no_longer_fits_its_columns_type_is_drift(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute("CREATE TABLE changed (id uuid PRIMARY KEY, at timestamptz)")
    plan = ReadPlan(relation=Relation("changed"), columns=("id", "at"), key=("id",), cursor="at")
    with pytest.raises(SourceDriftError, match="uuid"):
        rows(reader, plan, Since(Position("2026-01-01 00:00:00+00", ("17",)), None))


def test_a_query_that_writes_is_refused(app: psycopg.Connection[Any], reader: PostgresReader) -> None:
    app.execute("CREATE TABLE precious (id int PRIMARY KEY)")
    app.execute(
        "CREATE FUNCTION spoil() RETURNS int LANGUAGE sql AS 'INSERT INTO precious VALUES (1) RETURNING id'"
    )
    plan = ReadPlan(
        relation=Relation(query="SELECT spoil() AS id"), columns=("id",), key=("id",), cursor=None
    )
    with pytest.raises(ConfigurationError, match="read-only transaction"):
        rows(reader, plan, WHOLE)
    assert app.execute("SELECT count(*) FROM precious").fetchone() == (0,)


def test_a_slow_statement_ends_and_may_be_tried_again(postgres_database: str) -> None:
    query = Relation(query="SELECT 1 AS id FROM pg_sleep(5)")
    plan = ReadPlan(relation=query, columns=("id",), key=("id",), cursor=None)
    timeouts = Timeouts(statement_s=1)
    with (
        closing(PostgresReader("shop", postgres_database, nonce="mine", timeouts=timeouts)) as reader,
        pytest.raises(SourceUnavailableError, match="statement timeout"),
    ):
        rows(reader, plan, WHOLE)


def test_a_session_that_was_ended_is_replaced_at_the_next_call(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute("CREATE TABLE one (id int PRIMARY KEY)")
    reader.describe(Relation("one"))
    app.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'headrace-reader:mine' AND datname = current_database()"
    )
    with pytest.raises(SourceUnavailableError):
        reader.describe(Relation("one"))
    assert reader.describe(Relation("one")).primary_key == ("id",)


@pytest.mark.parametrize("page_rows", [100, 6_000])
def test_leaving_a_server_that_stalls_takes_seconds_and_the_next_call_has_another_connection(
    app: psycopg.Connection[Any], postgres_database: str, page_rows: int
) -> None:
    """With pages of 6,000 rows one is read ahead, by a thread that waits when the context is left."""
    app.execute(
        "CREATE TABLE things AS SELECT n AS id, repeat('x', 2000) AS text FROM generate_series(1, 60000) n"
    )
    app.execute("ALTER TABLE things ADD PRIMARY KEY (id)")
    plan = ReadPlan(
        relation=Relation("things"), columns=("id", "text"), key=("id",), cursor=None, page_rows=page_rows
    )
    parts = urlsplit(postgres_database)
    with ExitStack() as stack:
        proxy = stack.enter_context(closing(Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)))
        stack.callback(proxy.flow)
        url = parts._replace(
            netloc=f"{parts.username}:{parts.password or ''}@127.0.0.1:{proxy.port}"
        ).geturl()
        reader = stack.enter_context(closing(PostgresReader("shop", url, nonce="mine")))
        with reader.read(plan, WHOLE) as pages:
            next(pages)
            proxy.stall()
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 10
        assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]
        proxy.flow()
        with reader.read(plan, WHOLE) as pages:
            assert sum(page.rows.num_rows for page in pages) == 60_000


def test_leaving_early_leaves_the_connection_usable(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute(
        "CREATE TABLE things AS SELECT n AS id, repeat('x', 2000) AS text FROM generate_series(1, 60000) n"
    )
    app.execute("ALTER TABLE things ADD PRIMARY KEY (id)")
    plan = ReadPlan(relation=Relation("things"), columns=("id", "text"), key=("id",), cursor=None)
    used = []
    for _ in range(3):
        with reader.read(plan, WHOLE) as pages:
            next(pages)
        assert reader._connection is not None
        used.append(reader._connection.info.backend_pid)
    assert len(set(used)) == 1


def test_a_session_ended_in_the_middle_of_a_stream_is_an_outage(
    app: psycopg.Connection[Any], reader: PostgresReader
) -> None:
    app.execute("CREATE TABLE wide (id int PRIMARY KEY, t text)")
    app.execute("INSERT INTO wide SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n")
    plan = ReadPlan(relation=Relation("wide"), columns=("id", "t"), key=("id",), cursor=None, page_rows=100)
    with pytest.raises(SourceUnavailableError), reader.read(plan, WHOLE) as stream:  # noqa: PT012
        next(stream)
        app.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'headrace-reader:mine' AND datname = current_database()"
        )
        list(stream)
    assert len(rows(reader, plan, ExactKeys((("1",),)))) == 1


def test_rights_that_lack_are_for_a_person(app: psycopg.Connection[Any], postgres_database: str) -> None:
    role = sql.Identifier(f"headrace_plain_{uuid.uuid4().hex[:8]}")
    app.execute("CREATE TABLE secret (id int PRIMARY KEY)")
    app.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    name = role.as_string().strip('"')
    url = psycopg.conninfo.make_conninfo(postgres_database, user=name)
    plan = ReadPlan(relation=Relation("secret"), columns=("id",), key=("id",), cursor=None)
    with closing(PostgresReader("shop", url, nonce="mine")) as reader:
        with pytest.raises(ConfigurationError, match="GRANT SELECT"):
            rows(reader, plan, WHOLE)
        assert reader.tables() == ()
    app.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("{server}/headrace_no_such_database", ConfigurationError, "correct the database"),
        ("postgresql://nobody_here:s3cr3t%21@127.0.0.1:{port}/postgres", ConfigurationError, "nobody_here"),
        ("postgresql://u:s3cr3t%21@127.0.0.1:1/db", SourceUnavailableError, "refused"),
        ("postgresql://u:s3cr3t%21@127.0.0.1:port/db", ConfigurationError, "shop"),
        ("postgresql://h:1/db?password=s3cr3t%21&nonsense=1", ConfigurationError, "not a PostgreSQL URL"),
    ],
)  # fmt: skip
def test_a_refused_connection_says_what_to_mend_and_never_the_password(
    postgres_server: str, url: str, error: type[HeadraceError], words: str
) -> None:
    server = postgres_server.rsplit("/", 1)[0]
    full = url.format(server=server, port=server.rsplit(":", 1)[1])
    reader = PostgresReader("shop", full, nonce="mine")
    with pytest.raises(error, match=words) as caught:
        reader.describe(Relation("t"))
    told = f"{caught.value} {caught.value.__cause__}"
    assert "s3cr3t" not in told
    assert str(caught.value).startswith("shop: ")


def test_a_database_without_an_encoding_cannot_stop_the_feed(postgres_server: str) -> None:
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    with closing(psycopg.connect(postgres_server, autocommit=True)) as server:
        server.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"  # type: ignore[arg-type]
        )
        try:
            url = postgres_server.rsplit("/", 1)[0] + "/" + name
            with closing(psycopg.connect(url, autocommit=True)) as app:
                app.execute("CREATE TABLE latin (id int PRIMARY KEY, t text)")
                app.execute(b"INSERT INTO latin VALUES (1, 'caf\xe9'), (2, 'plain')")
            plan = ReadPlan(relation=Relation("latin"), columns=("id", "t"), key=("id",), cursor=None)
            with closing(PostgresReader("shop", url, nonce="mine")) as reader:
                assert rows(reader, plan, WHOLE) == [("1", "caf\\xe9"), ("2", "plain")]
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
