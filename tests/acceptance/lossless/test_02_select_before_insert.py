"""Acceptance 2: a transaction that had only SELECTed before the poll, then inserts."""

from __future__ import annotations

from tests.acceptance.lossless import scenarios
from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.things import Database


def test_a_row_of_a_transaction_that_had_only_read_before_the_poll_is_read(
    database: Database, read: MakeThings
) -> None:
    scenarios.select_then_insert(database, read(database))
