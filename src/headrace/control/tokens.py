"""API tokens: each belongs to one visibility group, and reads or writes there.

A token's text is `hrt_<id>_<secret>`. Only the SHA-256 of the whole text is kept: the secret has 256 random
bits, so nobody guesses it from the hash, and a slow or salted hash, which protects what people think up,
would add nothing but its time to each request.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal

import sqlalchemy as sa

from headrace.control.access_tables import api_token
from headrace.control.audit import AuditLine, acting
from headrace.control.engine import reading, writing
from headrace.control.remembered import Remembered
from headrace.control.types import from_now, now
from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

PREFIX: Final = "hrt"
USED_EVERY_S: Final = 60.0
"""How exact `last_used_at` is: it costs a write."""

Access = Literal["read", "write"]

_STALE = api_token.c.last_used_at.is_(None) | (api_token.c.last_used_at < from_now(-USED_EVERY_S))
_BY_ID = sa.select(api_token, _STALE.label("stale")).where(api_token.c.id == sa.bindparam("of_token"))
_USE = sa.update(api_token).where(api_token.c.id == sa.bindparam("of_token")).values(last_used_at=now())


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffToken:
    """Who asks, when a token was presented that holds."""

    id: str
    visibility_group: str
    name: str
    may_write: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeToken:
    """A new token. Its text is told this once; nobody can find it out again."""

    token: StaffToken
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLine:
    """A token as it is listed; `last_used_at` is exact to `USED_EVERY_S`."""

    id: str
    visibility_group: str
    name: str
    access: str
    made_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class SqlTokens:
    """The API tokens of the control database. Thread-safe.

    Invariant: a token that was revoked through this object holds no more when `revoke` returns; one that
    another process revoked, at most `remembered.FOR_S` later.
    """

    def __init__(
        self, engine: sa.Engine, *, random_text: Callable[[int], str] = secrets.token_urlsafe
    ) -> None:
        self._engine = engine
        self._random_text = random_text
        self._holding: Remembered[str, StaffToken] = Remembered()

    def create(self, name: str, *, visibility_group: str, access: Access, actor: str) -> MadeToken:
        """A token of this group; its text is in the answer and nowhere else. Audited as `actor`'s."""
        id_ = secrets.token_hex(6)
        text = f"{PREFIX}_{id_}_{self._random_text(32)}"
        row = {"id": id_, "visibility_group": visibility_group, "name": name, "access": access}
        line = AuditLine(
            actor=actor,
            action="token.create",
            visibility_group=visibility_group,
            detail={"token": id_, "name": name, "access": access},
        )
        with acting(self._engine, line) as act:
            act.connection.execute(sa.insert(api_token).values(**row, hash=_hash(text), made_at=now()))
        return MadeToken(
            token=StaffToken(
                id=id_, visibility_group=visibility_group, name=name, may_write=access == "write"
            ),
            text=text,
        )

    def list(self) -> list[TokenLine]:
        """All, the revoked too, the oldest first."""
        oldest = sa.select(api_token).order_by(api_token.c.made_at, api_token.c.id)
        with reading(self._engine) as connection:
            return [_line(row) for row in connection.execute(oldest)]

    def revoke(self, token_id: str, *, actor: str) -> None:
        """It holds no more; one that was revoked before stays so. Audited as `actor`'s.

        Raises:
            RefusedError: there is none with this id (NOT_FOUND).
        """
        this = api_token.c.id == token_id
        at = sa.func.coalesce(api_token.c.revoked_at, now())
        change = sa.update(api_token).where(this).values(revoked_at=at)
        group = change.returning(api_token.c.visibility_group)
        line = AuditLine(actor=actor, action="token.revoke", detail={"token": token_id})
        with acting(self._engine, line) as act:
            of_group = act.connection.execute(group).scalar_one_or_none()
            if of_group is None:
                why = f"there is no token {token_id}: see `headrace tokens list`"
                raise RefusedError(Refusal.NOT_FOUND, why)
            act.note(visibility_group=of_group)
        self._holding.forget()

    def known(self, text: str) -> StaffToken | None:
        """The token, if it was authenticated a moment ago; asks nothing of the database."""
        return self._holding.known(_hash(text))

    def authenticate(self, text: str) -> StaffToken | None:
        """The token that this is the text of; None when there is none, or it was revoked."""
        hashed = _hash(text)
        return self._holding.get(hashed, lambda: self._found(text, hashed))

    def named_by(self, text: str) -> TokenLine | None:
        """The token whose id the text has, whether it is its text or not: for the audit of refusals."""
        row = self._row(text)
        return None if row is None else _line(row)

    def _found(self, text: str, hashed: str) -> StaffToken | None:
        row = self._row(text)
        if row is None or row.revoked_at is not None or not hmac.compare_digest(row.hash, hashed):
            return None
        if row.stale:
            with writing(self._engine) as connection:
                connection.execute(_USE, {"of_token": row.id})
        return StaffToken(
            id=row.id,
            visibility_group=row.visibility_group,
            name=row.name,
            may_write=row.access == "write",
        )

    def _row(self, text: str) -> sa.Row[Any] | None:
        prefix, _, rest = text.partition("_")
        token_id, _, secret = rest.partition("_")
        if prefix != PREFIX or not token_id.isalnum() or not token_id.isascii() or not secret:
            return None
        with reading(self._engine) as connection:
            return connection.execute(_BY_ID, {"of_token": token_id}).one_or_none()


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()


def _line(row: sa.Row[Any]) -> TokenLine:
    return TokenLine(
        id=row.id,
        visibility_group=row.visibility_group,
        name=row.name,
        access=row.access,
        made_at=row.made_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
