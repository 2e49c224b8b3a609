"""What a log line looks like: the only module that knows structlog."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

import structlog
from structlog.typing import EventDict, Processor

from headrace.logs import configured, ids_here, scrubbed


def _with_context(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {**ids_here(), **event}


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


_SHARED: Final[list[Processor]] = [
    _with_context,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_CONFIGURED: Final[list[Processor]] = [*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
_UNCONFIGURED: Final[list[Processor]] = [
    _with_context,
    structlog.processors.format_exc_info,
    scrub,
    structlog.processors.KeyValueRenderer(key_order=["event"]),
]


def tell(logger: logging.Logger, level: int, event: str, values: Mapping[str, Any]) -> None:
    """One line of this logger."""
    processors = _CONFIGURED if configured() else _UNCONFIGURED
    structlog.wrap_logger(
        logger, processors=processors, wrapper_class=structlog.stdlib.BoundLogger, context_class=dict
    ).log(level, event, **values)


def formatter(*, console: bool, colors: bool) -> structlog.stdlib.ProcessorFormatter:
    """Of all lines, those of libraries too."""
    renderer: Processor
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )
    else:
        renderer = structlog.processors.JSONRenderer(default=str)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Before the scrubber: driver errors quote connection strings in their tracebacks.
            structlog.processors.format_exc_info,
            structlog.processors.StackInfoRenderer(),
            scrub,
            renderer,
        ],
    )
