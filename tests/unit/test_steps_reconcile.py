"""Where a chunk of a reconciliation may end."""

from __future__ import annotations

import pyarrow as pa
import pytest

from headrace.errors import SourceDriftError
from headrace.ports import FeedPlan
from headrace.steps.key_order import bounded
from tests.unit.fakes import APP, USERS, FixedCatalogue


def plan() -> FeedPlan:
    return FixedCatalogue().feed(USERS, APP)


@pytest.mark.parametrize(
    ("ids", "kept"),
    [(["1", "2"], ["1", "2"]), (["1", "x", "3"], ["1", "x", "3"]), (["1", "2", "x", "99e99"], ["1", "2"])],
)
def test_a_chunk_ends_with_a_key_that_fits_its_type(ids: list[str], kept: list[str]) -> None:
    rows = bounded(pa.table({"id": pa.array(ids, pa.string())}), plan())
    assert rows.column("id").to_pylist() == kept


def test_a_whole_page_of_unfit_keys_stops_the_feed_with_the_first_of_them() -> None:
    with pytest.raises(SourceDriftError, match="'x'"):
        bounded(pa.table({"id": ["x", "y"]}), plan())
