"""What every process of the Procfile does: settings, logs, signals, `/metrics`, an orderly end."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from headrace import logs, memory, observe, settings, traces
from headrace.errors import ConfigurationError, HeadraceError, RetryableError
from headrace.settings import Settings

log = logs.get(__name__)

DONE: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 2

_GRACE_S: Final = 5.0
_RETRY_EVERY_S: Final = 1.0
_MEMORY_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Process:
    """A running process: `stop` is set when it was asked to end, `heartbeat` is what `/healthz` reads,
    `readiness` what `/readyz` asks, `metrics_port` is where they are served (0: they are not)."""

    name: str
    settings: Settings
    stop: threading.Event = field(default_factory=threading.Event)
    heartbeat: observe.Heartbeat = field(default_factory=observe.Heartbeat)
    readiness: observe.Readiness = field(default_factory=observe.Readiness)
    metrics_port: int = 0
    retiring: threading.Lock = field(default_factory=threading.Lock)

    def waits_for(self, *required: Callable[[], object]) -> bool:
        """What each of these asks for is there (True), or the process was asked to stop meanwhile (False).

        Errors: `ConfigurationError`, and whatever else is not helped by waiting.
        """
        told = False
        while not self.stop.is_set():
            self.heartbeat.beat()
            try:
                for require in required:
                    require()
            except RetryableError as error:
                if not told:
                    log.warning("process waits", process=self.name, code=error.code, error=str(error))
                told = True
                self.stop.wait(_RETRY_EVERY_S)
            else:
                return True
        return False

    def retire(self, **why: int) -> None:
        """The process stops as on SIGTERM: it asks its supervisor for another. Says why, once."""
        if not self.stop.is_set() and self.retiring.acquire(blocking=False):
            log.info("process asks to be replaced", process=self.name, **why)
            os.kill(os.getpid(), signal.SIGTERM)


def run(name: str, body: Callable[[Process], None]) -> int:
    """As `supervised`, with `/metrics`, `/healthz` and `/readyz` on an address of their own."""

    def observed(process: Process) -> None:
        settings = process.settings
        port = settings.metrics_port_of(name)
        serving = observe.serving(settings.metrics_host, port, process.heartbeat, readiness=process.readiness)
        with serving as served:
            body(replace(process, metrics_port=served))

    return supervised(name, observed)


def supervised(name: str, body: Callable[[Process], None]) -> int:
    """Runs `body` until it returns, which it does soon after `stop` is set; gives the exit code.

    SIGTERM and SIGINT set `stop`. When the body has not returned `stop_within_s` and a little after
    that, or a second signal comes, the process exits at once, with 0: it may be killed at any time
    by design, so nothing is lost.
    """
    try:
        loaded = settings.load()
        logs.configure(loaded.log_format, level=loaded.log_level)
        logs.keep_secret(*loaded.secrets())
        process = Process(name, loaded)
        with _signals(process), _memory_watched(process), traces.recording(name):
            log.info("process started", process=name, pid=os.getpid())
            body(process)
            log.info("process ended", process=name)
    except ConfigurationError as error:
        for line in error.lines:
            print(logs.scrubbed(line), file=sys.stderr)  # noqa: T201 (for a person, before any log)
        return MISCONFIGURED
    except HeadraceError as error:
        log.critical(
            "process failed", process=name, kind=type(error).__name__, code=error.code, error=str(error)
        )
        return FAILED
    except Exception:
        log.critical("process failed with a bug", process=name, exc_info=True)
        return FAILED
    return DONE


@contextmanager
def _signals(process: Process) -> Iterator[None]:
    # A handler that set the event itself could deadlock: it runs in the main thread, which may hold
    # the event's lock. So signals only wake a thread that does it.
    listener, waker = socket.socketpair()
    waker.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    woken_before = signal.set_wakeup_fd(waker.fileno())
    thread = threading.Thread(target=_obey, args=(process, listener), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        waker.close()
        thread.join()
        listener.close()


def _obey(process: Process, listener: socket.socket) -> None:
    """The first signal asks the process to stop; a second one, or too long a wait, ends it."""
    if not listener.recv(1):
        return
    process.stop.set()
    listener.settimeout(process.settings.stop_within_s + _GRACE_S)
    with suppress(TimeoutError):
        if not listener.recv(1):
            return
    _exit_now()


@contextmanager
def _memory_watched(process: Process) -> Iterator[None]:
    """While the context is open the process retires when it holds more than `max_rss_mib`."""
    limit_mib = process.settings.max_rss_mib
    ended = threading.Event()

    def look(limit_mib: int) -> None:
        while not ended.wait(_MEMORY_EVERY_S):
            if (rss_mib := memory.resident_mib()) > limit_mib:
                process.retire(rss_mib=rss_mib, max_rss_mib=limit_mib)

    if limit_mib is not None:
        threading.Thread(target=look, args=(limit_mib,), name="memory", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _exit_now() -> None:
    """Not `sys.exit`: that would wait for threads, or finalise the interpreter under their feet."""
    sys.stderr.flush()
    os._exit(DONE)


@contextmanager
def beside(process: Process, body: Callable[[], None], *, name: str) -> Iterator[None]:
    """While the context is open, the body runs in a thread, until `process.stop` is set; when it fails the
    process is asked to stop, and its error comes out of the context."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            body()
        except Exception as error:  # noqa: BLE001 (raised again below)
            failed.append(error)
            process.stop.set()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        process.stop.set()
        thread.join(process.settings.stop_within_s)
    if failed:
        raise failed[0]


def leave_running_work() -> None:
    """Ends the process though threads still work; what they do is safe to cut off."""
    log.warning("work was still running at the end; it will be repeated")
    _exit_now()
