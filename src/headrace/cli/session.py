"""What a command works with: settings, and the application over them."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.definition.definitions import Definitions
from headrace.errors import ConfigurationError, ErrorCode
from headrace.settings import Settings

if TYPE_CHECKING:
    from headrace.wiring import Application


_TOLD_BY_COMMANDS = {
    "headrace.steps.apply": logging.WARNING,
    "headrace.steps.fetch": logging.WARNING,
    "headrace.steps.sweep": logging.WARNING,
    "headrace.steps.log_run": logging.ERROR,
    "headrace.stores.ownership": logging.ERROR,
}
"""What these log is in what commands print: as log lines too it would be told twice."""


def settings_for(config: Path | None) -> Settings:
    """The environment's settings, `--config` on top; logs go to stderr and tell warnings only unless
    HEADRACE_LOG_LEVEL says more."""
    from headrace import logs, settings

    if config is not None and not config.is_dir():
        raise ConfigurationError(f"{config}: there is no such directory; name the one of the definitions")
    loaded = settings.load(**({} if config is None else {"config_dir": config}))
    asked = "log_level" in loaded.model_fields_set
    level = loaded.log_level if asked else "warning"
    # What a command tells is read by a person, through a pipe too, unless somebody asks for JSON.
    log_format = loaded.log_format if "log_format" in loaded.model_fields_set else "console"
    logs.configure(log_format, level=level, quiet={} if asked else _TOLD_BY_COMMANDS)
    logs.keep_secret(*loaded.secrets())
    return loaded


def definitions_of(settings: Settings) -> Definitions:
    """The definitions of the config directory, checked."""
    from headrace.definition.loader import load

    return load(settings.config_dir, os.environ)


@contextmanager
def application(config: Path | None) -> Iterator[Application]:
    """The application for one command; closed when the block ends."""
    with _built(settings_for(config)) as app:
        yield app


@contextmanager
def project(config: Path | None) -> Iterator[tuple[Application, Definitions]]:
    """The application and the definitions of the config directory, which are checked before anything is
    made or connected."""
    from headrace import traces

    settings = settings_for(config)
    definitions = definitions_of(settings)
    with traces.recording("cli"), _built(settings) as app:
        yield app, definitions


def _built(settings: Settings) -> Application:
    from headrace import wiring

    gc.freeze()  # what was imported: nothing looks there for garbage
    return wiring.build(settings, process="cli")


T = TypeVar("T")


def named(known: Mapping[Any, T], id_: str, *, word: str, directory: str) -> T:
    """What has this id, or a fault that names the nearest one that there is.

    Args:
        word: what it is, in the singular: source, model, app.
    """
    if id_ in known:
        return known[id_]
    from headrace.definition.wording import suggestion

    raise ConfigurationError(
        f'there is no {word} "{id_}" in {directory}{suggestion(id_, known)}', code=ErrorCode.NAME_UNKNOWN
    )


def applied_source(app: Application, id_: str) -> None:
    """Raises ConfigurationError for a source that is not applied; it names the nearest one."""
    known = {source: source for source, _ in app.catalogue().plans}
    named(known, id_, word="source", directory="the applied definitions")


@contextmanager
def applied(config: Path | None) -> Iterator[Application]:
    """The application, for a command that needs definitions to have been applied.

    Raises:
        ConfigurationError: nothing was applied yet; says what to run.
    """
    from headrace import traces

    settings = settings_for(config)
    with traces.recording("cli"), _built(settings) as app:
        if app.is_empty() or app.definitions_table.version() == 0:
            raise ConfigurationError(NOTHING_YET, code=ErrorCode.NOTHING_APPLIED)
        yield app


NOTHING_YET = (
    "nothing is applied yet: run `headrace sync` (or `headrace apply`) in the project's directory first"
)


def is_missing(control_url: str) -> bool:
    """A SQLite control database that nobody has made; connecting would make an empty one."""
    path = control_url.partition("?")[0].removeprefix("sqlite:///")
    return control_url.startswith("sqlite:") and not Path(path).exists()
