"""`headrace backfill`: a source is read again from a value of its cursor."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.control.backfill import SqlPositions
from headrace.domain.vocabulary import RunId
from headrace.errors import LeaseLostError
from headrace.ports import JournalEntry
from tests.conformance.refusing import Shop, shop_at
from tests.integration.command import Command, synced


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("SHOP", str(tmp_path))
    monkeypatch.setenv("SHOP_STORE", f"sqlite:///{tmp_path}/store.db")
    with shop_at(tmp_path, os.environ["SHOP_STORE"]) as shop:
        shop.users("Ann", "Bea", "Cleo")
        # Long ago: of what is new a poll reads some again by itself.
        shop.source.execute("UPDATE users SET updated_at = '2020-01-0' || id")
        yield shop


@pytest.fixture
def headrace(headrace: Command, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on the shop, after a first sync."""
    return synced(headrace, tmp_path, monkeypatch)


def test_what_was_changed_without_its_cursor_or_lost_in_a_data_source_is_merged(
    headrace: Command, shop: Shop
) -> None:
    shop.source.execute("UPDATE users SET name = 'Bella' WHERE id = 2")
    shop.store("DELETE FROM users WHERE id = 3")
    assert headrace("sync").code == 0
    assert shop.names() == {1: "Ann", 2: "Bea"}
    ended = headrace("backfill", "users", "--from", "2000-01-01", "--json")
    assert ended.code == 0
    assert shop.names() == {1: "Ann", 2: "Bella", 3: "Cleo"}
    assert headrace("runs", "--source", "users", "--json").json[0]["trigger"] == "backfill"


def test_rows_before_the_cursor_are_not_read(headrace: Command, shop: Shop) -> None:
    shop.source.execute("UPDATE users SET updated_at = '2001-01-01' WHERE id = 1")
    assert headrace("backfill", "users", "--from", "2000-01-01").code == 0
    shop.source.execute("UPDATE users SET name = 'none' WHERE id IN (1, 2)")
    assert headrace("backfill", "users", "--from", "2002-01-01").code == 0
    assert shop.names() == {1: "Ann", 2: "none", 3: "Cleo"}


def test_a_cursor_beyond_what_was_read_is_refused_since_rows_would_be_left_out(
    headrace: Command, shop: Shop
) -> None:
    ended = headrace("backfill", "users", "--from", "2999-01-01")
    assert ended.code == 2
    assert "would leave out what lies between" in ended.err
    shop.user(9, "Zoe")
    assert headrace("sync").code == 0
    assert shop.names()[9] == "Zoe"


def test_the_audit_tells_who_asked_and_from_where(headrace: Command) -> None:
    assert headrace("backfill", "users", "--from", "2000-01-01").code == 0
    (line,) = [line for line in headrace("audit", "--json").json if line["action"] == "source.backfill"]
    assert line["actor"].startswith("cli:")
    assert (line["detail"]["source"], line["detail"]["from"]) == ("users", "2000-01-01")


def test_a_source_without_a_cursor_is_refused_and_told_what_reads_it_again(
    headrace: Command, tmp_path: Path
) -> None:
    file = tmp_path / "config" / "sources" / "purchases.json"
    source = json.loads(file.read_text())
    del source["schedule"]
    file.write_text(json.dumps(source))
    assert headrace("sync").code == 0
    ended = headrace("backfill", "purchases", "--from", "2000-01-01")
    assert ended.code == 2
    assert "headrace reconcile purchases --full" in ended.err


def test_an_unknown_source_is_told(headrace: Command) -> None:
    assert headrace("backfill", "nothing", "--from", "1").code == 2


def test_a_reader_under_way_writes_nothing_after_it(headrace: Command, shop: Shop) -> None:
    """Else it would put the position back to where it has read."""
    positions = SqlPositions(shop.app.engine)
    (at,) = positions.positions("users")
    claimed = shop.app.feeds.claim(at.feed_id, lease_s=60)
    assert claimed is not None
    assert positions.read_again(at, "2000-01-01", actor="test") is True
    entry = JournalEntry(run_id=RunId("late"), trigger="schedule", state=claimed.state, batches=())
    with pytest.raises(LeaseLostError):
        shop.app.feeds.append(claimed.lease, entry, lease_s=60)
    assert positions.read_again(at, "2000-01-01", actor="test") is False
