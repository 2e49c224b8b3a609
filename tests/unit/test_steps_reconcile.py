"""Where a chunk of a reconciliation may end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from headrace.errors import SourceDriftError
from headrace.steps import reconcile
from tests.unit.fakes import APP, USERS, FixedCatalogue


def visit() -> Any:
    return SimpleNamespace(plan=FixedCatalogue().feed(USERS, APP))


@pytest.mark.parametrize(
    ("ids", "kept"),
    [(["1", "2"], ["1", "2"]), (["1", "x", "3"], ["1", "x", "3"]), (["1", "2", "x", "99e99"], ["1", "2"])],
)
def test_a_chunk_ends_with_a_key_that_fits_its_type(ids: list[str], kept: list[str]) -> None:
    rows = reconcile._bounded(visit(), pa.table({"id": pa.array(ids, pa.string())}))
    assert rows.column("id").to_pylist() == kept


def test_a_whole_page_of_unfit_keys_stops_the_feed_with_the_first_of_them() -> None:
    with pytest.raises(SourceDriftError, match="'x'"):
        reconcile._bounded(visit(), pa.table({"id": ["x", "y"]}))
