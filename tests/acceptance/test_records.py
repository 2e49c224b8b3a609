"""What the acceptance compares with must itself be able to say no."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.acceptance.records import Records, as_value, assert_equal_records, differences

ONE: Records = {("acme", 1): {"name": "Ada", "spent": Decimal("1.50"), "_invalid": None}}


@pytest.mark.parametrize(
    "actual",
    [
        {},
        {**ONE, ("acme", 2): {"name": "Bob", "spent": Decimal(0), "_invalid": None}},
        {("other", 1): ONE["acme", 1]},
        {("acme", 1): ONE["acme", 1] | {"spent": Decimal("1.51")}},
        {("acme", 1): ONE["acme", 1] | {"_invalid": {"name": "why"}}},
    ],
    ids=["missing", "extra", "of another customer", "another value", "an invalid value"],
)
def test_every_kind_of_difference_fails(actual: Records) -> None:
    with pytest.raises(AssertionError, match="1"):
        assert_equal_records(ONE, actual)


def test_equal_values_in_other_clothes_are_equal() -> None:
    kept = {"name": "Ada", "spent": as_value("decimal", "1.5"), "_invalid": None}
    assert differences(ONE, {("acme", 1): kept}) == []
    assert as_value("datetime", "2024-01-01T00:00:00.000000Z") == datetime(2024, 1, 1, tzinfo=UTC)
