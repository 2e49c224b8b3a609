"""The HTTP API: its routers, what stands before them, and its OpenAPI document."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.errors import HeadraceError
from headrace.settings import Settings
from headrace.web import (
    audit,
    customers,
    data_sources,
    embed,
    explain_route,
    health,
    hooks,
    moves,
    preview,
    records,
    schemas,
    sources,
    tokens,
)
from headrace.web.auth import EMBED_PATH, Gate
from headrace.web.customer_token import CustomerTokens
from headrace.web.edge import Edge
from headrace.web.fresh_routes import FreshRoutes
from headrace.web.limits import BodyLimit, RateLimit
from headrace.web.problem import EVERYWHERE, SCHEMA, problem_response, problems
from headrace.wiring import Application

ROUTERS: Final[tuple[APIRouter, ...]] = (
    embed.router,
    records.router,
    tokens.router,
    customers.router,
    moves.router,
    data_sources.router,
    preview.router,
    schemas.router,
    explain_route.router,
    sources.router,
    audit.router,
)
"""Of the API: all behind the gate. The most asked first: FastAPI tries them in order, for some µs each."""


class Api(FastAPI):
    """FastAPI, whose document knows problems."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = dict(SCHEMA)
        return document


def create_app(application: Application) -> FastAPI:
    """The API over this application; asks nothing of any database yet.

    Raises:
        ConfigurationError: a secret of `HEADRACE_TRIGGER_SECRETS` is none.
    """
    settings = application.settings
    api = Api(
        title="Headrace",
        version=version("headrace"),
        summary="Merged records, from the data source that each customer is routed to.",
        # Their pages load scripts from elsewhere; the document is enough for any viewer of one's own.
        docs_url=None,
        redoc_url=None,
    )
    customer_tokens = CustomerTokens(
        workspace=application.workspace, keys=application.signing_keys, subjects=application.token_subjects
    )
    api.state.application = application
    api.state.customer_tokens = customer_tokens
    api.state.hook_secrets = hooks.HookSecrets(hooks.keys_of(settings), _rate(settings))
    for error in (HeadraceError, RequestValidationError, HTTPException):
        api.add_exception_handler(error, _problem)
    for router in ROUTERS:
        api.include_router(router, responses=problems(*EVERYWHERE))
    api.include_router(hooks.router, responses=problems(*EVERYWHERE))
    api.include_router(health.router)
    if settings.metrics_port is None:
        api.include_router(health.metrics_router)
    _stand_before(api, application, customer_tokens)
    return api


def _stand_before(api: FastAPI, application: Application, customer_tokens: CustomerTokens) -> None:
    """The last one added is the first that a request meets."""
    settings = application.settings
    api.add_middleware(FreshRoutes, routes=application.route_cache)
    api.add_middleware(BodyLimit, max_bytes=settings.http_max_body_bytes)
    api.add_middleware(
        Gate,
        tokens=application.tokens,
        customer_tokens=customer_tokens,
        rate=_rate(settings),
        audit=application.audit,
    )
    api.add_middleware(Edge)
    if settings.http_origins:
        api.add_middleware(EmbedOrigins, origins=settings.http_origins)


def _rate(settings: Settings) -> RateLimit:
    return RateLimit(rate=settings.http_rate, burst=settings.http_burst)


class EmbedOrigins:
    """ASGI: pages of these origins may call `/embed/v1`; no page may call anything else.

    Outermost: a page must be able to read refusals too.
    """

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET",),
            allow_headers=("Authorization",),
            expose_headers=("Retry-After",),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        embedded = scope["type"] == "http" and scope["path"].startswith(EMBED_PATH)
        await (self._cors if embedded else self._app)(scope, receive, send)


async def _problem(request: Request, error: Exception) -> Response:
    return problem_response(error, instance=request.url.path)
