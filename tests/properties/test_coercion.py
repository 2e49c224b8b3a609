"""One meaning of every text: alone or in a column, by Arrow's cast or by the parsers."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.domain.coercion import canonical_text, coerce, coerce_scalar
from headrace.domain.vocabulary import ARROW_TYPES, PropertyType

FIRST, LAST = datetime(2, 1, 1), datetime(9998, 1, 1)  # noqa: DTZ001 (bounds are naive)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
DIGITS = st.text("0123456789", min_size=1, max_size=22)
NUMBERS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "-", "+", " "]),
        st.one_of(DIGITS, st.just("0"), st.just("")),
        st.sampled_from(["", ".", ".0", ".50", ".000", "x"]),
        st.sampled_from(["", "", "", "e3", "E-2", "e400", "e99999999"]),
    ),
)
TIMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["2024-03-31", "2024-10-27", "0001-01-01", "9999-12-31", "0000-01-01", "2023-02-29"]),
        st.sampled_from(["", " ", "T", "x"]),
        st.sampled_from(["", "02:30:00", "01", "02:30", "24:00:00", "23:59:59", "12:00:60"]),
        st.sampled_from(["", ".", ".5", ".123456", ".123456789"]),
        st.sampled_from(["", "Z", "+00", "-05:30", "+0530", "+24", "+02:30:15", "-00:99", " +01"]),
    ),
)
WORDS = st.one_of(
    st.sampled_from(
        ["t", "F", "TRUE", "no", "On", "", " ", "nan", "Infinity", "-infinity", "0x10", "0X1F", "1_0", "٣",
         "a@b", "a b@c", "+1 555 123", "http://x.y", "www.x.y", "x", "a\0b", "{}", "[1.0,1.10]",
         '{"b":1,"a":2}',
         "NaN", '"\\u0000"', '"\\\\u0000"', '"\\ud800"', "null", "-0", "-0.00"]
    ),
    st.text(max_size=6),
)  # fmt: skip
TEXTS = st.one_of(st.none(), NUMBERS, TIMES, WORDS)
COLUMNS = st.lists(TEXTS, max_size=80)
TYPES = st.sampled_from(list(PropertyType))


def canonical(texts: list[str | None], kind: PropertyType, zone: str) -> list[str | None]:
    return canonical_text(coerce(pa.array(texts, pa.string()), kind, time_zone=zone).values).to_pylist()


@given(COLUMNS, TYPES, ZONES)
def test_a_text_means_the_same_alone_and_in_any_column(
    texts: list[str | None], kind: PropertyType, zone: str
) -> None:
    alone = [None if t is None else coerce_scalar(t, kind, time_zone=zone) for t in texts]
    assert canonical(texts, kind, zone) == alone


@given(TEXTS.filter(lambda t: t is not None), TYPES, ZONES)
@example("2024-03-31 02:30:00", PropertyType.DATETIME, "Europe/Berlin")
@example("0000-01-01", PropertyType.DATE, "UTC")
@example("0x10", PropertyType.INTEGER, "UTC")
def test_arrow_and_the_parsers_agree(text: str, kind: PropertyType, zone: str) -> None:
    beside_junk = canonical([text, "\x01 junk \0"], kind, zone)[0]
    assert coerce_scalar(text, kind, time_zone=zone) == beside_junk


@given(COLUMNS, TYPES, ZONES)
def test_every_cell_is_null_because_it_was_or_is_marked(
    texts: list[str | None], kind: PropertyType, zone: str
) -> None:
    coerced = coerce(pa.array(texts, pa.string()), kind, time_zone=zone)
    coerced.values.validate(full=True)
    assert coerced.values.type == ARROW_TYPES[kind]
    marks = coerced.invalid.to_pylist() if coerced.invalid is not None else [False] * len(texts)
    expected = [t is not None and v is None for t, v in zip(texts, coerced.values.to_pylist(), strict=True)]
    assert marks == expected
    assert (coerced.invalid is None) == (True not in expected)


@given(COLUMNS, TYPES, st.integers(0, 40), st.integers(0, 40))
def test_slices_and_chunks_change_nothing(
    texts: list[str | None], kind: PropertyType, start: int, size: int
) -> None:
    whole = pa.array(texts, pa.string())
    expected = canonical(texts[start : start + size], kind, "UTC")
    part = whole.slice(min(start, len(texts)), size)
    chunks = pa.chunked_array([part.slice(0, size // 2), part.slice(min(size // 2, len(part)))])
    assert canonical_text(coerce(part, kind, time_zone="UTC").values).to_pylist() == expected
    assert canonical_text(coerce(chunks, kind, time_zone="UTC").values).to_pylist() == expected


@given(COLUMNS, TYPES)
def test_canonical_text_reads_back_as_itself(texts: list[str | None], kind: PropertyType) -> None:
    once = canonical(texts, kind, "America/New_York")
    assert canonical(once, kind, "Europe/Berlin") == once


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=None), max_size=40))
def test_decimals_keep_their_value_in_plain_notation(numbers: list[Decimal]) -> None:
    bounded = [n for n in numbers if -300 < n.adjusted() < 300]
    texts = canonical([str(n) for n in bounded], PropertyType.DECIMAL, "UTC")
    assert [Decimal(t or "NaN") for t in texts] == bounded
    for text in texts:
        assert text is not None
        assert "E" not in text.upper()
        assert text != "-0"
        assert "." not in text or text[-1] not in "0."


@given(st.lists(st.integers(-(2**70), 2**70), max_size=60))
def test_integers_are_those_of_64_bits(numbers: list[int]) -> None:
    values = coerce(
        pa.array([str(n) for n in numbers], pa.string()), PropertyType.INTEGER, time_zone="UTC"
    ).values
    assert values.to_pylist() == [n if -(2**63) <= n < 2**63 else None for n in numbers]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
def test_floats_round_trip(numbers: list[float]) -> None:
    texts = canonical([repr(n) for n in numbers], PropertyType.FLOAT, "UTC")
    assert [float(t or "nan") for t in texts] == numbers


@given(st.lists(st.datetimes(FIRST, LAST), max_size=40), ZONES)
def test_naive_datetimes_are_of_the_zone(moments: list[datetime], zone: str) -> None:
    values = coerce(
        pa.array([str(m) for m in moments], pa.string()), PropertyType.DATETIME, time_zone=zone
    ).values.to_pylist()
    for moment, value in zip(moments, values, strict=True):
        local = moment.replace(tzinfo=ZoneInfo(zone), fold=0)
        expected = local.astimezone(UTC)
        skipped = expected.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != moment
        if skipped:
            assert expected - timedelta(hours=1) <= value <= expected
        else:
            assert value == expected


@given(st.lists(st.datetimes(FIRST, LAST, timezones=st.timezones()), max_size=30))
def test_offsets_give_the_moment(moments: list[datetime]) -> None:
    texts = pa.array([m.isoformat(" ") for m in moments], pa.string())
    values = coerce(texts, PropertyType.DATETIME, time_zone="Europe/Berlin").values
    assert values.to_pylist() == [m.astimezone(UTC) for m in moments]


@given(st.lists(st.dates(), max_size=40))
def test_dates_round_trip(days: list[date]) -> None:
    values = coerce(
        pa.array([d.isoformat() for d in days], pa.string()), PropertyType.DATE, time_zone="UTC"
    ).values
    assert values.to_pylist() == days


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner),
    ),
    max_leaves=12,
)


@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_json_has_one_text_however_it_is_written(value: object, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    expected = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert coerce_scalar(text, PropertyType.JSON) == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40))
def test_json_numbers_keep_every_digit(number: Decimal) -> None:
    literal = f"{number:f}"
    text = f'{{"b": [{literal}], "a": "x"}}'
    canonical_json = coerce_scalar(text, PropertyType.JSON)
    assert canonical_json is not None
    assert json.loads(canonical_json, parse_float=Decimal, parse_int=Decimal)["b"] == [number]


@pytest.mark.parametrize("bad_every", [7, 1000])
def test_a_large_column_loses_only_its_bad_cells(bad_every: int) -> None:
    texts = ["x" if i % bad_every == 0 else str(i) for i in range(20_000)]
    coerced = coerce(pa.array(texts), PropertyType.INTEGER, time_zone="UTC")
    assert coerced.invalid is not None
    assert coerced.invalid.true_count == len(range(0, 20_000, bad_every))
    assert coerced.values.null_count == coerced.invalid.true_count
