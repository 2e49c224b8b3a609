"""What each type reads of the texts that databases print, and what it refuses with which reason."""

from __future__ import annotations

import pyarrow as pa
import pytest

from headrace.domain.coercion import canonical_text, coerce, coerce_scalar
from headrace.domain.vocabulary import PropertyType as P

LONG = "9" * 1000

FITS = [
    *((P.BOOLEAN, text, "true") for text in ("t", "TRUE", "1", "yes", "On", " true ")),
    *((P.BOOLEAN, text, "false") for text in ("f", "False", "0", "no", "OFF")),
    (P.INTEGER, "+5", "5"),
    (P.INTEGER, "5.0", "5"),
    (P.INTEGER, "1e+15", "1000000000000000"),
    (P.INTEGER, "-9223372036854775808", "-9223372036854775808"),
    (P.FLOAT, "1e5", "100000.0"),
    (P.FLOAT, "-0", "0.0"),
    (P.FLOAT, " 0.1 ", "0.1"),
    (P.DECIMAL, "007.10", "7.1"),
    (P.DECIMAL, "1e3", "1000"),
    (P.DECIMAL, "1.5E-3", "0.0015"),
    (P.DECIMAL, "-0.00", "0"),
    (P.DECIMAL, "-0.50", "-0.5"),
    (P.DECIMAL, "1200", "1200"),
    (P.DECIMAL, LONG, LONG),
    (P.STRING, " as given ", " as given "),
    (P.EMAIL, "Ann@Example.com", "Ann@Example.com"),
    (P.PHONE, "+1 (555) 010-99 x7", "+1 (555) 010-99 x7"),
    *((P.URL, text, text) for text in ("https://a.b/c?d#e", "mailto:a@b.c", "www.a.b:80/c", "//cdn.a.b")),
    (P.DATE, "2024-02-29", "2024-02-29"),
    (P.DATE, "2024-01-01 23:30:00", "2024-01-01"),
    (P.DATE, "2024-01-01 23:30:00+00", "2024-01-02"),
    (P.DATETIME, "2024-07-01 12:34:56.789+00", "2024-07-01T12:34:56.789000Z"),
    (P.DATETIME, "2024-07-01T12:34:56.123456789Z", "2024-07-01T12:34:56.123456Z"),
    (P.DATETIME, "2024-07-01 12:00:00+0530", "2024-07-01T06:30:00.000000Z"),
    (P.DATETIME, "2024-07-01 12:00:00", "2024-07-01T10:00:00.000000Z"),
    (P.DATETIME, "2024-07-01", "2024-06-30T22:00:00.000000Z"),
    (P.DATETIME, "2099-07-01 12:00:00", "2099-07-01T10:00:00.000000Z"),
    (P.DATETIME, "2024-10-27 02:30:00", "2024-10-27T00:30:00.000000Z"),  # twice: the earlier
    (P.DATETIME, "2024-03-31 02:30:00", "2024-03-31T01:00:00.000000Z"),  # skipped: after the gap
    (P.DATETIME, "2099-03-29 02:30:00", "2099-03-29T01:00:00.000000Z"),
    (P.DATETIME, "1704112496", "2024-01-01T12:34:56.000000Z"),
    (P.DATETIME, "1704112496789", "2024-01-01T12:34:56.789000Z"),
    (P.DATETIME, "1704112496789123", "2024-01-01T12:34:56.789123Z"),
    (P.DATETIME, "-1", "1969-12-31T23:59:59.000000Z"),
    (P.JSON, ' {"b": 1.10, "a": [1, {"d": null, "c": 1e400}]}', '{"a":[1,{"c":1e400,"d":null}],"b":1.10}'),
    (P.JSON, '"\\\\u0000 \\u00e9"', '"\\\\u0000 é"'),
    (P.JSON, '{"a":1,"a":2}', '{"a":2}'),
]

