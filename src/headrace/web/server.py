"""The API on a socket, for as long as its process runs."""

from __future__ import annotations

import errno
import socket
import threading
from typing import Final

import uvicorn

from headrace import logs
from headrace.errors import ConfigurationError, Fault, InvariantError
from headrace.process import Process
from headrace.web.app import create_app
from headrace.wiring import Application

log = logs.get(__name__)

_LOOK_EVERY_S: Final = 1.0


def serve(process: Process, application: Application) -> None:
    """The API is served until the process is asked to stop; requests that run then are answered, for at most
    `stop_within_s`.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    settings = process.settings
    application.route_cache.watch()
    with _listening(settings.http_host, settings.http_port) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(application),
                log_config=None,
                access_log=False,  # its lines have queries in them, which name customers
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=int(settings.stop_within_s),
            )
        )
        # In a thread of its own: signals are the process's, and uvicorn takes them in the main thread.
        thread = threading.Thread(target=server.run, args=([listener],), name="http", daemon=True)
        thread.start()
        log.info("the API is served", host=settings.http_host, port=listener.getsockname()[1])
        while thread.is_alive() and not process.stop.wait(_LOOK_EVERY_S):
            process.heartbeat.beat()
        server.should_exit = True
        thread.join()
        if not process.stop.is_set():
            raise InvariantError("the HTTP server ended by itself")


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(_address_fault(host, port, error)) from error


def _address_fault(host: str, port: int, error: OSError) -> Fault:
    if error.errno == errno.EADDRINUSE:
        return Fault("HEADRACE_HTTP_PORT", "", f"port {port} of {host} is taken: set another one")
    why = f"cannot listen on {host} port {port}: {error.strerror or error}"
    return Fault("HEADRACE_HTTP_HOST", "", why)
