"""`explain` hides no value that is there, and no value that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command import Command, change, define


def property_of(headrace: Command, name: str) -> dict[str, Any]:
    (explained,) = headrace("explain", "users", "12", "--json").json
    found: dict[str, Any] = next(p for p in explained["properties"] if p["property"] == name)
    return found


@pytest.fixture
def average_of_texts(headrace: Command, project: Path) -> None:
    """`item`, which holds texts, is read as a string and as a number."""
    source = json.loads(Path("config/sources/purchases.json").read_text())
    average = {"type": "float", "aggregation": "average", "column": "item"}
    define("sources/purchases", properties={"avg_item": average, **source["properties"]})
    assert headrace("sync").code == 0


@pytest.mark.usefixtures("average_of_texts")
def test_explain_shows_the_value_of_a_column_that_is_read_as_two_types(headrace: Command) -> None:
    (explained,) = headrace("explain", "users", "12", "--json").json

    purchases = next(s for s in explained["sources"] if s["source"] == "purchases")
    assert [isinstance(row["item"], str) for row in purchases["rows"]] == [True, True, True]


@pytest.mark.usefixtures("average_of_texts")
def test_explain_marks_a_value_made_of_rows_that_do_not_fit(headrace: Command) -> None:
    average = property_of(headrace, "avg_item")
    assert average["invalid_rows"] == property_of(headrace, "purchases")["value"]
    assert average["invalid"]["reason"] == "is not a finite number"
    lines = headrace("explain", "users", "12").out
    assert f"! avg_item: in {average['invalid_rows']} rows behind it the value does not fit" in lines


def test_explain_says_why_a_value_is_null(headrace: Command, project: Path) -> None:
    change("sources/app.db", "UPDATE users SET signed_up_on = 'soon' WHERE id = 12")
    change("sources/shop.db", "UPDATE purchases SET amount = 'much' WHERE buyer_id = 12")
    headrace("sync")

    lines = headrace("explain", "users", "12").out
    assert '! signed_up_on: "soon" ' in lines
    assert ", so it is null" in lines
    assert "much (invalid)" in lines
