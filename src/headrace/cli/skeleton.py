"""The files of a new project: empty ones to fill, or the example with its databases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from headrace.definition.json_schema import write as write_schemas
from headrace.errors import ConfigurationError

_KINDS: Final = ("apps", "schemas", "visibility_groups", "data_sources", "customers", "models", "sources")
_STARTING: Final[dict[str, dict[str, Any]]] = {
    "visibility_groups/production": {"name": "Production"},
    "schemas/main": {"name": "Main"},
    "data_sources/main": {
        "nickname": "Main",
        "schema": "main",
        "default_for": ["production"],
        "type": "sqlite",
        "url": "sqlite:///stores/main.db",
    },
}
APP_ID: Final = "my_db"
URL_NAME: Final = "MY_DB_URL"
URL_EXAMPLES: Final = {
    "postgres": "postgresql://reader:secret@db.example.com/app",
    "mysql": "mysql://reader:secret@db.example.com/app",
    "sqlite": "sqlite:////var/lib/app/app.db",
    "files": "file:///var/lib/app/exports",
}
"""Where an app of each type may be."""
_IGNORED: Final = ".headrace/\n*.db\n*.db-wal\n*.db-shm\n"


def write_skeleton(directory: Path, app_type: str | None = None) -> None:
    """A config directory with a visibility group, a schema and one SQLite data source.

    Args:
        app_type: of an app to begin with, whose URL is in the environment.

    Raises:
        ConfigurationError: there is one already; nothing was changed.
    """
    config = _new_config(directory)
    for kind in _KINDS:
        (config / kind).mkdir()
    bodies = dict(_STARTING)
    if app_type is not None:
        bodies[f"apps/{APP_ID}"] = {"name": "My database", "type": app_type, "url": f"${{{URL_NAME}}}"}
    for place, body in bodies.items():
        (config / f"{place}.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    _finish(directory)


def copy_example(directory: Path) -> None:
    """The example's definitions, and the two databases that they read, in `sources/`.

    Raises:
        ConfigurationError: as `write_skeleton`.
    """
    from headrace.cli.example_databases import make_databases

    config = _new_config(directory)
    shutil.copytree(example_config(), config, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    make_databases(directory / "sources")
    _finish(directory)


def example_config() -> Path:
    """The example's definitions: shipped in the wheel, or those of the repository."""
    package = Path(__file__).parents[1]
    shipped = package / "example"
    return shipped if shipped.is_dir() else package.parents[1] / "config"


def _new_config(directory: Path) -> Path:
    config = directory / "config"
    if directory.exists() and not directory.is_dir():
        raise ConfigurationError(f"{directory} is a file; name a directory")
    if config.exists():
        raise ConfigurationError(f"{config} exists already; name another directory, or remove it first")
    try:
        config.mkdir(parents=True)
    except OSError as error:
        raise ConfigurationError(
            f"{config} cannot be made ({error.strerror}); name another directory"
        ) from error
    return config


def _finish(directory: Path) -> None:
    write_schemas(directory / "config" / ".schema")
    (directory / "stores").mkdir(exist_ok=True)
    ignored = directory / ".gitignore"
    if not ignored.exists():
        ignored.write_text(_IGNORED, encoding="utf-8")
