"""Triggers of those without an API token: signed with a secret that they share with this installation.

No gate stands before these routes. Who signed is known when the body has come, so each handler asks
`HookSecrets` first; what headers alone can tell is told before anything of the body is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, cast

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request

from headrace import traces
from headrace.domain.refusal import Refusal
from headrace.domain.trigger import TriggerRequest, parsed
from headrace.domain.webhook_signature import ID, SIGNATURE, TIMESTAMP, Signature, key_of
from headrace.errors import ConfigurationError, Fault, RefusedError
from headrace.settings import Settings
from headrace.steps.trigger import Asker
from headrace.web.context import App
from headrace.web.limits import RateLimit
from headrace.web.problem import problems
from headrace.web.sources import Triggered, of_path

HOOKS_PATH: Final = "/hooks/v1"
VARIABLE: Final = "HEADRACE_TRIGGER_SECRETS"
BY_WEBHOOK: Final = Asker(by="webhook")

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "description": "What is signed, byte for byte; none reads all that has changed.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TriggerRequest"}}},
    },
}
_Signed = Annotated[
    str | None, Header(max_length=4096, description="Standard Webhooks: see docs/triggers.md.")
]

router = APIRouter(prefix=HOOKS_PATH, tags=["sources"])


class HookSecrets:
    """Who may send signed triggers to this process, and how many."""

    def __init__(
        self, keys: Sequence[bytes], rate: RateLimit, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._keys = tuple(keys)
        self._rate = rate
        self._now_s = now_s

    def signature(self, headers: Mapping[str, str | None]) -> Signature:
        """What the headers say, while nothing of the body is read.

        Raises:
            RefusedError: nobody may send any (NOT_FOUND); see `Signature.of`.
        """
        if not self._keys:
            raise RefusedError(Refusal.NOT_FOUND, f"no signed triggers are taken here: {VARIABLE} is not set")
        return Signature.of(headers, now_s=self._now_s())

    def check(self, signature: Signature, body: bytes, source: str) -> None:
        """
        Raises:
            RefusedError: see `Signature.check`; or this source is triggered too often (TOO_MANY).
        """
        signature.check(self._keys, body)
        self._rate.take(source)


def keys_of(settings: Settings) -> tuple[bytes, ...]:
    """The keys of the secrets of the setting.

    Raises:
        ConfigurationError: one of them is none; it is not shown.
    """
    found = [key_of(secret.get_secret_value()) for secret in settings.trigger_secrets]
    unfit = [str(place) for place, key in enumerate(found, 1) if key is None]
    if unfit:
        why = "is no signing secret: whsec_ and 24 to 64 bytes in base64 are needed (openssl rand -base64 32)"
        raise ConfigurationError(Fault(VARIABLE, "", f"number {', '.join(unfit)} {why}"))
    return tuple(key for key in found if key is not None)


@router.post(
    "/sources/{source}/trigger",
    summary="Ask for a source to be read now, by a signed request",
    status_code=202,
    responses=problems(Refusal.SOURCE_PAUSED),
    openapi_extra=_BODY,
)
async def trigger(
    app: App,
    request: Request,
    source: str,
    webhook_id: _Signed = None,
    webhook_timestamp: _Signed = None,
    webhook_signature: _Signed = None,
    traceparent: Annotated[
        str | None, Header(max_length=100, description="A trace to go on from (W3C Trace Context).")
    ] = None,
) -> Triggered:
    """As `POST /api/v1/sources/{source}/trigger`, of any visibility group. `source` in the body binds the
    signature to the source."""
    secrets = cast("HookSecrets", request.app.state.hook_secrets)
    signature = secrets.signature(
        {ID: webhook_id, TIMESTAMP: webhook_timestamp, SIGNATURE: webhook_signature}
    )
    body = await request.body()
    secrets.check(signature, body, source)
    asked = of_path(parsed(body, TriggerRequest) if body else TriggerRequest(), source)

    def ask() -> Triggered:
        with traces.span("trigger", parent=traceparent, source=source):
            return Triggered.of(app.triggering.ask(asked, BY_WEBHOOK).ask)

    return await run_sync(ask)
