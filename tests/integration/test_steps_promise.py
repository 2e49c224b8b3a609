"""A feed that comes to promise less says so, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import metrics
from tests.acceptance.lossless.databases import SqliteDatabase
from tests.acceptance.lossless.things import Things, project_of


def falls() -> float:
    return metrics.REGISTRY.get_sample_value("headrace_feed_class_falls_total", {"source": "things"}) or 0.0


def test_a_class_that_falls_is_told_counted_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = SqliteDatabase(tmp_path / "source.db")
    source.make()
    things = Things(project_of(tmp_path / "project", source), source, monkeypatch)
    before = falls()
    with source.session() as session:
        session.insert(1, "dated")
        things.poll()
        assert things.feed_class() == ("exact", "")
        session.insert(2, "not dated", "'soon'")
        things.poll()
        feed_class, reason = things.feed_class()
        assert (feed_class, falls()) == ("eventual", before + 1)
        assert "holds values that are no times" in reason
        (told,) = (record for record in caplog.records if "promises less" in record.getMessage())
        assert told.levelname == "WARNING"
        session.insert(3, "dated")
        things.poll()
        assert falls() == before + 1, "it was told already"
        session.run("DELETE FROM things WHERE id = 2")
        things.poll()
        assert things.feed_class() == ("exact", "")
        assert falls() == before + 1
    things.close()