UNFIT = {
    P.BOOLEAN: ("is not true or false", ["", "maybe", "2"]),
    P.INTEGER: (
        "is not an integer of 64 bits",
        ["", "5.5", "9223372036854775808", "0x10", "1e99999999", "1e30", "1_0", "٣", "x"],
    ),
    P.FLOAT: ("is not a finite number", ["", "NaN", "-Infinity", "1e400", " 1e400", "1_0", "x"]),
    P.DECIMAL: (
        "is not a finite decimal number of at most 1000 digits",
        ["", "NaN", "Infinity", LONG + "9", "1e1001", "1e999999999", "1e9999999999", "0x10", "x"],
    ),
    P.STRING: ("has a NUL character", ["a\0b"]),
    P.EMAIL: ("is not an email address", ["", "a", "a@", "@b", "a b@c", "a@b@c", "a@b\n"]),
    P.PHONE: ("is not a phone number", ["", "n/a", "12", "555\n123"]),
    P.URL: ("is not a URL", ["", "localhost", "a b", "http:", "http://a b", "a@b.c", "."]),
    P.DATE: (
        "is not a date from 0001 to 9999",
        ["", "infinity", "0044-03-15 BC", "10000-01-01", "0000-01-01", "2023-02-29", "1704112496",
         "20240101",
         "9999-12-31 23:59:59-05"],
    ),
    P.DATETIME: (
        "is not a date and time from 0001 to 9999",
        ["", "infinity", "-infinity", "0044-03-15 00:00:00 BC", "10000-01-01", "2023-02-29",
         "2024-01-01 24:00:00",
         "0001-01-01 00:00:00", "0001-01-01 00:00:00+05",
         "9999-12-31 23:59:59-05",
         "2024-01-01 00:00:00+24",
         "2024-01-01 00:00:00+00:60", "0x10", "999999999999999999", "9999999999999999999",
         "1704112496.5"],
    ),
    P.JSON: (
        "is not JSON that can be stored",
        ["", "nan", "NaN", "[Infinity]", "{'a': 1}", '"\\u0000"', '{"\\u0000":1}', '[["\\u0000"]]',
         '"\\ud800"',
         "1" * 1001, "1e1001", "1e" + "9" * 30, "0." + "1" * 1001, "[" * 5000],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "expected"), FITS)
def test_a_text_that_fits_has_one_canonical_text(kind: P, text: str, expected: str) -> None:
    assert coerce_scalar(text, kind, time_zone="Europe/Berlin") == expected
    beside_others = pa.array([None, text, "\x01 no type has this \0"], pa.string())
    values = coerce(beside_others, kind, time_zone="Europe/Berlin").values
    assert canonical_text(values).to_pylist() == [None, expected, None]


@pytest.mark.parametrize("kind", list(P))
def test_texts_that_do_not_fit_are_null_and_marked_with_the_reason_of_the_type(kind: P) -> None:
    reason, texts = UNFIT[kind]
    coerced = coerce(pa.array([None, *texts]), kind, time_zone="Europe/Berlin")
    assert coerced.invalid is not None
    assert coerced.invalid.to_pylist() == [False] + [True] * len(texts)
    assert coerced.values.null_count == len(texts) + 1
    assert coerced.reason == reason
    assert [coerce_scalar(text, kind, time_zone="Europe/Berlin") for text in texts] == [None] * len(texts)


@pytest.mark.parametrize("kind", list(P))
def test_nulls_fit_every_type(kind: P) -> None:
    for nothing in (pa.array([None, None], pa.string()), pa.nulls(2), pa.array([], pa.string())):
        coerced = coerce(nothing, kind, time_zone="UTC")
        assert coerced.invalid is None
        assert coerced.values.null_count == len(nothing)
    assert coerce(pa.chunked_array([], pa.string()), kind, time_zone="UTC").values.to_pylist() == []


def test_texts_of_64_bit_offsets_are_read_too() -> None:
    values = coerce(pa.array(["5", "x"], pa.large_string()), P.INTEGER, time_zone="UTC").values
    assert values.to_pylist() == [5, None]


def test_datetimes_keep_their_order_through_a_gap() -> None:
    """The cursor of a naive column must not run backwards when clocks spring forward."""
    texts = [f"2024-03-31 {hour:02d}:{minute:02d}:00" for hour in range(4) for minute in range(0, 60, 10)]
    values = coerce(pa.array(texts), P.DATETIME, time_zone="Europe/Berlin").values.to_pylist()
    assert values == sorted(values)


def test_without_arrows_time_zones_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.domain import time_text

    texts = pa.array(["2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-07-01 12:00:00"])
    by_arrow = coerce(texts, P.DATETIME, time_zone="Europe/Berlin").values

    class WithoutZones:
        def __getattr__(self, name: str) -> object:
            return getattr(pa.compute, name)

        def assume_timezone(self, *args: object, **options: object) -> None:
            raise pa.ArrowInvalid("Cannot locate timezone")

    monkeypatch.setattr(time_text, "pc", WithoutZones())
    assert coerce(texts, P.DATETIME, time_zone="Europe/Berlin").values.equals(by_arrow)
