"""What is sent in PostgreSQL's binary format is what its own reading of the text gives."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any, Final

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace.domain import number_text
from headrace.domain.vocabulary import ARROW_TYPES, PropertyType
from headrace.stores.postgres_copy import binary_copy, numerics
from headrace.stores.postgres_sql import PostgresDialect

TYPES: Final = [PostgresDialect.types[type_] for type_ in PropertyType]
MICROSECONDS: Final = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
DECIMALS: Final = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**6), max_value=10**6, places=2),
    st.decimals(allow_nan=False, allow_infinity=False).filter(lambda d: abs(d.adjusted()) < 400),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12),
    st.integers(-(10**60), 10**60).map(Decimal),
)
VALUES: Final[dict[PropertyType, st.SearchStrategy[Any]]] = {
    PropertyType.BOOLEAN: st.booleans(),
    PropertyType.INTEGER: st.integers(-(2**63), 2**63 - 1),
    PropertyType.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    PropertyType.DECIMAL: DECIMALS.map(lambda d: number_text.parse_decimal(f"{d:f}")),
    PropertyType.DATE: st.integers(-719_162, 2_932_896),
    PropertyType.DATETIME: MICROSECONDS,
    PropertyType.JSON: st.sampled_from(["null", '"null"', "[]", '{"a":[1,2.50,"ü"]}', "12.30", '""']),
}
TEXT: Final = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
ROWS: Final = st.lists(
    st.tuples(*(st.none() | VALUES.get(type_, TEXT) for type_ in PropertyType)), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def connection(postgres_server: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_server, options="-c TimeZone=UTC", autocommit=True) as connection:
        defined = ", ".join(f'"{type_}" {sql}' for type_, sql in zip(PropertyType, TYPES, strict=True))
        connection.execute(f"CREATE TEMP TABLE sent (n bigint GENERATED ALWAYS AS IDENTITY, {defined})")
        yield connection


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c, ARROW_TYPES[type_]) for c, type_ in zip(columns, PropertyType, strict=True)]
    return pa.table(arrays, names=[type_.value for type_ in PropertyType])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_every_value_arrives_as_its_text_would(
    connection: psycopg.Connection[Any], rows: list[tuple[Any, ...]]
) -> None:
    sent = table(rows)
    named = ", ".join(f'"{type_}"' for type_ in PropertyType)
    connection.execute("TRUNCATE sent")
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY sent ({named}) FROM STDIN (FORMAT binary)") as copy:
            for piece in binary_copy(sent, TYPES):
                copy.write(piece)
        texts = ", ".join(f'"{type_}"::text' for type_ in PropertyType)
        found = cursor.execute(f"SELECT {texts} FROM sent ORDER BY n").fetchall()
        cast = ", ".join(f"CAST(%s AS {sql.partition(' COLLATE')[0]})::text" for sql in TYPES)
        wanted = [
            cursor.execute(f"SELECT {cast}", [_text(v) for v in row.values()]).fetchone()
            for row in sent.to_pylist()
        ]
    assert found == wanted


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return repr(value) if isinstance(value, float) else str(value)


TURNS: Final = [
    *("0", "-0.5", "12345678901234", "-123456789.1234", "-9999999999.999", "-1234567890.1234"),
    *(
        "0.0000000000000001",
        "-999999999999999.9",
        "-9999999999999999.9",
        "0.00000000000000001",
        "1e16",
        "-1e15",
    ),
]
"""Where one way of encoding ends and another begins."""


@settings(max_examples=200, deadline=None)
@given(decimals=st.lists(st.none() | DECIMALS, max_size=30))
@example(decimals=[Decimal(text) for text in TURNS])
def test_a_decimal_is_sent_with_its_digits_and_its_scale(decimals: list[Decimal | None]) -> None:
    texts = [None if d is None else number_text.parse_decimal(f"{d:f}") for d in decimals]
    sent = numerics(pa.array(texts, pa.string())).to_pylist()
    assert [None if s is None else _read(s) for s in sent] == texts


def _read(sent: bytes) -> str:
    """As `numeric_recv` reads it."""
    count, weight, sign, scale = (
        int.from_bytes(sent[at : at + 2], "big", signed=at == 2) for at in (0, 2, 4, 6)
    )
    groups = [int.from_bytes(sent[at : at + 2], "big") for at in range(8, len(sent), 2)]
    assert count == len(groups)
    assert all(group < 10_000 for group in groups)
    whole = int("".join(f"{group:04}" for group in groups))
    with localcontext(prec=2_000):
        value = Decimal(whole).scaleb(4 * (weight - len(groups) + 1)).quantize(Decimal(1).scaleb(-scale))
    return f"-{value:f}" if sign else f"{value:f}"
