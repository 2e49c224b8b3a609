"""When files are read again, and that what is missing is never taken for rows that were deleted."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError, SourceUnavailableError
from headrace.ports import KeyRange, Relation
from headrace.sources import files, files_identity
from headrace.sources.files import FilesReader
from headrace.sources.files_identity import QUANTUM_S, Identities
from headrace.sources.files_path import Directory
from tests.integration.files_source import pages, plan_of, reader_of, rows

PLAN = plan_of("users.csv")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[FilesReader]:
    with reader_of(tmp_path) as reader:
        yield reader


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text("id,name\n1,a\n2,b\n")
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose bytes were looked at, in order."""
    looked_at: list[Path] = []
    digest = files_identity._digest

    def told(path: Path) -> str:
        looked_at.append(path)
        return digest(path)

    monkeypatch.setattr(files_identity, "_digest", told)
    return looked_at


def identities(now_s: float) -> Identities:
    return Identities("shop", now_ns=lambda: int(now_s * 1e9))


def identity(known: Identities, directory: Path) -> str:
    return known.of(Directory("shop", directory.as_uri()).files(PLAN.relation))


def rewrite_keeping_times(path: Path, text: str) -> None:
    """Same size, same inode, same modification time."""
    before = path.stat()
    with path.open("r+") as file:
        file.write(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_at_rest_is_hashed_once(users: Path, hashed: list[Path]) -> None:
    known = identities(time.time() + QUANTUM_S + 1)
    first = identity(known, users.parent)
    assert identity(known, users.parent) == first
    assert hashed == [users]


def test_a_file_that_was_touched_just_now_is_hashed_each_time(users: Path, hashed: list[Path]) -> None:
    known = identities(time.time())
    assert identity(known, users.parent) == identity(known, users.parent)
    assert hashed == [users, users]


def test_a_write_within_one_tick_of_the_clock_is_seen(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = files_identity._stamp(users)
    monkeypatch.setattr(files_identity, "_stamp", lambda path: frozen)
    known = identities(frozen.changed_ns / 1e9)
    before = identity(known, users.parent)
    users.write_text("id,name\n1,a\n2,c\n")
    assert identity(known, users.parent) != before


def test_a_write_that_keeps_size_and_modification_time_is_seen(users: Path) -> None:
    known = identities(time.time() + QUANTUM_S + 1)
    before = identity(known, users.parent)
    rewrite_keeping_times(users, "id,name\n1,a\n2,c\n")
    assert identity(known, users.parent) != before


def test_a_file_that_is_only_touched_is_the_same(users: Path) -> None:
    known = identities(time.time() + QUANTUM_S + 1)
    before = identity(known, users.parent)
    os.utime(users)
    assert identity(known, users.parent) == before


def test_the_token_changes_with_the_content_of_what_was_read_alone(users: Path, reader: FilesReader) -> None:
    rows(reader, PLAN)
    before = reader.change_token()
    (users.parent / "others.csv").write_text("id,name\n3,c\n")
    os.utime(users)
    assert reader.change_token() == before
    users.write_text("id,name\n1,a\n")
    assert reader.change_token() != before


def test_an_unchanged_file_is_not_copied_again(
    users: Path, reader: FilesReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rows(reader, PLAN)
    with monkeypatch.context() as patch:
        patch.setattr(files, "read_csv", lambda *args, **kwargs: pytest.fail("copied again"))
        assert rows(reader, PLAN) == first
        assert rows(reader, plan_of("users.csv", ("id",))) == [("1",), ("2",)]
    users.write_text("id,name\n9,z\n")
    assert rows(reader, PLAN) == [("9", "z")]


def test_chunks_of_a_file_that_changes_between_them_are_of_one_content_each(
    users: Path, reader: FilesReader
) -> None:
    [first] = pages(reader, PLAN, KeyRange(None, None, 1))
    users.write_text("id,name\n0,new\n1,changed\n2,changed\n")
    assert rows(reader, PLAN, KeyRange(first.end.key, None, 1)) == [("2", "changed")]


def test_a_file_that_is_written_while_it_is_read_is_read_later(
    users: Path, reader: FilesReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_csv = files.read_csv

    def read_while_written(*args: Any, **kwargs: Any) -> Any:
        yield from read_csv(*args, **kwargs)
        with users.open("a") as file:
            file.write("3,c\n")

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_csv", read_while_written)
        with pytest.raises(SourceUnavailableError, match=r'"users.csv" was written to while it was read'):
            rows(reader, PLAN)
    assert len(rows(reader, PLAN)) == 3


def waiting(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Any]) -> list[float]:
    """The seconds that readers made from now on wait for; `meanwhile` happens then, and no time passes."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        meanwhile()

    monkeypatch.setattr(files, "Identities", partial(Identities, wait=wait))
    return waited


def test_a_last_line_without_its_break_is_read_when_nothing_more_comes(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.write_text("id,name\n1,12.50\n2,12")
    waited = waiting(monkeypatch, lambda: None)
    with reader_of(users.parent) as reader:
        assert rows(reader, PLAN) == [("1", "12.50"), ("2", "12")]
        assert rows(reader, PLAN) == [("1", "12.50"), ("2", "12")]
        assert [0 < seconds <= QUANTUM_S for seconds in waited] == [True]
        users.write_text("id,name\n1,12.50\n2,1")
        os.utime(users, (time.time() - QUANTUM_S - 1,) * 2)
        assert rows(reader, PLAN) == [("1", "12.50"), ("2", "1")]
        assert len(waited) == 1


def test_half_a_last_line_is_not_read_when_the_rest_comes(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def the_rest() -> None:
        with users.open("a") as file:
            file.write(".50\n")

    users.write_text("id,name\n1,12")
    waiting(monkeypatch, the_rest)
    with reader_of(users.parent) as reader:
        with pytest.raises(SourceUnavailableError, match="was written to while it was read"):
            rows(reader, PLAN)
        assert rows(reader, PLAN) == [("1", "12.50")]


@pytest.mark.parametrize("name", ["users.csv", "users.csv.gz"])
def test_nothing_is_waited_for_when_the_end_is_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = b"id,name\n1,a"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text + b"\n")
    waited = waiting(monkeypatch, lambda: None)
    with reader_of(tmp_path) as reader:
        assert rows(reader, plan_of(name)) == [("1", "a")]
    assert waited == []


def test_what_is_missing_is_unavailable_and_never_empty(tmp_path: Path) -> None:
    root = tmp_path / "exports"
    (root / "events").mkdir(parents=True)
    users = root / "users.csv"
    users.write_text("id,name\n1,a\n")
    (root / "events" / "1.csv").write_text("id,name\n1,a\n")
    with reader_of(root) as reader:
        for table in ("users.csv", "events", "events/*.csv"):
            assert len(rows(reader, plan_of(table))) == 1
        users.unlink()
        (root / "events" / "1.csv").unlink()
        for table in ("users.csv", "events", "events/*.csv"):
            with pytest.raises(SourceUnavailableError, match="nothing is read, and nothing removed"):
                rows(reader, plan_of(table))
        shutil.rmtree(root)
        for ask in (lambda: rows(reader, PLAN), lambda: reader.describe(PLAN.relation), reader.tables):
            with pytest.raises(SourceUnavailableError, match="there is no directory"):
                ask()


def test_a_path_that_leads_nowhere_names_what_is_there(users: Path, reader: FilesReader) -> None:
    with pytest.raises(
        SourceUnavailableError, match=r'table "user.csv" does not exist; the nearest .* "users.csv"'
    ):
        reader.describe(Relation("user.csv"))
    with pytest.raises(SourceUnavailableError, match=r'table "x" does not exist; there are "users.csv"'):
        reader.describe(Relation("x"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_for_a_person(users: Path, reader: FilesReader) -> None:
    users.chmod(0)
    with pytest.raises(ConfigurationError, match="may not be read"):
        rows(reader, PLAN)


def test_reading_changes_no_file_and_leaves_none_behind(
    users: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    spills = tmp_path_factory.mktemp("spills")
    monkeypatch.setenv("SQLITE_TMPDIR", str(spills))
    users.write_text("id,name\n" + "".join(f"{n},{'x' * 1000}\n" for n in range(50_000)))
    before = users.stat()
    with reader_of(users.parent) as reader:
        assert len(rows(reader, PLAN)) == 50_000
        assert list(spills.iterdir()) == []  # the copy has no name: it is gone with its process
    assert users.stat() == before or users.stat().st_mtime_ns == before.st_mtime_ns
    assert list(users.parent.iterdir()) == [users]
