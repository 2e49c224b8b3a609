"""An estate for each test or, for those that leave it as it is, for each module; and a client of its API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.isolation.estate import Estate, estate
from tests.integration.web_client import WebClient


@pytest.fixture
def made(tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    with estate(tmp_path, postgres_database, monkeypatch) as made:
        yield made


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[Estate]:
    with (
        pytest.MonkeyPatch.context() as patch,
        new_database() as url,
        estate(tmp_path_factory.mktemp("estate"), url, patch) as made,
    ):
        yield made


@pytest.fixture
def client(made: Estate) -> Iterator[WebClient]:
    with WebClient(made.site.api) as client:
        yield client
