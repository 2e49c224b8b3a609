"""The customers' API asked without a socket, as a customer's page would ask it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping, Sequence
from typing import Any

from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import ModelId
from headrace.errors import RefusedError
from headrace.web.app import create_app
from headrace.web.auth import EMBED_PATH
from headrace.web.customer_token import CustomerTokens
from headrace.wiring import Application


class EmbedReader:
    """Lists records over `/embed/v1`: gate, token, route and reader are those of a process that serves."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._api = create_app(app)
        self._tokens = CustomerTokens(
            workspace=app.workspace, keys=app.signing_keys, subjects=app.token_subjects
        )

    def records(self, visibility_group: str, provided_id: str, model: ModelId) -> Sequence[str]:
        """The first records that the customer finds, each as JSON.

        Raises:
            RefusedError: the answer was a problem.
        """
        subject = self._app.token_subjects.find(f"provided:{provided_id}", visibility_group=visibility_group)
        token = self._tokens.mint(subject, ttl_s=60).text
        status, body = asyncio.run(self._get(f"{EMBED_PATH}/records/{model}", token))
        if status != 200:
            raise RefusedError(str(body.get("code", Refusal.INTERNAL)), str(body.get("detail", status)))
        return [json.dumps(item) for item in body["items"]]

    async def _get(self, path: str, token: str) -> tuple[int, dict[str, Any]]:
        status, parts = 500, [b""]
        asked = False

        async def receive() -> MutableMapping[str, Any]:
            nonlocal asked
            if asked:
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": headers, "client": ("127.0.0.1", 0), "server": ("localhost", 0),
        }  # fmt: skip
        await self._api(scope, receive, send)
        return status, json.loads(b"".join(parts) or b"{}")
