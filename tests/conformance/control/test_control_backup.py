"""A backup holds all of a control database at one moment, and a restore gives it back on either dialect."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from headrace.control.audit import SqlAudit
from headrace.control.backup import back_up
from headrace.control.backup_file import Manifest
from headrace.control.engine import control_engine, reading, writing
from headrace.control.restore import replace, restore
from headrace.control.schema import check, upgrade, workspace_id
from headrace.control.tables import metadata
from headrace.errors import ConfigurationError, ErrorCode
from tests.conformance.control.project import Control, rejected, rows
from tests.conformance.control.tenancy import Tenancy

RESTORED = {"feed", "run", "audit"}
"""Tables in which a restore itself writes: leases, runs that were under way, its own line."""


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """An empty database."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/other/c.db" if sqlite else str(request.getfixturevalue("postgres_database"))
    engine = control_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def full(control: Control) -> Control:
    """Something in most tables, bytes and JSON and a customer above others among it."""
    tenancy = Tenancy(control)
    tenancy.create("aaa-child")
    tenancy.create("zzz-parent", name='Ω "quoted"\n')
    tenancy.update("aaa-child", parent="provided:zzz-parent", properties={"plan": ["gold", None, 1.5]})
    return control


def backed_up(control: Control, path: Path) -> Manifest:
    return back_up(control.engine, path, made_by="1.2.3")


def contents(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    with reading(engine) as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in metadata.sorted_tables
        }


def test_a_restored_database_holds_what_was_backed_up(
    full: Control, other: sa.Engine, tmp_path: Path
) -> None:
    before = contents(full.engine)
    manifest = backed_up(full, tmp_path / "b")
    assert restore(other, tmp_path / "b", actor="cli:me") == manifest
    after = contents(other)
    if other.dialect.name == "sqlite":  # which keeps milliseconds
        before = {name: [tuple(_whole_ms(v) for v in row) for row in found] for name, found in before.items()}
    for name in before.keys() - RESTORED:
        assert after[name] == before[name], name
    assert len(after["feed"]) == len(before["feed"])
    assert check(other) == []
    (line,) = [entry.line for entry in SqlAudit(other).list(limit=1).items]
    assert (line.action, line.actor) == ("control.restore", "cli:me")


def _whole_ms(value: Any) -> Any:
    return (
        value.replace(microsecond=value.microsecond // 1000 * 1000)
        if hasattr(value, "microsecond")
        else value
    )


def test_generated_numbers_go_on_behind_those_of_the_backup(
    full: Control, other: sa.Engine, tmp_path: Path
) -> None:
    highest = max(row[0] for row in contents(full.engine)["audit"])
    backed_up(full, tmp_path / "b")
    restore(other, tmp_path / "b", actor="cli:me")
    assert max(row[0] for row in contents(other)["audit"]) > highest


def test_no_worker_of_that_time_holds_a_lease(control: Control, other: sa.Engine, tmp_path: Path) -> None:
    claimed = control.claimed()
    control.append(claimed, rows(), run="under-way")
    backed_up(control, tmp_path / "b")
    restore(other, tmp_path / "b", actor="cli:me")
    put_back = Control(other)
    assert put_back.count("run", "state = 'incomplete' AND ended_at IS NOT NULL") == 1
    anew = put_back.claimed()
    assert anew.lease.epoch > claimed.lease.epoch
    assert anew.state.lead == claimed.state.lead or anew.state.lead is not None


def test_payloads_and_rejected_rows_come_back(control: Control, other: sa.Engine, tmp_path: Path) -> None:
    _, (batch,) = control.journalled(rows(payload=bytes(range(256))), rejected=(rejected(),))
    backed_up(control, tmp_path / "b")
    restore(other, tmp_path / "b", actor="cli:me")
    put_back = Control(other)
    assert put_back.journal.payload(batch) == bytes(range(256))
    assert put_back.waiting(put_back.log()) == [1]
    assert put_back.count("rejected_row") == 1


def test_what_was_done_since_is_forgotten_only_when_it_is_said(control: Control, tmp_path: Path) -> None:
    before = contents(control.engine)
    backed_up(control, tmp_path / "b")
    control.journalled(rows())
    with pytest.raises(ConfigurationError, match="--replace") as refused:
        restore(control.engine, tmp_path / "b", actor="cli:me")
    assert refused.value.code == ErrorCode.CONTROL_NOT_EMPTY
    assert control.count("batch") == 1
    replace(control.engine, tmp_path / "b", actor="cli:me")
    after = contents(control.engine)
    assert {n: after[n] for n in after.keys() - {"audit"}} == {
        n: before[n] for n in before.keys() - {"audit"}
    }


def test_a_database_of_another_installation_is_not_replaced(
    control: Control, other: sa.Engine, tmp_path: Path
) -> None:
    backed_up(control, tmp_path / "b")
    upgrade(other)
    mine = workspace_id(other)
    for put_back in (restore, replace):
        with pytest.raises(ConfigurationError, match="installation") as refused:
            put_back(other, tmp_path / "b", actor="cli:me")
        assert refused.value.code == ErrorCode.BACKUP_FOREIGN
    assert workspace_id(other) == mine


def test_a_backup_of_a_newer_version_changes_nothing(bare: Control, other: sa.Engine, tmp_path: Path) -> None:
    backed_up(bare, tmp_path / "b")
    newer = altered(tmp_path / "b", tmp_path / "newer", revision="9999")
    with pytest.raises(ConfigurationError, match="update Headrace") as refused:
        restore(other, newer, actor="cli:me")
    assert refused.value.code == ErrorCode.BACKUP_NEWER
    assert "the control database is empty" in check(other)[0]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "no_manifest", "foreign_name", "text"])
