"""Whoever changed something through this process sees it in their next request to it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.ports.records import CustomerRoutes
from headrace.web.auth import STAFF_PATH

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class FreshRoutes:
    """ASGI: the answer to a request that may have changed routing leaves when all known routes are forgotten.

    By the method and not by what a handler does, so that none can forget it. Other processes see the change
    when they next ask for routing's version.
    """

    def __init__(self, app: ASGIApp, *, routes: CustomerRoutes) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING or not scope["path"].startswith(STAFF_PATH):
            await self._app(scope, receive, send)
            return

        async def after_forgetting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._routes.invalidate()
            await send(message)

        await self._app(scope, receive, after_forgetting)
