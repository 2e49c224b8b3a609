# mypy: disable-error-code="no-untyped-call,misc"
"""kombu's Redis transport, made to take what others push: it trusts that every item of a list is an envelope
of its own, and one that is not (a plain JSON text, a foreign library's) ends the consumer and is lost."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from typing import Any

import redis
from kombu.transport.redis import Channel, Transport


class _Client(redis.Redis):
    """What it pops is an envelope, whatever was pushed."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        reply = super().parse_response(connection, command_name, **options)
        if command_name != "BRPOP" or not reply:
            return reply
        queue, item = reply
        return queue, item if is_envelope(item) else enveloped(item)


class _Channel(Channel):
    def _get_client(self) -> type[redis.Redis]:
        return _Client

    def close(self) -> None:
        """No connection is left. kombu closes its own, and then gives back what was not acknowledged: over a
        new one, which it forgets."""
        try:
            super().close()
        finally:
            self._disconnect_pools()


class PlainTransport(Transport):
    Channel = _Channel


def is_envelope(item: bytes) -> bool:
    """kombu can open it: JSON with the fields that it reads, and a body that can be decoded."""
    try:
        envelope = json.loads(item)
        properties = envelope["properties"]
        body, encoding = envelope["body"], properties.get("body_encoding")
        if encoding == "base64":
            base64.b64decode(body, validate=True)
        delivery = properties["delivery_info"]
        return (
            isinstance(body, str)
            and encoding in (None, "base64")
            and isinstance(properties["delivery_tag"], str)
            and isinstance(delivery["exchange"], str)
            and isinstance(delivery["routing_key"], str)
            and isinstance(envelope.get("headers"), dict)
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        return False


def enveloped(item: bytes) -> bytes:
    """An envelope with the item as its body."""
    envelope = {
        "body": base64.b64encode(item).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_mode": 2,
            "priority": 0,
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": ""},
        },
    }
    return json.dumps(envelope).encode()
