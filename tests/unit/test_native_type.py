"""Which changes of a column's type change no value's meaning."""

from __future__ import annotations

import pytest

from headrace.domain.native_type import is_widened

WIDER = [
    ("smallint", "integer"),
    ("integer", "bigint"),
    ("int(11)", "bigint(20)"),
    ("int(11) unsigned", "bigint(20) unsigned"),
    ("INTEGER", "BIGINT"),
    ("character varying(10)", "character varying(20)"),
    ("character varying(10)", "text"),
    ("varchar(10)", "longtext"),
    ("text", "character varying"),
    ("numeric(10,2)", "numeric(12,2)"),
    ("numeric(10,2)", "numeric"),
    ("decimal(10)", "numeric(12,0)"),
    ("timestamp(3) without time zone", "timestamp without time zone"),
    ("timestamp(3) with time zone", "timestamp(6) with time zone"),
]
WIDER_BUT_AS_TEXT = [
    ("numeric(10,2)", "numeric(12,4)"),
    ("datetime", "datetime(6)"),
    ("datetime(3)", "datetime(6)"),
]
OTHER = [
    ("bigint", "integer"),
    ("integer", "numeric"),
    ("integer", "text"),
    ("int(11)", "int(11) unsigned"),
    ("text", "character varying(20)"),
    ("character varying(20)", "character varying(10)"),
    ("character(10)", "character varying(20)"),
    ("text", "tinytext"),
    ("numeric", "numeric(10,2)"),
    ("numeric(10,2)", "numeric(10,4)"),
    ("real", "double precision"),
    ("timestamp without time zone", "timestamp with time zone"),
    ("timestamp without time zone", "timestamp(3) without time zone"),
    ("date", "timestamp without time zone"),
    ("integer", "integer[]"),
    ("mood", "temper"),
    ("", "TEXT"),
]


@pytest.mark.parametrize(("old", "new"), WIDER + WIDER_BUT_AS_TEXT)
def test_a_type_that_holds_every_value_with_its_meaning_is_wider(old: str, new: str) -> None:
    assert is_widened(old, new, as_text=False)


@pytest.mark.parametrize(("old", "new"), WIDER)
def test_texts_that_stay_as_they_are_are_wider_as_text_too(old: str, new: str) -> None:
    assert is_widened(old, new, as_text=True)


@pytest.mark.parametrize(("old", "new"), WIDER_BUT_AS_TEXT)
def test_more_digits_are_another_text(old: str, new: str) -> None:
    assert not is_widened(old, new, as_text=True)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_whatever_else_changes_is_another_type(old: str, new: str) -> None:
    assert not is_widened(old, new, as_text=False)


@pytest.mark.parametrize("native", [old for old, _ in WIDER + OTHER])
def test_a_type_is_as_wide_as_itself(native: str) -> None:
    assert is_widened(native, native, as_text=True)
