"""Scalars of definitions: what is taken, and what is refused."""

from __future__ import annotations

import re
import string
from itertools import pairwise
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from headrace.definition.cycle import cycles
from headrace.definition.location import location_of, url_fault
from headrace.definition.relation import path_fault, query_fault, table_fault
from headrace.definition.values import (
    ID_PATTERN,
    Cron,
    Id,
    Identifier,
    Interval,
    PropertyName,
    Query,
    Skew,
    TimeZone,
)
from headrace.domain.schedule import Duration

UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def taken(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(Annotated[kind, None]).validate_python(value)
    except ValidationError:
        return False
    return True


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)))
def test_a_duration_is_an_integer_and_a_unit_of_at_least_a_second(count: int, unit: str) -> None:
    length_ms = count * UNITS[unit]
    assert taken(Interval, f"{count}{unit}") is (1000 <= length_ms <= 36_600 * UNITS["d"])
    assert taken(Skew, f"{count}{unit}") is (1 <= length_ms <= 36_600 * UNITS["d"])


@given(
    st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.from_regex(r"[0-9]*\.?[0-9]+ ?[a-zA-Z]*"))
)
def test_nothing_else_is_a_duration(value: Any) -> None:
    right = isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}(ms|s|m|h|d)", value)
    assert right or not taken(Skew, value)


@given(st.integers(1000, 10**12))
def test_a_duration_is_written_as_it_is_read(length_ms: int) -> None:
    text = str(Duration(length_ms))
    assert TypeAdapter(Annotated[Interval, None]).validate_python(text) == Duration(length_ms)


@given(st.from_regex(ID_PATTERN, fullmatch=True))
def test_ids_are_small_letters_digits_and_underscores(text: str) -> None:
    assert taken(Id, text)
    assert not taken(Id, text.upper())
    assert not taken(Id, f"_{text}")
    assert not taken(Id, text + "x" * (41 - len(text)))
    assert not taken(Id, f"{text}\n")


@given(st.text(alphabet=string.printable + "éß✓", min_size=1, max_size=45))
def test_an_id_is_taken_only_when_it_fits_the_pattern(text: str) -> None:
    assert taken(Id, text) is bool(re.fullmatch(ID_PATTERN, text))


@given(st.text(min_size=1, max_size=80))
def test_names_of_columns_fit_every_database(text: str) -> None:
    if taken(Identifier, text):
        assert len(text.encode()) <= 63
        assert text.isprintable()
        assert text.strip()
    assert taken(PropertyName, text) is (taken(Identifier, text) and not text.startswith("_"))


@pytest.mark.parametrize(
    ("kind", "value", "right"),
    [
        (Cron, "*/5 * * * *", True),
        (Cron, "0 4 * * MON-FRI", True),
        (Cron, "@daily", False),
        (Cron, "* * *", False),
        (TimeZone, "America/New_York", True),
        (TimeZone, "Europe", False),
        (TimeZone, "../etc/passwd", False),
        (TimeZone, "", False),
        (Query, "SELECT 1\n  AS\tx", True),
        (Query, " \n", False),
        (Query, "SELECT '\0'", False),
    ],
)
def test_scalars(kind: Any, value: str, right: bool) -> None:
    assert taken(kind, value) is right


@pytest.mark.parametrize(
    ("table", "right"),
    [("users", True), ("public.Users 2", True), ("public.", False), ("a.b.c", False), ("t" * 64, False)],
)
def test_tables_of_databases(table: str, right: bool) -> None:
    assert (table_fault(table) is None) is right


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("users.csv", True),
        ("2026/01 exports/users.v2.csv.gz", True),
        ("events/*.parquet", True),
        ("...", True),
        ("/users.csv", False),
        ("../users.csv", False),
        ("events/../../users.csv", False),
        ("events\\users.csv", False),
    ],
)
def test_paths_of_files(path: str, right: bool) -> None:
    assert (path_fault(path) is None) is right


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://a:b@H.example/shop", "postgresql://c@h.example:5432/shop?sslmode=require", True),
        ("postgresql://localhost/shop", "postgresql://127.0.0.1/shop", True),
        ("postgresql:///shop", "postgresql://localhost/shop", True),
        ("postgresql://h/shop", "postgresql://h:5433/shop", False),
        ("postgresql://h/shop", "postgresql://h/Shop", False),
        ("sqlite:///a/../b.db", "sqlite:///b.db?mode=ro", True),
        ("sqlite:////srv/b.db", "sqlite:////srv/./b.db", True),
        ("sqlite:///a.db", "sqlite:///b.db", False),
        ("postgresql+psycopg://h/shop", "postgresql://h/shop", True),
        ("mysql://a@h/shop", "mariadb://b@h:3306/shop", True),
        ("mysql://h/shop", "postgresql://h:3306/shop", False),
    ],
)
def test_two_urls_lead_to_one_database_whatever_the_user(one: str, other: str, same: bool) -> None:
    assert (location_of(one) == location_of(other)) is same


@pytest.mark.parametrize(
    ("type_", "url"),
    [
        ("postgres", "postgres://a:hunter2@h/d"),
        ("postgres", "postgresql://a:hunter2@h:99999/d"),
        ("postgres", "postgresql://a:hunter2@h:port/d"),
        ("postgres", "postgresql://a:hunter2@[::1/d"),
        ("sqlite", "sqlite:///:memory:"),
        ("sqlite", "sqlite://"),
        ("sqlite", "sqlite:///"),
        ("sqlite", "sqlite://relative.db"),
    ],
)
def test_urls_that_cannot_be_opened_are_refused_without_telling_them(type_: str, url: str) -> None:
    fault = url_fault(type_, url)
    assert fault
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    "query",
    [
        "",
        "SELECT 1; DROP TABLE users",
        "INSERT INTO a SELECT 1",
        "CREATE TABLE a AS SELECT 1",
        "SELECT * INTO b FROM a",
        "WITH w AS (UPDATE a SET b = 1 RETURNING *) SELECT * FROM w",
        "EXPLAIN SELECT 1",
        "VACUUM",
        "SELECT 1 FOR SHARE",
    ],
)
@pytest.mark.parametrize("dialect", ["postgres", "sqlite", None])
def test_a_query_only_reads(query: str, dialect: str | None) -> None:
    assert query_fault(query, dialect)


@given(st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")))
def test_every_circle_is_found_once(edges: dict[str, str]) -> None:
    found = cycles(edges)
    for cycle in found:
        assert cycle[0] == cycle[-1] == min(cycle)
        assert all(edges[a] == b for a, b in pairwise(cycle))
    members = [m for cycle in found for m in cycle[1:]]
    assert len(set(members)) == len(members)
    assert set(members) == {n for n in edges if _returns(edges, n)}


def _returns(edges: dict[str, str], start: str) -> bool:
    at: str | None = edges.get(start)
    for _ in edges:
        if at == start:
            return True
        at = edges.get(at or "")
    return False
