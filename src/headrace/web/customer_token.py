"""Customers' tokens: JWTs of one customer that say nothing of where its records are.

Where the records are is resolved at each request: a token that named a data source would lead to the old one
after a move. *Source:* RFC 7519, and RFC 8725 (the algorithm is the key's, tokens have a type of their own).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import jwt

from headrace.control.remembered import Remembered
from headrace.control.signing_keys import SigningKey, SqlSigningKeys
from headrace.control.token_subjects import SqlTokenSubjects, TokenSubject
from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

AUDIENCE: Final = "headrace-embed"
TYPE: Final = "headrace-customer+jwt"
READ_RECORDS: Final = "records:read"
SCOPES: Final = (READ_RECORDS,)
TTL_S: Final = 15 * 60
MAX_TTL_S: Final = 24 * 60 * 60
_CLOCKS_S: Final = 60
"""By how much the clocks of two machines may differ: one signs, the other verifies."""
_REQUIRED: Final = ["iss", "aud", "sub", "cid", "iat", "exp", "jti", "scopes", "tv"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerContext:
    """Who asks, when a customer's token was presented that holds.

    Attributes:
        customer: its `provided_id`; `customer_id` is what control calls it.
        token_id: the token's `jti`.
    """

    customer: str
    customer_id: str
    visibility_group: str
    scopes: frozenset[str]
    token_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MintedToken:
    """A new token, and when it expires."""

    expires_at: datetime
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """What does not change about a token whose signature holds."""

    context: CustomerContext
    kid: str
    token_version: int
    expires_at_s: float


class CustomerTokens:
    """Mints and verifies, for one installation (`workspace`). Thread-safe.

    Invariant: a token holds only while its key is not revoked, its customer is there, its version is the
    customer's and it has not expired; each is looked at again at every request, by answers that are at most
    `remembered.FOR_S` old (tests/integration/test_web_auth.py).
    """

    def __init__(
        self, *, workspace: Callable[[], str], keys: SqlSigningKeys, subjects: SqlTokenSubjects
    ) -> None:
        self._workspace = workspace
        self._keys = keys
        self._subjects = subjects
        self._verified: Remembered[bytes, _Verified] = Remembered(for_s=60.0)

    def mint(
        self, subject: TokenSubject, *, ttl_s: int = TTL_S, scopes: Sequence[str] = SCOPES
    ) -> MintedToken:
        """A token of this customer, signed with its group's active key.

        Args:
            ttl_s: from 1 to `MAX_TTL_S`.
            scopes: some of `SCOPES`.
        """
        key = self._keys.active(subject.visibility_group)
        made_at = datetime.now(UTC).replace(microsecond=0)
        expires_at = made_at + timedelta(seconds=ttl_s)
        claims = {
            "iss": self._workspace(),
            "aud": AUDIENCE,
            "sub": subject.provided_id,
            "cid": subject.id,  # another customer that gets the same provided_id later is not this one
            "iat": made_at,
            "exp": expires_at,
            "jti": secrets.token_hex(16),
            "scopes": list(scopes),
            "tv": subject.token_version,
        }
        text = jwt.encode(claims, key.secret, key.algorithm, headers={"kid": key.id, "typ": TYPE})
        return MintedToken(expires_at=expires_at, text=text)

    def known(self, text: str) -> CustomerContext | None:
        """Whose token this is, if that is known without a question to the database."""
        verified = self._verified.known(_digest(text))
        if verified is None:
            return None
        return _holding(
            verified, self._keys.known(verified.kid), self._subjects.known(verified.context.customer_id)
        )

    def verify(self, text: str) -> CustomerContext:
        """Whose token this is.

        Raises:
            RefusedError: it holds no more, or never did (UNAUTHENTICATED); one answer for all reasons.
        """
        verified = self._verified.get(_digest(text), lambda: self._decoded(text))
        holding = None
        if verified is not None:
            key = self._keys.usable(verified.kid)
            holding = _holding(verified, key, self._subjects.current(verified.context.customer_id))
        if holding is None:
            raise RefusedError(Refusal.UNAUTHENTICATED, "a valid customer token is needed: ask for a new one")
        return holding

    def _decoded(self, text: str) -> _Verified | None:
        """None unless the signature holds, by the key that the token names and that key's algorithm."""
        try:
            header = jwt.get_unverified_header(text)
            kid = header.get("kid")
            key = self._keys.usable(kid) if isinstance(kid, str) else None
            if key is None or header.get("typ") != TYPE:
                return None
            claims = jwt.decode(
                text,
                key.secret,
                algorithms=[key.algorithm],
                audience=AUDIENCE,
                issuer=self._workspace(),
                # Not iat: PyJWT has one leeway for it and for exp, which gets none.
                options={"require": _REQUIRED, "strict_aud": True, "verify_iat": False},
            )
        except jwt.PyJWTError:
            return None
        return _verified(claims, key) if _is_sound(claims) else None


def _is_sound(claims: Mapping[str, Any]) -> bool:
    """The claims that PyJWT does not look at are of their types, and the token was made to be short-lived."""
    texts = all(isinstance(claims[name], str) for name in ("sub", "cid", "jti"))
    numbers = all(type(claims[name]) is int for name in ("iat", "exp", "tv"))
    scopes = claims["scopes"]
    if not (texts and numbers and isinstance(scopes, list) and all(isinstance(s, str) for s in scopes)):
        return False
    lives_s: int = claims["exp"] - claims["iat"]
    return 0 < lives_s <= MAX_TTL_S and claims["iat"] <= time.time() + _CLOCKS_S


def _verified(claims: Mapping[str, Any], key: SigningKey) -> _Verified:
    context = CustomerContext(
        customer=claims["sub"],
        customer_id=claims["cid"],
        visibility_group=key.visibility_group,
        scopes=frozenset(claims["scopes"]),
        token_id=claims["jti"],
    )
    return _Verified(
        context=context, kid=key.id, token_version=claims["tv"], expires_at_s=float(claims["exp"])
    )


def _holding(
    verified: _Verified, key: SigningKey | None, subject: TokenSubject | None
) -> CustomerContext | None:
    """Whose token it is, as long as nothing has ended it."""
    if key is None or subject is None or time.time() >= verified.expires_at_s:
        return None
    context = verified.context
    same = (subject.provided_id, subject.visibility_group) == (context.customer, key.visibility_group)
    return context if same and subject.token_version == verified.token_version else None


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()
