"""Those who ask Headrace for something while it runs: triggers as messages and over HTTP, and reads."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import kombu
import redis
from kombu.exceptions import OperationalError

ANSWER_S: Final = 5.0
AWAY: Final = (OSError, OperationalError, redis.RedisError)


@dataclass(slots=True)
class Asking:
    """For one thread. What cannot be delivered now is dropped: a trigger that is lost costs freshness alone.

    Attributes:
        api: a client of `headrace web` with a token of staff.
        done: how many were taken; `dropped`: how many were not.
    """

    events_url: str
    api: httpx.Client
    done: int = 0
    dropped: int = 0
    _connection: kombu.Connection | None = field(default=None)

    @classmethod
    def of(cls, *, events_url: str, web_url: str, token: str) -> Asking:
        headers = {"Authorization": f"Bearer {token}"}
        return cls(events_url, httpx.Client(base_url=web_url, headers=headers, timeout=ANSWER_S))

    def publish(self, message: dict[str, Any]) -> None:
        """A trigger, as docs/triggers.md has it."""
        queue = kombu.Queue("headrace.triggers", kombu.Exchange("headrace.triggers"), "headrace.triggers")
        try:
            if self._connection is None:
                self._connection = kombu.Connection(self.events_url)
            self._connection.Producer().publish(
                message, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue]
            )
            self.done += 1
        except AWAY:
            self.dropped += 1
            self._hang_up()

    def post(self, source: str, body: dict[str, Any] | None = None) -> None:
        """The same over HTTP."""
        try:
            answer = self.api.post(f"/api/v1/sources/{source}/trigger", json=body)
        except httpx.TransportError:
            self.dropped += 1
        else:
            assert answer.status_code in {202, 503}, answer.text
            self.done += answer.status_code == 202
            self.dropped += answer.status_code == 503

    def read(self, model: str, customer: str) -> None:
        """A page of records."""
        try:
            answer = self.api.get(f"/api/v1/records/{model}", params={"customer": f"provided:{customer}"})
        except httpx.TransportError:
            self.dropped += 1
        else:
            assert answer.status_code in {200, 503}, answer.text
            self.done += answer.status_code == 200
            self.dropped += answer.status_code == 503

    def close(self) -> None:
        self.api.close()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(*AWAY):
                self._connection.release()
            self._connection = None
