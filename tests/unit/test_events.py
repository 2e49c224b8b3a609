"""What becomes of a page: typed events, unfit values noted, unusable rows set aside, the rest untouched."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from headrace.domain import events
from headrace.domain.events import RejectCode, coerce_page
from headrace.domain.oversize import Oversized
from headrace.domain.shape import Column
from headrace.domain.vocabulary import ARROW_TYPES, PropertyType
from headrace.errors import InvariantError

TENANT = Column(name="tenant", type=PropertyType.STRING, source_column="tenant_id")
ID = Column(name="user_id", type=PropertyType.INTEGER, source_column="id")
AGE = Column(name="age", type=PropertyType.INTEGER, source_column="age")
EMAIL = Column(name="email", type=PropertyType.EMAIL, source_column="email")
COLUMNS = (TENANT, ID, AGE, EMAIL)
NAMES = ("tenant_id", "id", "age", "email", "customer", "gone")
ROW = ("t1", "1", "30", "a@b.c", "acme", None)


def page(*rows: tuple[str | None, ...]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(NAMES)
    return pa.table([pa.array(c, pa.string()) for c in columns], names=list(NAMES))


def with_cell(name: str, value: str | None) -> tuple[str | None, ...]:
    return tuple(value if n == name else cell for n, cell in zip(NAMES, ROW, strict=True))


def cut(rows: pa.Table, **rules: Any) -> events.CoercedPage:
    return coerce_page(rows, **{"columns": COLUMNS, "key_size": 2, "customer_column": "customer", **rules})


def test_a_good_page_is_typed_whole_with_nothing_set_aside() -> None:
    coerced = cut(page(ROW, with_cell("age", None)))
    assert coerced.rejected == ()
    assert coerced.kept.to_pylist() == [0, 1]
    types = [(c.name, ARROW_TYPES[c.type]) for c in COLUMNS]
    ends = [("_customer_id", pa.string()), ("_deleted", pa.bool_()), ("_invalid", pa.string())]
    assert coerced.events.schema == pa.schema([*types, *ends])
    assert coerced.events.to_pylist()[0] == {
        "tenant": "t1", "user_id": 1, "age": 30, "email": "a@b.c",
        "_customer_id": "acme", "_deleted": False, "_invalid": None,
    }  # fmt: skip
    assert coerced.events["age"].to_pylist() == [30, None]


def test_an_unfit_value_is_null_and_noted_and_its_row_goes_on() -> None:
    rows = [ROW, ("t", "2", "old\0" + "x" * 2000, "nobody", "acme", None), ROW]
    coerced = cut(page(*rows))
    assert coerced.rejected == ()
    first, second, third = coerced.events.to_pylist()
    assert first == third
    assert (second["age"], second["email"]) == (None, None)
    note = json.loads(second["_invalid"])
    assert note["email"] == {"value": "nobody", "reason": "is not an email address"}
    assert note["age"]["reason"] == "is not an integer of 64 bits"
    assert note["age"]["value"] == "old\ufffd" + "x" * 996
    assert "\\u0000" not in second["_invalid"]


NO_MARKS = ("\0oversized:x", "\0oversized:1", "\0oversized:1:x:", "\0oversized:1:" + "9" * 5_000 + ":")


@pytest.mark.parametrize("text", NO_MARKS)
def test_a_text_that_begins_like_a_mark_is_an_unfit_value_like_any_other(text: str) -> None:
    coerced = cut(page(with_cell("email", text), with_cell("id", text), with_cell("customer", text)))
    (row,) = coerced.events.to_pylist()
    assert row["email"] is None
    assert "oversized" in json.loads(row["_invalid"])["email"]["value"]
    assert [(r.row, r.code) for r in coerced.rejected] == [
        (1, RejectCode.KEY_UNFIT),
        (2, RejectCode.CUSTOMER_UNFIT),
    ]
    assert json.loads(coerced.rejected[0].key) == ["t1", text.replace("\0", "\ufffd")]


BIG = Oversized(209_715_200, 1_048_576, "B" * 1_000)
TOO_BIG = "has 209,715,200 bytes, more than the 1,048,576 that HEADRACE_MAX_CELL_BYTES allows"


@pytest.mark.parametrize("kind", list(PropertyType))
def test_a_value_too_big_to_travel_is_null_and_noted_with_its_size(kind: PropertyType) -> None:
    about = Column(name="about", type=kind, source_column="email")
    coerced = cut(page(ROW, with_cell("email", BIG.mark)), columns=(TENANT, ID, about))
    assert coerced.rejected == ()
    assert coerced.events["about"].to_pylist()[1] is None
    note = json.loads(coerced.events["_invalid"].to_pylist()[1])
    assert note["about"] == {"value": "B" * 1_000, "reason": TOO_BIG}


@pytest.mark.parametrize(
    ("name", "code"), [("tenant_id", RejectCode.KEY_UNFIT), ("customer", RejectCode.CUSTOMER_UNFIT)]
)
def test_a_key_or_customer_too_big_to_travel_rejects_its_row(name: str, code: RejectCode) -> None:
    coerced = cut(page(with_cell(name, BIG.mark), ROW))
    assert coerced.kept.to_pylist() == [1]
    (bad,) = coerced.rejected
    kind = "customer" if name == "customer" else "key"
    assert (bad.code, bad.reason) == (code, f"{kind} column {name} {TOO_BIG}")
    assert json.loads(bad.key) == [None if name == "tenant_id" else "t1", "1"]  # it cannot be asked for
    assert json.loads(bad.raw)[name] == "B" * 1_000


def test_a_deleted_column_too_big_to_travel_is_set() -> None:
    coerced = cut(page(ROW, with_cell("gone", BIG.mark)), deleted_column="gone")
    assert coerced.events["_deleted"].to_pylist() == [False, True]


@pytest.mark.parametrize(
    ("name", "value", "code", "reason"),
    [
        ("id", None, RejectCode.KEY_NULL, "key column id is null"),
        ("tenant_id", None, RejectCode.KEY_NULL, "key column tenant_id is null"),
        ("id", "x", RejectCode.KEY_UNFIT, "key column id is not an integer of 64 bits"),
        ("tenant_id", "a\0b", RejectCode.KEY_UNFIT, "key column tenant_id has a NUL character"),
        ("customer", None, RejectCode.CUSTOMER_MISSING, "customer column customer is empty"),
        ("customer", "", RejectCode.CUSTOMER_MISSING, "customer column customer is empty"),
        (
            "customer",
            "c" * 256,
            RejectCode.CUSTOMER_UNFIT,
            "customer column customer is longer than 255 characters",
        ),
        ("customer", "a\0b", RejectCode.CUSTOMER_UNFIT, "customer column customer has a NUL character"),
    ],
)
def test_a_row_without_a_key_or_customer_is_set_aside(
    name: str, value: str | None, code: RejectCode, reason: str
) -> None:
    coerced = cut(page(ROW, with_cell(name, value), ROW))
    assert coerced.kept.to_pylist() == [0, 2]
    assert coerced.events.to_pylist() == cut(page(ROW, ROW)).events.to_pylist()
    (bad,) = coerced.rejected
    assert (bad.row, bad.code, bad.reason) == (1, code, reason)
    clean = {n: c and c.replace("\0", "\ufffd") for n, c in zip(NAMES, with_cell(name, value), strict=True)}
    assert json.loads(bad.raw) == clean
    assert json.loads(bad.key) == [clean["tenant_id"], clean["id"]]


def test_a_row_with_several_faults_is_set_aside_once_for_the_first() -> None:
    (bad,) = cut(page(("t", None, "x", "y", None, None))).rejected
    assert bad.code is RejectCode.KEY_NULL
    assert json.loads(bad.key) == ["t", None]


def test_a_key_is_remembered_whole_and_other_texts_cut() -> None:
    long = "k" * 1500
    (bad,) = cut(page((long, "x", "1", "a@b", "acme", None))).rejected
    assert json.loads(bad.key) == [long, "x"]
    assert json.loads(bad.raw)["tenant_id"] == "k" * 1000
    assert bad.key == events.key_json([long, "x"])


@pytest.mark.parametrize(
    ("text", "deleted"),
    [(None, False), ("", False), ("f", False), ("FALSE", False), ("0", False), ("t", True), ("1", True),
     ("2024-01-01 00:00:00+00", True), ("whatever", True)],
)  # fmt: skip
def test_a_row_is_gone_when_its_column_is_set(text: str | None, deleted: bool) -> None:
    coerced = cut(page(with_cell("gone", text)), deleted_column="gone")
    assert coerced.events["_deleted"].to_pylist() == [deleted]


def test_a_fixed_customer_is_that_of_every_row() -> None:
    coerced = cut(page(ROW, with_cell("customer", None)), customer_column=None, customer="globex")
    assert coerced.events["_customer_id"].to_pylist() == ["globex", "globex"]


def test_an_empty_page_keeps_its_schema() -> None:
    empty, full = cut(page()), cut(page(ROW))
    assert empty.events.num_rows == 0
    assert empty.events.schema == full.events.schema
    assert empty.kept.to_pylist() == []


def test_chunks_and_slices_of_a_page_change_nothing() -> None:
    rows = [ROW, with_cell("id", "x"), with_cell("age", "x"), with_cell("customer", ""), ROW]
    whole = page(*rows)
    sliced = page(ROW, *rows, ROW).slice(1, len(rows))
    chunked = pa.concat_tables([sliced.slice(0, 2), sliced.slice(2)])
    expected = cut(whole)
    for same in (sliced, chunked):
        coerced = cut(same)
        assert coerced.events.equals(expected.events)
        assert coerced.kept.equals(expected.kept)
        assert coerced.rejected == expected.rejected


def test_one_source_column_may_feed_several_of_the_shape() -> None:
    both = (ID, Column(name="id_text", type=PropertyType.STRING, source_column="id"))
    (row,) = cut(page(ROW), columns=both, key_size=1).events.to_pylist()
    assert (row["user_id"], row["id_text"]) == (1, "1")


def test_deletes_have_typed_keys_and_nothing_else() -> None:
    table = events.deletes([("t", "1"), ("u", "2")], columns=COLUMNS, key_size=2, customer="acme")
    assert table.schema == cut(page(ROW)).events.schema
    assert table.to_pylist()[1] == {
        "tenant": "u", "user_id": 2, "age": None, "email": None,
        "_customer_id": "acme", "_deleted": True, "_invalid": None,
    }  # fmt: skip
    nobody = events.deletes([], columns=COLUMNS, key_size=2, customer=None)
    assert nobody.num_rows == 0
    assert nobody.schema == table.schema


def test_a_key_to_delete_that_does_not_fit_is_our_fault() -> None:
    with pytest.raises(InvariantError, match="user_id that is not an integer"):
        events.deletes([("t", "x")], columns=COLUMNS, key_size=2, customer=None)
