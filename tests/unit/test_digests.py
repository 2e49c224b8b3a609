"""A digest that is not stale stands for what was journalled last."""

from __future__ import annotations

import pyarrow as pa
import pytest

from headrace.domain.digests import KEYS_HELD, Provisional, all_stale, is_known, was_last


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": [str(i) for i in ids], "name": ["n"] * len(ids)})


def test_a_stale_digest_tells_no_change_but_does_not_allow_to_skip() -> None:
    digests = all_stale({"null": "d", "beyond": "e"}, but={"beyond"})
    assert digests == {"null": "~d", "beyond": "e"}
    assert (is_known(digests, "null", "d"), was_last(digests, "null", "d")) == (False, True)
    assert (is_known(digests, "beyond", "e"), was_last(digests, "beyond", "x")) == (True, False)
    assert all_stale(digests) == {"null": "~d", "beyond": "~e"}


@pytest.mark.parametrize("pages", [[(1, 2, 3)], [(1, 2), (3,)], [(1,), (2,), (3,)]])
def test_provisional_rows_are_known_however_they_are_cut(pages: list[tuple[int, ...]]) -> None:
    first = Provisional({}, ("id",))
    assert first.without_known(rows(1, 2, 3)) == rows(1, 2, 3)
    first.keep(rows(1, 2, 3), 0, anchor="a")
    again = Provisional({Provisional.PART: first.mark}, ("id",))
    fresh = []
    for page in pages:
        fresh.append(again.without_known(rows(*page)))
        again.keep(rows(*page), 0, anchor="a")
    assert [0 if table is None else table.num_rows for table in fresh] == [0] * len(pages)
    assert (again.mark, again.undecided) == (first.mark, False)


def test_only_keys_that_the_mark_stands_for_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    provisional = Provisional({}, ("id",))
    provisional.keep(rows(1, 2), 1, anchor="a")
    provisional.keep(rows(3), 0, anchor="a")
    held = pa.concat_tables(provisional.keys or [])
    assert held.to_pydict() == {"id": ["2", "3"]}
    provisional.keep(rows(4), 0, anchor="b")
    assert pa.concat_tables(provisional.keys or []).to_pydict() == {"id": ["4"]}
    assert KEYS_HELD >= 1
    monkeypatch.setattr("headrace.domain.digests.KEYS_HELD", 0)
    assert provisional.keys is None


def test_known_rows_that_are_not_the_same_are_read_again() -> None:
    first = Provisional({}, ("id",))
    first.keep(rows(1, 2), 0, anchor="a")
    again = Provisional({Provisional.PART: first.mark}, ("id",))
    assert again.without_known(rows(1)) is not None
    assert again.undecided
    assert again.without_known(rows(9)) is None
