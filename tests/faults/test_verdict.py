"""Every way in which stores can differ from their source is told, by its name."""

from __future__ import annotations

import pytest

from tests.faults.verdict import COLUMNS, KINDS, Found, Values, Verdict, judged, judged_staged


def found(data_source: str, customer: str, key: int, name: str) -> Found:
    return Found(data_source, customer, key, values(key, name))


def values(key: int, name: str) -> Values:
    known = {"id": key, "name": name}
    return tuple(known.get(column) for column in COLUMNS)


EXPECTED = {("acme", 1): values(1, "Ada"), ("globex", 2): values(2, "Bob")}
ADA, BOB = found("east", "acme", 1, "Ada"), found("west", "globex", 2, "Bob")


def kinds(records: list[Found]) -> set[str]:
    return {kind for kind, lines in judged(EXPECTED, records).items() if lines}


def test_stores_that_are_as_they_should_be_differ_in_nothing() -> None:
    assert kinds([BOB, ADA]) == set()


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([ADA], {"lost"}),
        ([ADA, found("west", "globex", 2, "Bo")], {"stale"}),
        ([ADA, BOB, found("east", "acme", 3, "Eve")], {"ghost"}),
        ([ADA, BOB, ADA], {"duplicate"}),
        ([ADA, BOB, found("east", "globex", 2, "Bob")], {"duplicate", "foreign"}),
        ([ADA, found("east", "globex", 2, "Bob")], {"lost", "foreign"}),
        ([ADA, BOB, found("east", "acme", 2, "Bob")], {"ghost", "duplicate"}),
    ],
    ids=[
        "missing",
        "another value",
        "unknown",
        "twice",
        "in two stores",
        "in the wrong store",
        "of two customers",
    ],
)
def test_a_difference_is_told(records: list[Found], told: set[str]) -> None:
    assert kinds(records) == told


def test_staged_rows_without_a_row_or_of_another_data_source_are_told() -> None:
    rows = [Found("east", "acme", 1), Found("west", "acme", 1), Found("east", "acme", 9)]
    told = judged_staged("purchases", {("acme", 1)}, rows)
    assert {kind: len(lines) for kind, lines in told.items()} == {"ghost": 1, "foreign": 1}


def test_a_verdict_with_any_difference_is_not_clean() -> None:
    for kind in KINDS:
        assert not Verdict(rows=1, records=1, properties=1, differences={kind: ["one"]}).clean
    assert Verdict(rows=1, records=1, properties=1, differences={kind: [] for kind in KINDS}).clean
