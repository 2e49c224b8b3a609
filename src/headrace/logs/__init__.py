"""Structured logs on stderr, JSON or console, in which no password and no known secret appears.

Most commands end without a line: structlog, and what it draws tracebacks with, is imported for the first one
that is shown (`lines`).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, TextIO
from urllib.parse import quote, unquote

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
_ids: ContextVar[Mapping[str, str]] = ContextVar("headrace_log_ids", default=MappingProxyType({}))


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


class Logger:
    """Its lines carry the logger's name, its own ids, and those of their context."""

    __slots__ = ("_name", "_own")

    def __init__(self, name: str, own: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._name = name
        self._own = own

    def bind(self, **ids: Any) -> Logger:
        return Logger(self._name, {**self._own, **ids})

    def debug(self, event: str, **values: Any) -> None:
        self._tell(logging.DEBUG, event, values)

    def info(self, event: str, **values: Any) -> None:
        self._tell(logging.INFO, event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._tell(logging.WARNING, event, values)

    def error(self, event: str, **values: Any) -> None:
        self._tell(logging.ERROR, event, values)

    def critical(self, event: str, **values: Any) -> None:
        self._tell(logging.CRITICAL, event, values)

    def exception(self, event: str, **values: Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._tell(logging.ERROR, event, {"exc_info": True, **values})

    def _tell(self, level: int, event: str, values: Mapping[str, Any]) -> None:
        logger = logging.getLogger(self._name)
        if logger.isEnabledFor(level):
            from headrace.logs import lines

            lines.tell(logger, level, event, {**self._own, **values})


class _Lines(logging.Formatter):
    """The form of all lines, made for the first."""

    def __init__(self, *, console: bool, colors: bool) -> None:
        super().__init__()
        self._form = {"console": console, "colors": colors}
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        if self._formatter is None:
            from headrace.logs import lines

            self._formatter = lines.formatter(**self._form)
        return self._formatter.format(record)


def configure(
    log_format: str,
    *,
    level: str = "info",
    stream: TextIO | None = None,
    quiet: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """All logs of this process, those of libraries too, go to `stream` (stderr) in one format.

    Until it is called (a command that prints results, an embedding program) logs are the standard library's:
    warnings on stderr, never a line on stdout.

    Args:
        log_format: json, console, or auto (console where the stream is a terminal).
        level: debug, info, warning or error.
        quiet: loggers of which lines of this level (of `logging`) or higher are not shown: the caller tells
            what they say.
    """
    out = sys.stderr if stream is None else stream
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.addFilter(lambda record: record.levelno < quiet.get(record.name, logging.CRITICAL + 1))
    handler.setFormatter(_Lines(console=console, colors=console and out.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def configured() -> bool:
    """Whether lines go where `configure` said."""
    return any(isinstance(handler.formatter, _Lines) for handler in logging.getLogger().handlers)


def get(name: str) -> Logger:
    """A logger; `.bind(run=…, feed=…)` gives one that carries ids."""
    return Logger(name)


@contextmanager
def context(**ids: str) -> Iterator[None]:
    """Until the context is left, every line of this thread carries these ids (see `CONTEXT_IDS`)."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def ids_here() -> Mapping[str, str]:
    """The ids of the context."""
    return _ids.get()
