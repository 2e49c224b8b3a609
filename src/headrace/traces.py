"""Traces of OpenTelemetry: where the environment asks for them, and nothing, at no cost, elsewhere.

The only module that knows OpenTelemetry, which is an extra (`headrace[otel]`) and imported only when traces
are on. A trace goes from one process to the next as text (W3C Trace Context, `traceparent`): in the options
of broker messages, and in the journal's batches. It is a hint: what loses it loses the join of two spans.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from headrace import logs
from headrace.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanContext, Tracer

Attribute = str | bool | int | float

_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"
_MOST_LINKS: Final = 32
_END_WITHIN_S: Final = 2.0
_NOTHING: Final = nullcontext()

_tracer: Tracer | None = None


def is_on() -> bool:
    """This process records traces."""
    return _tracer is not None


@contextmanager
def recording(process: str) -> Iterator[None]:
    """While the context is open, spans of this process are sent where the environment (OTEL_*) says, if it
    says so; at its end those that wait are sent.

    Raises:
        ConfigurationError: it asks for what is not there.
    """
    global _tracer  # noqa: PLW0603 (of the process, as its logs and metrics are)
    exporter = _exporter(os.environ)
    if exporter is None:
        yield
        return
    with _tracing(process, exporter) as _tracer:
        try:
            yield
        finally:
            _tracer = None


def span(
    name: str, *, parent: str | None = None, links: Iterable[str | None] = (), **attributes: Attribute
) -> AbstractContextManager[object]:
    """While the context is open, a span of this name is the current one of this thread, and the log's lines
    have its trace's id. An error that leaves the context is noted.

    Args:
        parent: the `traceparent` that it goes on from; None: the current span, or a trace of its own.
        links: the `traceparent` of others that it has to do with; those of its own trace are left out.
        attributes: sent as `headrace.<name>`; never a key, never a value of a row.
    """
    return _NOTHING if _tracer is None else _Open(_tracer, name, parent, tuple(links), attributes)()


def continued(traceparent: object) -> AbstractContextManager[object]:
    """While the context is open, what this thread does goes on from there; from nowhere if it is none."""
    if _tracer is None or not isinstance(traceparent, str):
        return _NOTHING
    from opentelemetry.trace import use_span

    return use_span(_remote(traceparent))


def carried() -> str | None:
    """The `traceparent` of the current span, for whoever goes on from it; None: there is none."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    return _text(context) if context.is_valid else None


def failed(error: BaseException) -> None:
    """The current span has failed, though its error goes no further. Only its kind is told: its text may
    have values of rows, and the log has it, scrubbed."""
    if _tracer is None:
        return
    from opentelemetry.trace import Status, StatusCode, get_current_span

    get_current_span().set_status(Status(StatusCode.ERROR, type(error).__name__))


def note(**attributes: Attribute) -> None:
    """The current span has these attributes too (see `span`)."""
    if _tracer is None:
        return
    from opentelemetry.trace import get_current_span

    get_current_span().set_attributes(_named(attributes))


@dataclass(frozen=True, slots=True)
class _Open:
    tracer: Tracer
    name: str
    parent: str | None
    links: tuple[str | None, ...]
    attributes: Mapping[str, Attribute]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        from opentelemetry.trace import Link, set_span_in_context

        parent = None if self.parent is None else _remote(self.parent)
        opened = self.tracer.start_as_current_span(
            self.name,
            context=None if parent is None else set_span_in_context(parent),
            links=[Link(context) for context in self._linked(parent)],
            attributes=_named(self.attributes),
            record_exception=False,  # see `failed`
            set_status_on_exception=False,
        )
        with opened as current, logs.context(trace=f"{current.get_span_context().trace_id:032x}"):
            try:
                yield
            except BaseException as error:
                failed(error)
                raise

    def _linked(self, parent: Span | None) -> list[SpanContext]:
        """One of each other trace, the first ones."""
        seen = set() if parent is None else {parent.get_span_context().trace_id}
        found = []
        for text in dict.fromkeys(self.links):
            context = None if text is None else _remote(text).get_span_context()
            if context is not None and context.is_valid and context.trace_id not in seen:
                seen.add(context.trace_id)
                found.append(context)
        return found[:_MOST_LINKS]


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {f"headrace.{name}": value for name, value in attributes.items()}


def _text(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _remote(traceparent: str) -> Span:
    """The span that a text names, an invalid one if it names none."""
    from opentelemetry.context import Context
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    return get_current_span(propagator.extract({"traceparent": traceparent}, context=Context()))


# --- where spans go -------------------------------------------------------------------------------


def _exporter(environ: Mapping[str, str]) -> SpanExporter | None:
    """What sends spans as the environment says; None: it wants none."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    implied = "otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none"
    match environ.get(_EXPORTER, "") or implied:
        case "none":
            return None
        case "otlp":
            _refuse_other_protocol(environ)
            return _made(_otlp)
        case "console":
            return _made(_console)
    raise ConfigurationError(Fault(_EXPORTER, "", "must be otlp, console or none"))


def _refuse_other_protocol(environ: Mapping[str, str]) -> None:
    for name in _PROTOCOLS:
        if environ.get(name, "") not in {"", _PROTOCOL}:
            raise ConfigurationError(Fault(name, "", f"only {_PROTOCOL} is spoken: set it so, or not at all"))


def _made(make: Callable[[], SpanExporter]) -> SpanExporter:
    try:
        return make()
    except ImportError as error:
        why = "traces need OpenTelemetry: pip install 'headrace[otel]', or unset it"
        raise ConfigurationError(Fault("OTEL_*", "", why)) from error


def _otlp() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _console() -> SpanExporter:
    import sys

    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    return ConsoleSpanExporter(out=sys.stderr)


def _given_attributes() -> str:
    return os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")


@contextmanager
def _tracing(process: str, exporter: SpanExporter) -> Iterator[Tracer]:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    here = {
        "service.namespace": "headrace",
        "service.version": version("headrace"),
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
    }
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in _given_attributes():
        here["service.name"] = f"headrace-{process}"
    # Of our own, not the global one: an application that embeds Headrace keeps its.
    provider = TracerProvider(resource=Resource.create(here), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider.get_tracer("headrace", version("headrace"))
    finally:
        _end(provider.shutdown, exporter)


def _end(shutdown: Callable[[], None], exporter: SpanExporter) -> None:
    """What waits is sent, if it can be in time: a collector that is away would be tried for ten seconds."""
    ending = threading.Thread(target=shutdown, name="traces end", daemon=True)
    ending.start()
    ending.join(_END_WITHIN_S)
    if ending.is_alive():
        exporter.shutdown()
