"""How much a request may send, and how many requests a token may make."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

_MOST_BUCKETS: Final = 100_000
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyLimit:
    """ASGI: a body of more than `max_bytes` is refused, by its announced length or when as many have come.

    Errors: `RefusedError` (TOO_LARGE), out of the application's reading of the body in the second case.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _may_have_body(scope):
            await self._app(scope, receive, send)
            return
        if _announced_bytes(scope) > self._max_bytes:
            raise self._too_large()
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> RefusedError:
        return RefusedError(
            Refusal.TOO_LARGE, f"the body is bigger than {self._max_bytes} bytes", max_bytes=self._max_bytes
        )


def _may_have_body(scope: Scope) -> bool:
    """A GET that has one all the same is read by nobody."""
    return scope["method"] not in _BODILESS


def _announced_bytes(scope: Scope) -> int:
    """0 when the length is not told, or is no number: the server that passed it on counts what comes."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(length) if length.isdigit() else 0


class RateLimit:
    """A bucket of tokens for each key: `burst` requests at once, then `rate` in a second. Thread-safe.

    It counts what this process serves: with several processes each has a share of a client's requests.
    """

    def __init__(self, *, rate: float, burst: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._monotonic = monotonic
        self._buckets: dict[Hashable, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> None:
        """One request more of this key.

        Raises:
            RefusedError: it has made too many (TOO_MANY); says after how many seconds it may ask again.
        """
        if not self._rate:
            return
        now = self._monotonic()
        with self._lock:
            if len(self._buckets) >= _MOST_BUCKETS and key not in self._buckets:
                self._forget_full(now)
            left, at = self._buckets.get(key, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._rate)
            self._buckets[key] = (left - 1.0 if left >= 1.0 else left, now)
        if left < 1.0:
            wait_s = math.ceil((1.0 - left) / self._rate)
            raise RefusedError(
                Refusal.TOO_MANY,
                f"at most {self._rate:g} requests a second: try again in {wait_s} s",
                retry_after_s=wait_s,
            )

    def _forget_full(self, now: float) -> None:
        """A full bucket says no more than none."""
        full_after_s = self._burst / self._rate
        self._buckets = {k: (left, at) for k, (left, at) in self._buckets.items() if now - at < full_after_s}
