"""A server that does not answer is told in one line, which names what it is the server of."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from headrace.cli.problem import with_mend
from headrace.errors import SourceUnavailableError, StoreUnavailableError
from headrace.ports import Relation
from headrace.sources.connect import open_reader
from headrace.stores.connect import open_store


@pytest.fixture
def nobody() -> Iterator[str]:
    """A PostgreSQL URL that nobody listens at: the port is taken for as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"postgresql://reader@127.0.0.1:{taken.getsockname()[1]}/shop"


def is_one_line(message: str) -> bool:
    return "\n" not in message and "\t" not in message


def test_an_app_that_does_not_answer_is_told_in_one_line(nobody: str) -> None:
    reader = open_reader("shop", nobody, nonce="test")
    with pytest.raises(SourceUnavailableError) as refused:
        reader.describe(Relation(table="users"))
    told = with_mend(str(refused.value))
    assert told.startswith("shop: ")
    assert "Connection refused; Is the server running" in told
    assert is_one_line(told)


def test_a_data_source_that_does_not_answer_is_told_in_one_line_by_its_name(nobody: str) -> None:
    store = open_store(data_source_id="main", url=nobody, namespace="shop", workspace="test", schema="shop")
    with pytest.raises(StoreUnavailableError) as refused:
        store.pending_changes([])
    store.close()
    told = with_mend(str(refused.value))
    assert told.startswith("PostgreSQL data source main: ")
    assert "Connection refused; Is the server running" in told
    assert is_one_line(told)
