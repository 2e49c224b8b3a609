"""What the conformance suite cannot say of files: their forms, and lines that are no rows."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.domain.position import Position
from headrace.domain.unreadable import Unreadable
from headrace.domain.vocabulary import FeedClass, PropertyType
from headrace.errors import ConfigurationError, SourceDriftError, SourceUnavailableError
from headrace.ports import Beyond, ExactKeys, NullCursors, Relation, Since
from headrace.sources.files import FilesReader
from tests.integration.files_source import pages, plan_of, reader_of, rows


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[FilesReader]:
    with reader_of(tmp_path) as reader:
        yield reader


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, (0, 0))  # else a last line without its break is waited for
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("users.csv", b"id,name\n2,b\n1,a\n"),
        ("users.CSV", b"id,name\n2,b\n1,a\n"),
        ("windows.csv", b"\xef\xbb\xbfid,name\r\n2,b\r\n1,a"),
        ("quoted.csv", b'"id","name"\n"2","b"\n\n"1","a"\n'),
        ("users.tsv", b"id\tname\n2\tb\n1\ta\n"),
        ("users.csv.gz", gzip.compress(b"id,name\n2,b\n1,a\n", mtime=0)),
        ("users.csv.zst", pa.Codec("zstd").compress(b"id,name\n2,b\n1,a\n", asbytes=True)),
    ],
)
def test_csv_comes_in_several_forms(tmp_path: Path, reader: FilesReader, name: str, content: bytes) -> None:
    write(tmp_path / name, content)
    assert rows(reader, plan_of(name)) == [("1", "a"), ("2", "b")]


def test_null_and_the_empty_text_differ(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users.csv", 'id,name\n1,\n2,""\n3,NULL\n4," "\n')
    assert [name for _, name in rows(reader, plan_of("users.csv"))] == [None, "", "NULL", " "]


def test_a_table_is_a_file_a_directory_or_a_pattern(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "events" / "1.csv", "id,name\n1,a\n")
    write(tmp_path / "events" / "2.csv.gz", gzip.compress(b"name,id\nb,2\n", mtime=0))
    write(tmp_path / "events" / "deeper" / "3.csv", "id,name\n3,c\n")
    for left_out in (".4.csv.tmp", "_5.csv", "_SUCCESS", "readme.txt"):
        write(tmp_path / "events" / left_out, "id,name\n9,z\n")
    assert rows(reader, plan_of("events/1.csv")) == [("1", "a")]
    assert rows(reader, plan_of("events")) == [("1", "a"), ("2", "b")]
    assert rows(reader, plan_of("events/*")) == [("1", "a"), ("2", "b")]
    assert rows(reader, plan_of("events/**/*.csv")) == [("1", "a"), ("3", "c")]


def test_no_path_leads_out_of_the_directory(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    write(inside / "users.csv", "id,name\n1,a\n")
    secret = write(tmp_path / "secret.csv", "id,name\n1,secret\n")
    (inside / "link.csv").symlink_to(secret)
    (inside / "folder").symlink_to(tmp_path)
    (inside / "here.csv").symlink_to(inside / "users.csv")
    with reader_of(inside) as reader:
        assert rows(reader, plan_of("here.csv")) == [("1", "a")]
        for table in ("../secret.csv", "a/../../secret.csv", str(secret), "link.csv", "folder/secret.csv"):
            with pytest.raises((ConfigurationError, SourceUnavailableError), match="leads out"):
                rows(reader, plan_of(table))
        with pytest.raises(ConfigurationError, match="leads out"):
            rows(reader, plan_of("*.csv"))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, reader: FilesReader) -> None:
    os.mkfifo(tmp_path / "users.csv")
    with pytest.raises(ConfigurationError, match="no regular file"):
        rows(reader, plan_of("users.csv"))


def test_a_file_that_is_no_table_by_its_name_is_refused(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users.xlsx", "")
    with pytest.raises(
        ConfigurationError, match=r'"users.xlsx" is no table by its name; it must end in .csv'
    ):
        reader.describe(Relation("users.xlsx"))


def test_files_have_no_queries(reader: FilesReader) -> None:
    with pytest.raises(ConfigurationError, match="no queries"):
        reader.describe(Relation(query="SELECT 1"))


BAD_LINES = b"id,name\n1,a\n2,b,\xe4xtra\n3\n4,\xff\xfe\n5,e\n"


def test_a_line_that_is_no_row_is_set_aside_and_stops_no_other(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users.csv", BAD_LINES)
    read = rows(reader, plan_of("users.csv"))
    lines = [Unreadable.from_text(key) for key, _ in read]
    assert [row for row, line in zip(read, lines, strict=True) if line is None] == [("1", "a"), ("5", "e")]
    assert {(line.at, line.reason, line.line) for line in lines if line} == {
        ("users.csv row 3", 'row 3 of "users.csv" has 3 fields, not 2', "2,b,�xtra"),
        ("users.csv row 4", 'row 4 of "users.csv" has 1 fields, not 2', "3"),
        ("users.csv row 4,��", 'a line of "users.csv" is not in UTF-8', "4,��"),
    }


def test_with_a_cursor_lines_that_are_no_rows_are_of_the_lane_without_cursors(
    tmp_path: Path, reader: FilesReader
) -> None:
    write(tmp_path / "users.csv", BAD_LINES.replace(b",a", b",2026-01-01").replace(b"name", b"at"))
    plan = plan_of("users.csv", ("id", "at"), "at")
    assert [key for key, _ in rows(reader, plan, Since(None, None))] == ["1"]
    lane = [key for key, _ in rows(reader, plan, NullCursors())]
    assert len([key for key in lane if Unreadable.from_text(key)]) == 3
    assert lane[-1] == "5"  # `e` is no time


def test_a_control_character_in_one_row_is_no_fault_whatever_another_row_holds(
    tmp_path: Path, reader: FilesReader
) -> None:
    own = [("1", "al\x1aice"), ("2", "bob\x18")]
    body = "id,name\n" + "".join(f"{id_},{name}\n" for id_, name in own)
    for others, is_none in ((b"", 0), ("3,Zoë\n".encode(), 0), (b"3,\xff\n4\x1a,\xe4\n", 2)):
        write(tmp_path / "users.csv", body.encode() + others)
        read = rows(reader, plan_of("users.csv"))
        assert set(own) <= set(read)
        assert len([key for key, _ in read if Unreadable.from_text(key)]) == is_none


def test_a_file_that_is_no_text_is_refused(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users.csv", b"id,name\n1,\x1a\x18\x10\x1e\n2,\xff\n")
    with pytest.raises(ConfigurationError, match="not in UTF-8, and has control characters"):
        rows(reader, plan_of("users.csv"))


def test_a_thousand_bad_lines_are_a_wrong_file(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users.csv", "id,name\n" + "1;a\n" * 1001)
    with pytest.raises(ConfigurationError, match="more than 1,000 lines cannot be read, such as this: row 2"):
        rows(reader, plan_of("users.csv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('id,name\n1,a\n2,"b\n3,c\n', "ends inside of a quoted text"),
        ("id,name\n1,a\n2", "ends in the middle of a line"),
        (b"id,name,more\n1,a,\n2,\xff", "ends in the middle of a line"),
        ("", "not even a header"),
        ("\n\n", "not even a header"),
    ],
)
def test_a_file_that_is_not_whole_is_read_later(
    tmp_path: Path, reader: FilesReader, content: str | bytes, message: str
) -> None:
    write(tmp_path / "users.csv", content)
    with pytest.raises(SourceUnavailableError, match=message):
        rows(reader, plan_of("users.csv"))


def test_half_a_compressed_or_parquet_file_is_read_later(tmp_path: Path, reader: FilesReader) -> None:
    packed = gzip.compress(b"id,name\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000)))
    write(tmp_path / "users.csv.gz", packed[: len(packed) // 2])
    pq.write_table(pa.table({"id": [1], "name": ["a"]}), tmp_path / "whole.parquet")
    write(tmp_path / "users.parquet", (tmp_path / "whole.parquet").read_bytes()[:-5])
    for table in ("users.csv.gz", "users.parquet"):
        with pytest.raises(SourceUnavailableError, match=f'"{table}" cannot be read'):
            rows(reader, plan_of(table))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,name,id\n1,a,2\n", 'has two columns "id"'),
        ("id,name\n1,a\n".encode("utf-16"), "UTF-16"),
        ("id,name\n1,a\n".encode("utf-16-le"), "UTF-16"),
        ("id,näme\n1,a\n".encode("latin-1"), "no header in UTF-8"),
    ],
)
def test_a_header_that_cannot_be_used_is_for_a_person(
    tmp_path: Path, reader: FilesReader, content: str | bytes, message: str
) -> None:
    write(tmp_path / "users.csv", content)
    with pytest.raises(ConfigurationError, match=message):
        reader.describe(Relation("users.csv"))


def test_a_missing_column_names_those_that_there_are(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users" / "1.csv", "id,name\n1,a\n")
    write(tmp_path / "users" / "2.csv", "id,names\n1,a\n")
    with pytest.raises(
        SourceDriftError,
        match=r'in "users/2.csv" column "name" does not exist; the nearest .* is "names"; there are "id"',
    ):
        rows(reader, plan_of("users"))


def test_of_rows_with_one_key_the_last_counts(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users" / "2026-02.csv", "id,name\n1,new\n3,c\n")
    write(tmp_path / "users" / "2026-01.csv", "id,name\n1,old\n2,b\n2,b again\n,nobody\n,nobody\n")
    every = [("1", "new"), ("2", "b again"), ("3", "c")]
    assert [row for row in rows(reader, plan_of("users")) if row[0]] == every
    assert rows(reader, plan_of("users"), ExactKeys((("1",), ("2",)))) == every[:2]
    assert len(rows(reader, plan_of("users"))) == 5  # rows without a key have no equal: each is set aside


def test_keys_are_found_by_value_too(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users.csv", "id,name\n007,bond\n2026-01-01 10:00:00,time\n1.50,price\nx,text\n")
    asked = (("7",), ("2026-01-01T10:00:00.000000Z",), ("1.5",), ("X",), ("8",))
    found = rows(reader, plan_of("users.csv"), ExactKeys(asked))
    assert {name for _, name in found} == {"bond", "time", "price"}


def cursor_file(tmp_path: Path, *cursors: str) -> None:
    lines = "".join(f"{at},{cursor}\n" for at, cursor in enumerate(cursors))
    write(tmp_path / "events.csv", "id,at\n" + lines)


EVENTS = plan_of("events.csv", ("id", "at"), "at", page_rows=1)


def test_whole_numbers_are_ordered_as_numbers(tmp_path: Path, reader: FilesReader) -> None:
    cursor_file(tmp_path, "10", "9", "-1", "+11", "")
    every = pages(reader, EVENTS, Since(None, None))
    assert [page.end.cursor for page in every] == ["-1", "9", "10", "+11"]
    for at, page in enumerate(every):
        assert len(rows(reader, EVENTS, Since(page.end, None))) == 3 - at
    fence = reader.fence(EVENTS, None)
    assert (fence.now, fence.bound, fence.feed_class) == (None, None, FeedClass.EVENTUAL)
    assert reader.rank(EVENTS, "9") < reader.rank(EVENTS, "10")


def test_times_are_ordered_as_moments_in_whatever_form(tmp_path: Path, reader: FilesReader) -> None:
    cursor_file(
        tmp_path,
        "2026-03-01",
        "2026-02-28T23:00:00-02:00",
        "2026-02-28 22:59:59.999999",
        "2999-01-01",
        "soon",
    )
    fence = reader.fence(EVENTS, None)
    assert fence.now is not None
    assert [key for key, _ in rows(reader, EVENTS, Since(None, fence.now))] == ["2", "0", "1"]
    assert [key for key, _ in rows(reader, EVENTS, Beyond(fence.now))] == ["3"]
    assert [key for key, _ in rows(reader, EVENTS, NullCursors())] == ["4"]
    in_berlin = replace(EVENTS, time_zone="America/New_York")
    assert [key for key, _ in rows(reader, in_berlin, Since(None, fence.now))] == ["1", "2", "0"]


def test_epochs_are_times(tmp_path: Path, reader: FilesReader) -> None:
    cursor_file(tmp_path, "1767225600", "1767225601")
    now = reader.fence(EVENTS, None).now
    assert now is not None
    assert int(now) > 1767225601


@pytest.mark.parametrize(
    ("cursors", "message"),
    [(["v1", "v2"], 'not "v1"'), (["1.5"], 'not "1.5"'), (["17", "2026-01-01"], "both numbers and times")],
)
def test_a_cursor_without_an_order_is_refused(
    tmp_path: Path, reader: FilesReader, cursors: list[str], message: str
) -> None:
    cursor_file(tmp_path, *cursors)
    with pytest.raises(ConfigurationError, match=message):
        reader.fence(EVENTS, None)


def test_a_position_of_another_kind_of_cursor_reads_all_again(tmp_path: Path, reader: FilesReader) -> None:
    cursor_file(tmp_path, "2026-01-01", "2026-01-02")
    assert len(rows(reader, EVENTS, Since(Position("99999999999", ("1",)), None))) == 2


def test_parquet_values_are_shown_as_other_sources_show_them(tmp_path: Path, reader: FilesReader) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([10, 9, None], pa.int32()),
            "flag": [True, False, None],
            "price": pa.array([Decimal("1.50"), Decimal(-2), None], pa.decimal128(10, 2)),
            "ratio": [0.1, 3.0, None],
            "day": [date(2026, 1, 2), date(1, 1, 1), None],
            "at": pa.array([moment, moment, None], pa.timestamp("us", "Europe/Berlin")),
            "local": pa.array([moment.replace(tzinfo=None)] * 2 + [None], pa.timestamp("ms")),
            "bytes": [b"\x00\xff", b"", None],
            "tags": [["a"], [], None],
            "kind": pa.array(["x", "", None]).dictionary_encode(),
            "huge": pa.array([2**64 - 1, 0, None], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "all.parquet")
    assert rows(reader, plan_of("all.parquet", table.column_names)) == [
        (None,) * 11,
        ("9", "false", "-2.00", "3", "0001-01-01", "2026-01-02 03:04:05.000006Z", "2026-01-02 03:04:05.000",
         "\\x", "[]", "", "0"),
        ("10", "true", "1.50", "0.1", "2026-01-02", "2026-01-02 03:04:05.000006Z", "2026-01-02 03:04:05.000",
         "\\x00ff", '["a"]', "x", "18446744073709551615"),
    ]  # fmt: skip
    types = {column.name: column.type for column in reader.describe(Relation("all.parquet")).columns}
    assert [type_.value for type_ in types.values()] == [
        "integer", "boolean", "decimal", "float", "date", "datetime", "datetime", "string", "json", "string",
        "integer",
    ]  # fmt: skip


def test_files_of_one_table_may_differ_in_types_and_format(tmp_path: Path, reader: FilesReader) -> None:
    (tmp_path / "users").mkdir()
    pq.write_table(
        pa.table({"id": pa.array([1], pa.int8()), "name": ["a"]}), tmp_path / "users" / "1.parquet"
    )
    pq.write_table(
        pa.table({"id": pa.array([20], pa.int64()), "name": ["b"]}), tmp_path / "users" / "2.parquet"
    )
    [key, _] = reader.describe(Relation("users")).columns
    assert (key.type, key.portable_order) == (PropertyType.INTEGER, True)
    write(tmp_path / "users" / "3.csv", "id,name\n3,c\n")
    [key, _] = reader.describe(Relation("users")).columns
    assert (key.type, key.portable_order) == (PropertyType.STRING, False)
    assert {key for key, _ in rows(reader, plan_of("users"))} == {"1", "20", "3"}


def test_a_row_longer_than_a_block_is_read(tmp_path: Path, reader: FilesReader) -> None:
    write(tmp_path / "users.csv", "id,name\n1,a\n2," + "x" * 6_000_000 + "\n3,c\n")
    plan = plan_of("users.csv", max_cell_bytes=10_000_000)
    assert [len(name) for _, name in rows(reader, plan)] == [1, 6_000_000, 1]
    [_, (_, marked), _] = rows(reader, plan_of("users.csv"))
    assert marked.startswith("\0oversized:6000000:")


def test_discovery_tells_types_key_and_cursor_by_the_first_rows(tmp_path: Path, reader: FilesReader) -> None:
    write(
        tmp_path / "deep" / "orders.csv",
        "day,code,order_id,total,paid,updated_at,note\n"
        "2026-01-01,007,1,1.50,true,2026-01-01T10:00:00Z,\n"
        "2026-01-01,008,2,2,FALSE,2026-01-02T10:00:00Z,x\n",
    )
    write(tmp_path / "broken.csv", "a,a\n")
    pq.write_table(pa.table({"id": [1, 2], "seen_on": [date(2026, 1, 1)] * 2}), tmp_path / "visits.parquet")
    found = {listing.table: listing for listing in reader.tables()}
    assert "broken.csv" not in found
    orders, visits = found["deep/orders.csv"], found["visits.parquet"]
    assert (orders.table, orders.estimated_rows) == ("deep/orders.csv", 2)
    assert (orders.suggested_key, orders.suggested_cursor) == (("order_id",), "updated_at")
    assert [column.type.value for column in orders.facts.columns] == [
        "date", "string", "integer", "decimal", "boolean", "datetime", "string",
    ]  # fmt: skip
    assert (visits.table, visits.estimated_rows, visits.suggested_key) == ("visits.parquet", 2, ("id",))
    assert orders.facts.fingerprint == reader.describe(Relation("deep/orders.csv")).fingerprint


@pytest.mark.parametrize("url", ["file://host/dir", "file:dir", "file://"])
def test_a_url_names_a_directory_of_this_machine(url: str) -> None:
    with pytest.raises(ConfigurationError, match="file:///directory"):
        FilesReader("shop", url)


def test_a_url_may_be_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "my data" / "users.csv", "id,name\n1,a\n")
    monkeypatch.chdir(tmp_path)
    assert rows(FilesReader("shop", "file://./my%20data"), plan_of("users.csv")) == [("1", "a")]
