"""Signatures of webhooks, so that a receiver knows who sent them and that nobody repeats an old one.

Source: Standard Webhooks 1.0.0 (symmetric signatures, v1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

PREFIX: Final = "whsec_"
_LEAST_BYTES: Final = 24
_MOST_BYTES: Final = 64


def key_of(secret: str) -> bytes | None:
    """The key of a secret, `whsec_` and base64 of 24 to 64 bytes; None where it is no such."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if secret.startswith(PREFIX) and _LEAST_BYTES <= len(key) <= _MOST_BYTES else None


def signed_headers(key: bytes, *, id_: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers that a receiver checks: the id stays the same when the event is sent again."""
    content = b".".join((id_.encode(), str(at_s).encode(), body))
    digest = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {"webhook-id": id_, "webhook-timestamp": str(at_s), "webhook-signature": f"v1,{digest}"}
