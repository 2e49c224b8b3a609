"""What has had its time by the settings is swept, and nothing else."""

from __future__ import annotations

from pathlib import Path

from headrace import settings, wiring
from tests.acceptance.project import query
from tests.integration.command import Command, change

CONTROL = "sqlite:///.headrace/control.db"


def count(table: str, where: str = "1") -> int:
    return int(query(CONTROL, f"SELECT count(*) FROM {table} WHERE {where}")[0][0])


def test_the_settings_say_what_has_had_its_time(headrace: Command, project: Path) -> None:
    change("sources/app.db", "UPDATE users SET name = 'Ada King', updated_at = '2027-01-01' WHERE id = 12")
    assert headrace("sync", "--full").code == 0
    logs, runs, batches = count("feed_log", "seq > 0"), count("run"), count("batch")
    assert runs
    assert batches > logs
    change(".headrace/control.db", "UPDATE run SET started_at = datetime('now', '-1 hour') || '.000Z'")
    change(".headrace/control.db", "UPDATE batch SET merged_at = '2020-01-01T00:00:00.000Z'")

    with wiring.build(settings.load(retention_batches_s=1e10), process="test") as app:
        app.sweep()
    assert (count("run"), count("batch")) == (runs, batches)

    with wiring.build(settings.load(retention_runs_s=60, retention_batches_s=60), process="test") as app:
        app.sweep()
    assert (count("run"), count("batch")) == (0, logs)
    change("sources/app.db", "UPDATE users SET name = 'Ada' WHERE id = 12")
    assert headrace("sync", "--full").code == 0
    assert headrace("verify").code == 0
