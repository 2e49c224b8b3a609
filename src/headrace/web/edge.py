"""The outermost layer: every error becomes a problem, every answer is measured and marked."""

from __future__ import annotations

import time
from functools import cache
from typing import Any, Final

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace import logs
from headrace.metrics import HTTP_DURATION, HTTP_REQUESTS
from headrace.web.problem import problem_response

log = logs.get(__name__)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADERS: Final = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
"""No answer is of a type that it does not tell, and none is kept by a browser or proxy for another asker."""


class Edge:
    """ASGI: nothing is raised out of it for a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = time.perf_counter()
        status = 0

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, marked)
        except Exception as error:  # noqa: BLE001 (told as a problem, and logged if it is ours)
            response = problem_response(error, instance=scope["path"])
            if status:
                log.warning("an answer broke off", kind=type(error).__name__)
            else:
                await response(scope, receive, marked)
        _measure(scope, status, time.perf_counter() - began_at)


def _measure(scope: Scope, status: int, seconds: float) -> None:
    """Labels are of bounded size: the route's template, never the path that was asked for."""
    route: Any = scope.get("route")
    template = getattr(route, "path", None) or "none"
    method = scope["method"] if scope["method"] in _METHODS else "other"
    requests, duration = _measures(template, method, status)
    requests.inc()
    duration.observe(seconds)


@cache  # finding a metric by its labels costs more than to raise it
def _measures(template: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return (
        HTTP_REQUESTS.labels(route=template, method=method, status=str(status)),
        HTTP_DURATION.labels(route=template, method=method),
    )
