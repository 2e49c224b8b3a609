"""Signatures of webhooks, so that a receiver knows who sent them and that nobody repeats an old one.

Source: Standard Webhooks 1.0.0 (symmetric signatures, v1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE_S: Final = 300
"""What was signed longer ago, or so far ahead, counts as repeated by somebody."""
_LONGEST_ID: Final = 255
_MOST_SIGNATURES: Final = 10

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
    return {ID: id_, TIMESTAMP: str(at_s), SIGNATURE: f"v1,{_digest(key, id_, str(at_s), body).decode()}"}


@dataclass(frozen=True, slots=True)
class Signature:
    """What came with a body that somebody says to have signed, a moment ago."""

    id: str
    timestamp: str
    signatures: tuple[bytes, ...]

    @classmethod
    def of(cls, headers: Mapping[str, str | None], *, now_s: float) -> Signature:
        """Of these headers, before anybody looks at the body.

        Raises:
            RefusedError: a header is missing or malformed, or the signature is too old (UNAUTHENTICATED).
        """
        id_, timestamp, given = (headers.get(name) or "" for name in (ID, TIMESTAMP, SIGNATURE))
        versions = [each.partition(",") for each in given.split(" ")[:_MOST_SIGNATURES]]
        signatures = tuple(digest.encode() for version, _, digest in versions if version == "v1")
        if not 0 < len(id_) <= _LONGEST_ID or not signatures:
            raise _unsigned(f"the headers {ID}, {TIMESTAMP} and {SIGNATURE} (v1,…) are needed")
        if not (timestamp.isascii() and timestamp.isdigit() and abs(int(timestamp) - now_s) <= TOLERANCE_S):
            raise _unsigned(f"{TIMESTAMP} is not within {TOLERANCE_S} seconds of now, in seconds since 1970")
        return cls(id_, timestamp, signatures)

    def check(self, keys: Sequence[bytes], body: bytes) -> None:
        """Nothing follows from how long it takes.

        Raises:
            RefusedError: no key made one of the signatures, of this body (UNAUTHENTICATED).
        """
        digests = [_digest(key, self.id, self.timestamp, body) for key in keys]
        same = [hmac.compare_digest(digest, given) for digest in digests for given in self.signatures]
        if not any(same):
            raise _unsigned(f"{SIGNATURE} is not of this body, {ID} and {TIMESTAMP} by a secret known here")


def _unsigned(detail: str) -> RefusedError:
    return RefusedError(Refusal.UNAUTHENTICATED, detail)


def _digest(key: bytes, id_: str, timestamp: str, body: bytes) -> bytes:
    content = b".".join((id_.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256))
