"""A poll of a source that has not changed reads nothing, and misses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.sources.sqlite import SqliteReader
from tests.integration.world import ACCOUNTS, USERS, Seen, prepared, world_of

T0, T1 = "2024-01-01 00:00:00.000", "2024-01-01 00:00:01.000"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("worlds") / "template")


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    with world_of(template, tmp_path / "world", monkeypatch) as world:
        yield world


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The selections that were read."""
    read, selections = SqliteReader.read, []

    def told(reader: SqliteReader, plan: Any, selection: Any) -> Any:
        selections.append(selection)
        return read(reader, plan, selection)

    monkeypatch.setattr(SqliteReader, "read", told)
    return selections


def poll(world: Seen, source_id: str, reads: list[Any]) -> int:
    """How many selections a poll reads."""
    reads.clear()
    assert world.app.poll(world.feed(source_id)).error is None
    return len(reads)


@pytest.mark.parametrize("source_id", [USERS, ACCOUNTS])
def test_nothing_is_read_of_a_source_that_has_not_changed(
    world: Seen, reads: list[Any], source_id: str
) -> None:
    world.user(1, "a", T0)
    world.account(1, "a")
    assert poll(world, source_id, reads) > 0
    assert poll(world, source_id, reads) == 0
    world.user(1, "b", T1)
    assert poll(world, source_id, reads) > 0
    assert poll(world, source_id, reads) == 0


def test_what_is_asked_of_a_feed_at_rest_is_done(world: Seen, reads: list[Any]) -> None:
    world.user(1, "a", T0)
    poll(world, USERS, reads)
    world.app.commands.request_reconcile(USERS, full=True, confirm=False)
    assert poll(world, USERS, reads) > 0
    assert poll(world, USERS, reads) == 0
    world.app.journal.request_keys(world.feed(USERS), [("1",)])
    assert poll(world, USERS, reads) == 1
    assert poll(world, USERS, reads) == 0


def test_another_process_reads_what_this_one_has_read(world: Seen, reads: list[Any]) -> None:
    world.user(1, "a", T0)
    poll(world, USERS, reads)
    world.restart()
    assert poll(world, USERS, reads) > 0


def test_what_changes_while_a_source_is_polled_is_looked_at_again(world: Seen, reads: list[Any]) -> None:
    world.user(1, "a", T0)
    world.watch(lambda name, args: world.user(2, "late", T0) if name == "key_requests" else None)
    poll(world, USERS, reads)
    assert poll(world, USERS, reads) > 0
