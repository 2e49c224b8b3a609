"""The migrations make the tables that the code knows; what keeps a process from starting is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from headrace.control.engine import control_engine, reading, writing
from headrace.control.schema import (
    check,
    check_revision,
    migrations_config,
    require_revision,
    upgrade,
    workspace_id,
)
from headrace.control.tables import metadata
from headrace.errors import ConfigurationError, ControlUnavailableError

COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """An engine on an empty database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/new/control.db"
    else:
        url = str(request.getfixturevalue("postgres_database"))
    engine = control_engine(url)
    yield engine
    engine.dispose()


def shape(engine: sa.Engine) -> list[list[tuple[object, ...]]]:
    """Every column, constraint and index as the server tells it, but Alembic's own table."""
    with reading(engine) as connection:
        if engine.dialect.name == "postgresql":
            queries = (COLUMNS, CONSTRAINTS, INDEXES)
            found = [[tuple(r) for r in connection.execute(sa.text(q))] for q in queries]
        else:
            rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master ORDER BY 1"))
            found = [[(name, _clauses(ddl)) for name, ddl in rows if ddl]]
    return [[row for row in rows if "alembic" not in str(row[0])] for rows in found]


def _clauses(ddl: str) -> tuple[str, ...]:
    """The parts of a definition, in any order: a column that was added comes after the constraints."""
    head, _, body = re.sub(r"\s+", " ", ddl).partition("(")
    parts, depth = [""], 0
    for character in body.rpartition(")")[0]:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return head.replace('"', "").strip(), *sorted(re.sub(r"\s*\(\s*", "(", part).strip() for part in parts)


def test_an_upgrade_from_empty_makes_what_the_metadata_says(empty: sa.Engine) -> None:
    upgrade(empty)
    assert check(empty) == []
    migrated = shape(empty)
    with writing(empty) as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    for made, wanted in zip(migrated, shape(empty), strict=True):
        assert sorted(set(made) ^ set(wanted), key=str) == []
    assert sum(len(rows) for rows in migrated) > 30


def test_migrations_are_named_after_their_revisions_each_of_which_follows_the_one_before() -> None:
    scripts = list(ScriptDirectory.from_config(migrations_config()).walk_revisions())
    numbers = sorted(script.revision for script in scripts)
    assert [Path(s.path).stem.partition("_")[0] for s in scripts] == numbers[::-1]
    assert [script.down_revision for script in scripts] == [*numbers[:-1][::-1], None]


EMPTY = {"timestamptz": "CAST('{}' AS jsonb)", "text": "'{}'"}
BEFORE_RESIDENCE = """
INSERT INTO data_source (id, provided_id, nickname, schema, isolation, origin, body)
  SELECT id, id, id, 'shop', 'shared', 'config', '{}'
    FROM (SELECT 'main' AS id UNION SELECT 'side' UNION SELECT 'new') named;
INSERT INTO default_data_source VALUES ('all', 'shop', 'main');
INSERT INTO customer (id, provided_id, visibility_group, name, parent_id, properties, origin, made_at)
  SELECT id, name, grp, name, above, '{}', 'api', CAST('2026-01-01T00:00:00.000Z' AS {timestamp}) FROM (
    SELECT 'c1' AS id, 'led by default' AS name, 'all' AS grp, NULL AS above
    UNION SELECT 'c2', 'bound', 'all', NULL UNION SELECT 'c3', 'below', 'all', 'c2'
    UNION SELECT 'c4', 'bound where nothing is', 'all', NULL
    UNION SELECT 'c5', 'twice', 'all', NULL UNION SELECT 'c6', 'twice', 'other', NULL) rows_of ORDER BY id;
INSERT INTO binding (customer_id, schema, data_source_id, origin)
  VALUES ('c2', 'shop', 'side', 'explicit'), ('c4', 'shop', 'new', 'explicit');
INSERT INTO feed (id, source_id, app_id, model_id, definition_version, reconcile_kind)
  VALUES ('f', 's', 'a', 'm', 1, 'keys');
INSERT INTO feed_log (feed_id, data_source_id, model_id, log_id)
  VALUES ('f', 'main', 'm', 'l1'), ('f', 'side', 'm', 'l2')
"""


