"""A fresh data source of each dialect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.ports import RecordStore
from headrace.stores import open_store


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
def store(store_url: str) -> Iterator[RecordStore]:
    opened = open_store(
        data_source_id="main", url=store_url, namespace="headrace", workspace="w1", schema="shop"
    )
    yield opened
    opened.close()
