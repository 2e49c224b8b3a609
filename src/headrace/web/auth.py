"""Who asks. One gate before all routes: what is under `/api/v1` needs an API token, what is under
`/embed/v1` a customer's token, whether there is such a route or not.

The gate looks before the body is read and before the path is matched. A handler that is reached past it finds
nobody in its request, and is refused: a forgotten gate closes.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Final, cast

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer as BearerModel
from fastapi.security.base import SecurityBase
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.control.audit import BY_TOKEN, REFUSED, AuditLine, SqlAudit
from headrace.control.remembered import Remembered
from headrace.control.tokens import SqlTokens, StaffToken
from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError
from headrace.web.customer_token import READ_RECORDS, CustomerContext, CustomerTokens
from headrace.web.limits import RateLimit

STAFF_PATH: Final = "/api/v1"
EMBED_PATH: Final = "/embed/v1"
CUSTOMER_SCHEME: Final = "CustomerToken"
_READING: Final = frozenset({"GET", "HEAD"})
_STAFF: Final = "headrace.staff"
_CUSTOMER: Final = "headrace.customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffContext:
    """Whoever holds an API token: everything it asks for is confined to `visibility_group`.

    Attributes:
        actor: as the audit names it.
    """

    token_id: str
    visibility_group: str
    may_write: bool
    actor: str


@dataclass(frozen=True, slots=True)
class Gate:
    """ASGI: requests under `STAFF_PATH` and `EMBED_PATH` pass with the asker in their scope.

    Errors: `RefusedError`: UNAUTHENTICATED, FORBIDDEN for a change by a token that only reads, TOO_MANY.
    """

    app: ASGIApp
    _: KW_ONLY
    tokens: SqlTokens
    customer_tokens: CustomerTokens
    rate: RateLimit
    audit: SqlAudit
    _told: Remembered[str, bool] = field(default_factory=lambda: Remembered(for_s=60.0))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if "\0" in path or b"%00" in scope["query_string"]:
                # No id or text has one, and PostgreSQL takes none.
                raise RefusedError(Refusal.INVALID, "a NUL character stands in the path or its query")
            if path.startswith(STAFF_PATH):
                scope[_STAFF] = await self._staff(scope)
            elif path.startswith(EMBED_PATH):
                scope[_CUSTOMER] = await self._customer(scope)
        await self.app(scope, receive, send)

    async def _staff(self, scope: Scope) -> StaffContext:
        text = _bearer(scope)
        # Known ones wait for no thread.
        token = self.tokens.known(text)
        if token is None:
            token = await run_sync(self.tokens.authenticate, text)
        if token is None:
            await run_sync(self._tell_refused, text)
            raise RefusedError(
                Refusal.UNAUTHENTICATED, "a valid API token is needed: `headrace tokens create` makes one"
            )
        self.rate.take(token.id)
        if not token.may_write and scope["method"] not in _READING:
            raise RefusedError(
                Refusal.FORBIDDEN, "this token only reads: a change needs one made with --write"
            )
        return _staff_context(token)

    def _tell_refused(self, text: str) -> None:
        """A token that exists was revoked, or somebody tries its id with another secret: the audit has a line
        of it, at most one a minute from this process, so that nobody can fill it."""
        named = self.tokens.named_by(text)
        if named is None or self._told.known(named.id):
            return
        self._told.get(named.id, lambda: True)
        detail = {"code": Refusal.UNAUTHENTICATED.value, "revoked": named.revoked_at is not None}
        line = AuditLine(
            actor=f"{BY_TOKEN}{named.id}",
            action="authenticate",
            outcome=REFUSED,
            visibility_group=named.visibility_group,
            detail=detail,
        )
        self.audit.append(line)

    async def _customer(self, scope: Scope) -> CustomerContext:
        text = _bearer(scope)
        context = self.customer_tokens.known(text)
        if context is None:
            context = await run_sync(self.customer_tokens.verify, text)
        self.rate.take(context.customer_id)
        return context


def _staff_context(token: StaffToken) -> StaffContext:
    return StaffContext(
        token_id=token.id,
        visibility_group=token.visibility_group,
        may_write=token.may_write,
        actor=f"{BY_TOKEN}{token.id}",
    )


def _bearer(scope: Scope) -> str:
    """The token of the one Authorization header; two of them are none."""
    headers = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, text = headers[0].decode("latin-1").partition(" ") if len(headers) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not text.strip():
        raise RefusedError(Refusal.UNAUTHENTICATED, "an Authorization header is needed: Bearer and a token")
    return text.strip()


class _StaffBearer(SecurityBase):
    """The asker that the gate let through; in the OpenAPI document, the scheme `ApiToken`."""

    scheme_name = "ApiToken"
    model = BearerModel(description="An API token of a visibility group: `headrace tokens create`.")

    async def __call__(self, request: Request) -> StaffContext:
        staff = request.scope.get(_STAFF)
        if staff is None:
            raise RefusedError(Refusal.UNAUTHENTICATED, "a valid API token is needed")
        return cast("StaffContext", staff)


class _StaffWriterBearer(_StaffBearer):
    async def __call__(self, request: Request) -> StaffContext:
        staff = await super().__call__(request)
        if not staff.may_write:
            raise RefusedError(
                Refusal.FORBIDDEN, "this token only reads: a change needs one made with --write"
            )
        return staff


def customer_of(request: Request) -> CustomerContext:
    """The customer that the gate let through, who may read records."""
    customer = request.scope.get(_CUSTOMER)
    if customer is None:
        raise RefusedError(Refusal.UNAUTHENTICATED, "a valid customer token is needed")
    context = cast("CustomerContext", customer)
    if READ_RECORDS not in context.scopes:
        raise RefusedError(Refusal.FORBIDDEN, f"the token lacks the scope {READ_RECORDS}")
    return context


class _CustomerBearer(SecurityBase):
    """As `customer_of`; in the OpenAPI document, the scheme `CustomerToken`."""

    scheme_name = CUSTOMER_SCHEME
    model = BearerModel(bearerFormat="JWT", description="A customer's token, minted by the staff's backend.")

    async def __call__(self, request: Request) -> CustomerContext:
        return customer_of(request)


async def _not_a_browser(request: Request) -> None:
    """Raises RefusedError (FORBIDDEN) for a browser's request: an API token does not belong there."""
    if "origin" in request.headers or "sec-fetch-mode" in request.headers:
        raise RefusedError(
            Refusal.FORBIDDEN,
            "a browser gets no customer token from here: let your backend ask, and pass it on",
        )


Staff = Annotated[StaffContext, Depends(_StaffBearer())]
StaffWriter = Annotated[StaffContext, Depends(_StaffWriterBearer())]
Customer = Annotated[CustomerContext, Depends(_CustomerBearer())]
NotABrowser = Depends(_not_a_browser)
"""For `dependencies=[...]` of operations whose answer has a customer's token."""