def test_an_upgrade_finds_where_customers_reside_who_had_rows_before_it_was_noted(empty: sa.Engine) -> None:
    upgrade(empty, to="0001")
    with writing(empty) as connection:
        timestamp = "timestamptz" if connection.dialect.name == "postgresql" else "text"
        for statement in BEFORE_RESIDENCE.replace("{timestamp}", timestamp).split(";"):
            connection.exec_driver_sql(statement.replace("'{}'", EMPTY[timestamp]))
    upgrade(empty)
    with reading(empty) as connection:
        homes = connection.exec_driver_sql("SELECT customer_id, data_source_id FROM residence ORDER BY 1")
        assert homes.all() == [("c1", "main"), ("c2", "side"), ("c3", "side")]
        pins = connection.exec_driver_sql("SELECT customer_id FROM binding WHERE origin = 'pinned_default'")
        assert pins.scalars().all() == ["c1"]


def test_an_upgrade_twice_keeps_the_workspace(empty: sa.Engine) -> None:
    upgrade(empty)
    first = workspace_id(empty)
    upgrade(empty)
    assert workspace_id(empty) == first


def test_upgrades_that_start_together_happen_once(empty: sa.Engine) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(upgrade, [empty] * 3))
    assert check(empty) == []
    workspace_id(empty)


def test_an_empty_database_is_told_to_be_upgraded(empty: sa.Engine) -> None:
    assert check(empty) == ["the control database is empty: run `headrace db upgrade` [control_behind]"]
    with pytest.raises(ConfigurationError, match="headrace db upgrade"):
        workspace_id(empty)


def test_a_table_that_was_altered_by_hand_is_seen(empty: sa.Engine) -> None:
    upgrade(empty)
    with writing(empty) as connection:
        connection.execute(sa.text("DROP INDEX batch_log_idx"))
    (problem,) = check(empty)
    assert "batch_log_idx" in problem


def test_a_database_that_is_not_there_is_unavailable_and_no_secret_is_told() -> None:
    engine = control_engine("postgresql://someone:secret@127.0.0.1:1/none", wait_s=1)
    with pytest.raises(ControlUnavailableError) as caught:
        workspace_id(engine)
    assert "secret" not in str(caught.value)
    (problem,) = check(engine)
    assert "HEADRACE_CONTROL_URL" in problem


@pytest.mark.parametrize("url", ["mysql://h/db", "sqlite://", "sqlite:///:memory:", "not a url"])
def test_a_url_that_cannot_be_a_control_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="control database"):
        control_engine(url)


def test_sqlite_is_durable_and_waits_for_its_lock(tmp_path: Path) -> None:
    engine = control_engine(f"sqlite:///{tmp_path}/control.db")
    with reading(engine) as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 30_000, 1]
    engine.dispose()


def test_a_newer_database_serves_older_processes_until_a_migration_says_otherwise(empty: sa.Engine) -> None:
    upgrade(empty)
    with writing(empty) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9998'")
    require_revision(empty)
    assert check(empty) == check_revision(empty) == []
    with pytest.raises(ConfigurationError, match="newer"):
        upgrade(empty)
    with writing(empty) as connection:
        connection.exec_driver_sql("UPDATE workspace SET serves_from = '9998'")
    assert "which this Headrace does not know" in check(empty)[0]
    with pytest.raises(ConfigurationError, match="update Headrace") as refused:
        require_revision(empty)
    assert refused.value.code == "control_newer"


def test_a_database_that_lacks_a_migration_is_refused_with_what_mends_it(
    empty: sa.Engine,
) -> None:
    with pytest.raises(ConfigurationError, match="headrace db upgrade"):
        require_revision(empty)
    upgrade(empty, to="0001")
    with pytest.raises(ConfigurationError, match="revision 0001, not ") as refused:
        require_revision(empty)
    assert refused.value.code == "control_behind"
