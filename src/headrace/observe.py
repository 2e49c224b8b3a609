"""A process's `/metrics`, `/healthz` and `/readyz` over HTTP."""

from __future__ import annotations

import errno
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from headrace import logs
from headrace.errors import ConfigurationError, Fault, HeadraceError
from headrace.metrics import REGISTRY

log = logs.get(__name__)

HEALTHY_WITHIN_S: Final = 60.0
_CLIENT_TIMEOUT_S: Final = 10.0


class Heartbeat:
    """Remembers when the process's loop last ticked. Shared between threads."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._beat_at = monotonic()

    def beat(self) -> None:
        self._beat_at = self._monotonic()

    def age_s(self) -> float:
        return self._monotonic() - self._beat_at


class Readiness:
    """What a process needs of others to work: asked when somebody wants to know. Shared between threads."""

    def __init__(self) -> None:
        self._needs: tuple[Callable[[], Iterable[str] | None], ...] = ()

    def needs(self, *needs: Callable[[], Iterable[str] | None]) -> None:
        """From now on the process is ready when each of these finds nothing.

        Args:
            needs: each gives what is in the way (nothing, or None, when all is well), or raises the
                `HeadraceError` that says so. They are called from any thread, several at a time.
        """
        self._needs = needs

    def problems(self) -> list[str]:
        """What is in the way, for a person; empty when the process is ready."""
        if not self._needs:
            return ["the process is starting"]
        return [logs.scrubbed(problem) for need in self._needs for problem in _found(need)]


def _found(need: Callable[[], Iterable[str] | None]) -> Iterable[str]:
    try:
        return need() or ()
    except HeadraceError as error:
        return str(error).splitlines()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        registry: CollectorRegistry,
        heartbeat: Heartbeat,
        readiness: Readiness,
    ) -> None:
        self.registry = registry
        self.heartbeat = heartbeat
        self.readiness = readiness
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's own: it asks the DNS for the host's name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        match self.path.split("?", 1)[0]:
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, content_type, encode(self.server.registry))
            case "/healthz":
                age_s = self.server.heartbeat.age_s()
                stuck = age_s > HEALTHY_WITHIN_S
                self._answer_well([f"the loop has not ticked for {age_s:.0f} s"] if stuck else [])
            case "/readyz":
                self._answer_well(self.server.readiness.problems())
            case _:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"not here: /metrics, /healthz, /readyz\n")

    def _answer_well(self, problems: list[str]) -> None:
        """All is well, or these are in the way, a line each."""
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        lines = "".join(f"{line}\n" for line in problems or ["ok"])
        self._answer(status, "text/plain; charset=utf-8", lines.encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        log.debug("http request", detail=format % args)


@contextmanager
def serving(
    host: str,
    port: int,
    heartbeat: Heartbeat,
    *,
    readiness: Readiness | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> Iterator[int]:
    """While the context is open, `/metrics`, `/healthz` and `/readyz` are served; gives the port (for 0: a
    free one).

    Errors: `ConfigurationError` when the address cannot be had.
    """
    try:
        server = _Server((host, port), registry, heartbeat, readiness or Readiness())
    except OSError as error:
        raise ConfigurationError(_address_fault(host, port, error)) from error
    thread = threading.Thread(target=server.serve_forever, name="observe", args=(0.1,), daemon=True)
    thread.start()
    log.info("metrics are served", host=host, port=server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _address_fault(host: str, port: int, error: OSError) -> Fault:
    if error.errno == errno.EADDRINUSE:
        why = f"port {port} of {host} is taken; set another one, or 0 for any free one"
        return Fault("HEADRACE_METRICS_PORT", "", why)
    why = f"cannot listen on {host} port {port}: {error.strerror or error}"
    return Fault("HEADRACE_METRICS_HOST", "", why)
