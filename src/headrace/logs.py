"""Structured logs on stderr, JSON or console, in which no password and no known secret appears."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Final, TextIO, cast
from urllib.parse import quote, unquote

import structlog
from structlog.typing import EventDict, Processor

MASK: Final = "***"
CONTEXT_IDS: Final = ("run", "feed", "batch", "source", "model", "data_source", "trace")
"""The ids by which log lines are found; bind them with `context` or `get(...).bind`."""

_SHORTEST_SECRET: Final = 4  # masking shorter ones would only garble lines, and tell their place
_URL_PASSWORD = re.compile(r"(://[^:/?#\s@]*):[^\s]*@")
_NAMED_PASSWORD = re.compile(r"(?i)\b(password|passwd|pwd)=[^\s&;]+")
_QUIET: Final = {
    "pika": logging.CRITICAL,  # each lost connection is five errors there and one of ours
    "dramatiq": logging.WARNING,
    "dramatiq.broker": logging.ERROR,
    "alembic": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "opentelemetry": logging.ERROR,  # each retry is a warning
    "uvicorn": logging.WARNING,
}

_secrets: set[str] = set()


def keep_secret(*values: str) -> None:
    """From now on these values, plain or as part of a URL, are masked in every line of this process.

    Values shorter than four characters are not masked.
    """
    for value in values:
        _secrets.update(
            form for form in (value, quote(value, safe=""), unquote(value)) if len(form) >= _SHORTEST_SECRET
        )


def scrubbed(text: str) -> str:
    """The text without passwords of URLs and DSNs, and without known secrets."""
    # Longest first: one secret may be part of another.
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _NAMED_PASSWORD.sub(rf"\1={MASK}", text)


def scrub(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: the whole event scrubbed, nested values too."""
    return cast("EventDict", _scrubbed_value(event))


def _scrubbed_value(value: Any) -> Any:
    match value:
        case str():
            return scrubbed(value)
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {key: _scrubbed_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_scrubbed_value(item) for item in value]
        case _:
            return scrubbed(str(value))


def configure(
    log_format: str,
    *,
    level: str = "info",
    stream: TextIO | None = None,
    quiet: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """All logs of this process, those of libraries too, go to `stream` (stderr) in one format.

    Args:
        log_format: json, console, or auto (console where the stream is a terminal).
        level: debug, info, warning or error.
        quiet: loggers of which lines of this level (of `logging`) or higher are not shown: the caller tells
            what they say.
    """
    out = sys.stderr if stream is None else stream
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.addFilter(lambda record: record.levelno < quiet.get(record.name, logging.CRITICAL + 1))
    handler.setFormatter(_formatter(shared, console=console, colors=console and out.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def _formatter(
    shared: list[Processor], *, console: bool, colors: bool
) -> structlog.stdlib.ProcessorFormatter:
    renderer: Processor
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )
    else:
        renderer = structlog.processors.JSONRenderer(default=str)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Before the scrubber: driver errors quote connection strings in their tracebacks.
            structlog.processors.format_exc_info,
            structlog.processors.StackInfoRenderer(),
            scrub,
            renderer,
        ],
    )


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; `.bind(run=…, feed=…)` gives one that carries ids."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def context(**ids: str) -> AbstractContextManager[None]:
    """Until the context is left, every line of this thread carries these ids (see `CONTEXT_IDS`)."""
    return structlog.contextvars.bound_contextvars(**ids)


# Until `configure` is called (a command that prints results, an embedding program) logs are the
# standard library's: warnings on stderr, never a line on stdout. structlog's own default is stdout.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.processors.format_exc_info,
        scrub,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