def test_a_damaged_backup_changes_nothing(bare: Control, tmp_path: Path, damage: str) -> None:
    path, bad = tmp_path / "b", tmp_path / "bad"
    backed_up(bare, path)
    match damage:
        case "cut":
            bad.write_bytes(path.read_bytes()[:-100])
        case "empty":
            bad.touch()
        case "text":
            bad.write_text("a list of backups")
        case "changed":
            altered(path, bad, tables={"workspace.jsonl": b'[1,"another","2026-01-01T00:00:00+00:00"]\n'})
        case "no_manifest":
            altered(path, bad, tables={"manifest.json": None})
        case "foreign_name":
            altered(path, bad, tables={"../workspace.jsonl": b"[]\n"})
    before = contents(bare.engine)
    with pytest.raises(ConfigurationError) as refused:
        replace(bare.engine, bad, actor="cli:me")
    assert refused.value.code == ErrorCode.BACKUP_DAMAGED
    assert contents(bare.engine) == before


def altered(
    path: Path, to: Path, *, revision: str | None = None, tables: dict[str, bytes | None] | None = None
) -> Path:
    """A backup with other files in it, None removing one; the manifest's digests stay."""
    files: dict[str, bytes] = {}
    with (
        pa.CompressedInputStream(path.open("rb"), "zstd") as packed,
        tarfile.open(fileobj=packed, mode="r|") as archive,
    ):
        for entry in archive:
            content = archive.extractfile(entry)
            assert content is not None
            files[entry.name] = content.read()
    if revision is not None:
        files["manifest.json"] = json.dumps(
            json.loads(files["manifest.json"]) | {"revision": revision}
        ).encode()
    kept = {name: data for name, data in {**files, **(tables or {})}.items() if data is not None}
    with (
        pa.CompressedOutputStream(to.open("wb"), "zstd") as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for name, data in kept.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, pa.BufferReader(data))
    return to


def test_a_database_that_was_not_upgraded_yet_is_backed_up_and_restored_to_this_version(
    other: sa.Engine, tmp_path: Path
) -> None:
    upgrade(other, to="0003")
    with writing(other) as connection:
        connection.execute(sa.text("UPDATE routing_version SET version = 42"))
    manifest = back_up(other, tmp_path / "b", made_by="0.9")
    assert manifest.revision == "0003"
    assert "left_behind" not in {table.name for table in manifest.tables}
    replace(other, tmp_path / "b", actor="cli:me")
    assert check(other) == []
    assert contents(other)["routing_version"] == [(1, 42)]


def test_a_backup_overwrites_nothing_and_is_its_owners_alone(bare: Control, tmp_path: Path) -> None:
    path = tmp_path / "b"
    backed_up(bare, path)
    assert path.stat().st_mode & 0o777 == 0o600
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ConfigurationError) as refused:
        backed_up(bare, path)
    assert refused.value.code == ErrorCode.BACKUP_EXISTS
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert [p.name for p in tmp_path.iterdir() if "headrace-backup" in p.name or p.suffix == ".part"] == []


def test_a_backup_is_of_one_moment(control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is journalled while it is made is in it whole or not at all."""
    from headrace.control import backup

    original, journalled = backup._rows, []

    def slowly(connection: sa.Connection, table: sa.Table) -> Iterator[sa.Row[Any]]:
        if table.name == "feed_log" and not journalled:
            journalled.append(control.journalled(rows()))
        yield from original(connection, table)

    monkeypatch.setattr(backup, "_rows", slowly)
    manifest = backed_up(control, tmp_path / "b")
    assert journalled
    found = {table.name: table.rows for table in manifest.tables}
    assert (found["feed_log"], found["batch"], found["batch_payload"]) == (0, 0, 0)
