"""However a stream of PostgreSQL is cut into pages and read ahead, its rows are those of a plain SELECT."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace.ports import KeyRange, ReadPlan, Relation
from headrace.sources.postgres import PostgresReader

TEXT = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    st.sampled_from(["\\N", "\\.", '"', "a,b", "a\nb", "x" * 255, "x" * 256, "y" * 9_000, "é" * 200]),
)
PLAN = ReadPlan(relation=Relation("things"), columns=("id", "text"), key=("id",), cursor=None)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(TEXT, max_size=12),
    times=st.integers(1, 20),
    page_rows=st.integers(1, 50),
    page_bytes=st.sampled_from([1, 300, 5_000, 1_000_000]),
    least_rows=st.sampled_from([0, 3, 5_000]),
)
@example(texts=["x" * 256], times=20, page_rows=1, page_bytes=1, least_rows=0)
@example(texts=[], times=1, page_rows=1, page_bytes=1, least_rows=0)
def test_rows_are_those_of_a_select(
    postgres_database: str, texts: list[Any], times: int, page_rows: int, page_bytes: int, least_rows: int
) -> None:
    """`least_rows`: of a first page that is followed by reading ahead."""
    wanted = [(str(number), text) for number, text in enumerate(texts * times)]
    with psycopg.connect(postgres_database, autocommit=True) as app:
        app.execute("CREATE TABLE IF NOT EXISTS things (id int PRIMARY KEY, text text)")
        app.execute("TRUNCATE things")
        with app.cursor().copy("COPY things FROM STDIN") as copy:
            for row in wanted:
                copy.write_row(row)
    plan = ReadPlan(
        relation=PLAN.relation,
        columns=PLAN.columns,
        key=PLAN.key,
        cursor=None,
        page_rows=page_rows,
        page_bytes=page_bytes,
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(PostgresReader("shop", postgres_database, nonce="p")) as reader,
    ):
        patch.setattr("headrace.sources.read_ahead._LEAST_ROWS", least_rows)
        with reader.read(plan, KeyRange(None, None, None)) as stream:
            pages = list(stream)
    found = [tuple(row.values()) for page in pages for row in page.rows.to_pylist()]
    assert found == wanted
    assert all(0 < page.rows.num_rows <= page_rows for page in pages)
