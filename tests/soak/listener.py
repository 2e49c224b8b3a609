"""A consumer of record events that loses none, whatever becomes of Redis or of itself."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import kombu
import redis

EXCHANGE: Final = "headrace.records"
QUEUE: Final = "soak"
AT_ONCE: Final = 500
PAUSE_S: Final = 0.2

Place = tuple[str, str, int]
"""Model, customer and key of a record."""


@dataclass(slots=True)
class Listener:
    """Reads the end of the list before it cuts it off: kombu's own consumer pops, and what is popped while
    the connection breaks is lost to it. Keeps a copy of the records by events alone.

    Attributes:
        told: data source, model and number of each event.
        disorder: events that came for the first time after a later one of their record.
    """

    url: str
    told: set[tuple[str, str, int]] = field(default_factory=set)
    copy: dict[Place, dict[str, Any]] = field(default_factory=dict)
    duplicates: int = 0
    disorder: list[str] = field(default_factory=list)
    _last: dict[tuple[str, str], int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _errors: list[BaseException] = field(default_factory=list)

    def bind(self) -> None:
        """From now on events of the exchange come."""
        queue = kombu.Queue(QUEUE, kombu.Exchange(EXCHANGE, type="topic"), routing_key="#")
        with kombu.Connection(self.url) as connection:
            queue(connection.default_channel).declare()

    @contextmanager
    def listening(self) -> Iterator[None]:
        thread = threading.Thread(target=self._listen, name="listener")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _listen(self) -> None:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=5) as client:
                while not self._stop.is_set():
                    try:
                        taken = self._take(client)
                    except redis.RedisError:
                        taken = 0
                    if not taken:
                        self._stop.wait(PAUSE_S)
        except BaseException as error:  # noqa: BLE001 - raised again by listening()
            self._errors.append(error)

    def _take(self, client: redis.Redis) -> int:
        """How many messages there were."""
        messages: Any = client.lrange(QUEUE, -AT_ONCE, -1)
        for message in reversed(messages):
            self.take(json.loads(base64.b64decode(json.loads(message)["body"])))
        if messages:
            client.ltrim(QUEUE, 0, -len(messages) - 1)
        return len(messages)

    def take(self, event: dict[str, Any]) -> None:
        data, number = event["data"], int(event["sequence"])
        data_source = event["source"].rpartition("/")[2]
        told = (data_source, data["model"], number)
        if told in self.told:
            self.duplicates += 1
            return
        self.told.add(told)
        record = (data_source, event["subject"])
        if self._last.get(record, 0) >= number:
            self.disorder.append(f"{record}: {number} after {self._last[record]}")
        self._last[record] = number
        place = (data["model"], data["customer"], data["key"]["id"])
        if data["record"] is None:
            self.copy.pop(place, None)
        else:
            self.copy[place] = data["record"]
