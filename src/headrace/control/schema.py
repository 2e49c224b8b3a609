"""The control database's shape: made, moved forward and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from headrace.control import access_tables, drift, move_tables  # noqa: F401 (their tables are the metadata)
from headrace.control.engine import is_missing, make_directory, reading, writing
from headrace.control.tables import metadata, workspace
from headrace.domain.finding import FindingCode
from headrace.errors import ConfigurationError, ControlUnavailableError, ErrorCode

if TYPE_CHECKING:
    from alembic.config import Config

_NOTED: Final = sa.table("alembic_version", sa.column("version_num", sa.Text))
_MIGRATIONS = Path(__file__).parent / "migrations"
_EMPTY = "the control database is empty: run `headrace db upgrade`"
_UPGRADE_LOCK = 0x48454144
"""An advisory lock ("HEAD"): two releases that start together upgrade one after the other."""


def upgrade(engine: sa.Engine, *, to: str = "head") -> None:
    """Bring the database, empty or older, to this version's tables (or those of revision `to`), in one
    transaction.

    Raises:
        ConfigurationError: the database was made by a newer Headrace.
        ControlUnavailableError: it cannot be reached; nothing was changed.
    """
    make_directory(engine)
    with upgrading(engine) as connection:
        upgrade_within(connection, to=to)


@contextmanager
def upgrading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that may change tables, one at a time."""
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        yield connection


def upgrade_within(connection: sa.Connection, *, to: str = "head") -> None:
    """As `upgrade`, in a transaction of `upgrading`."""
    revision = _revision(connection)
    if is_unknown(revision):
        raise ConfigurationError(_newer(revision), code=ErrorCode.CONTROL_NEWER)
    if revision == (_head() if to == "head" else to):
        return
    from alembic import command

    config = migrations_config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def revision_of(connection: sa.Connection) -> str:
    """The last migration that the database has.

    Raises:
        ConfigurationError: it has none, or one that this version does not know.
    """
    revision = _revision(connection)
    if revision is None:
        raise ConfigurationError(_EMPTY, code=ErrorCode.CONTROL_BEHIND)
    if is_unknown(revision):
        raise ConfigurationError(_newer(revision), code=ErrorCode.CONTROL_NEWER)
    return revision


def is_empty(engine: sa.Engine) -> bool:
    """Nobody has upgraded it yet."""
    if is_missing(engine):
        return True
    with reading(engine) as connection:
        return _revision(connection) is None


def check(engine: sa.Engine) -> list[str]:
    """What keeps this version from working with the database, each with its mend and code; empty when
    nothing."""
    return _checked(engine, _problems)


def check_revision(engine: sa.Engine) -> list[str]:
    """As `check`, without a look at each table: cheap enough to be asked often."""
    return _checked(engine, _revision_problems)


def _checked(engine: sa.Engine, problems: Callable[[sa.Connection], list[str]]) -> list[str]:
    if is_missing(engine):
        return [f"{_EMPTY} [{ErrorCode.CONTROL_BEHIND}]"]
    try:
        with reading(engine) as connection:
            return problems(connection)
    except ControlUnavailableError as error:
        return [f"{error}: is the server up, and HEADRACE_CONTROL_URL right? [{error.code}]"]


def require_revision(engine: sa.Engine) -> None:
    """Processes of this version may work with the database.

    Raises:
        ConfigurationError: they may not: a migration lacks, or came that they must not run beside.
        ControlUnavailableError: it cannot be reached.
    """
    if is_missing(engine):
        raise ConfigurationError(_EMPTY, code=ErrorCode.CONTROL_BEHIND)
    with reading(engine) as connection:
        wrong = _wrong_revision(connection)
    if wrong:
        raise ConfigurationError(wrong[0], code=wrong[1])


def workspace_id(engine: sa.Engine) -> str:
    """The installation's identity, made at its first upgrade."""
    with reading(engine) as connection:
        return str(connection.execute(sa.select(workspace.c.id)).scalar_one())


def _problems(connection: sa.Connection) -> list[str]:
    problems = _revision_problems(connection)
    if problems or is_unknown(_revision(connection)):
        return problems
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    differences = compare_metadata(MigrationContext.configure(connection), metadata)
    altered = FindingCode.CONTROL_ALTERED
    return [f"the control database was altered by hand: {_in_words(d)} [{altered}]" for d in differences]


def _revision_problems(connection: sa.Connection) -> list[str]:
    wrong = _wrong_revision(connection)
    return [f"{wrong[0]} [{wrong[1]}]"] if wrong else []


def _wrong_revision(connection: sa.Connection) -> tuple[str, ErrorCode] | None:
    revision, head = _revision(connection), _head()
    if revision is None:
        return _EMPTY, ErrorCode.CONTROL_BEHIND
    if is_unknown(revision):
        return None if _serves_from(connection) <= head else (_newer(revision), ErrorCode.CONTROL_NEWER)
    if revision != head:
        what = f"the control database is at revision {revision}, not {head}: run `headrace db upgrade`"
        return what, ErrorCode.CONTROL_BEHIND
    return None


def _serves_from(connection: sa.Connection) -> str:
    return str(connection.execute(sa.select(workspace.c.serves_from)).scalar_one())


def _in_words(difference: object) -> str:
    if isinstance(difference, tuple):
        return " ".join(str(getattr(part, "name", part)) for part in difference if part is not None)
    return str(difference)


def _revision(connection: sa.Connection) -> str | None:
    """The one that Alembic has noted. It is not asked: to import it takes a tenth of a command's start."""
    if not sa.inspect(connection).has_table(_NOTED.name):
        return None
    return connection.execute(sa.select(_NOTED.c.version_num)).scalar_one_or_none()


def _head() -> str:
    return max(_known_revisions())


def is_unknown(revision: str | None) -> bool:
    """A newer Headrace made it."""
    return revision is not None and revision not in _known_revisions()


@cache  # `/readyz` asks often, and the migrations of a process do not change
def _known_revisions() -> frozenset[str]:
    """Of the files of migrations, which are named after their revisions: numbers that rise."""
    return frozenset(file.stem.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _newer(revision: str | None) -> str:
    return (
        f"the control database is at revision {revision}, which this Headrace does not know: a newer one "
        "made it; update Headrace, or name another database in HEADRACE_CONTROL_URL"
    )


def migrations_config() -> Config:
    """What Alembic is told of the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
