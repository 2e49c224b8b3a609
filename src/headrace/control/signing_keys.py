"""The keys that sign customers' tokens: of each visibility group its own, sealed by the vault."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal

import sqlalchemy as sa

from headrace.control.access_tables import signing_key
from headrace.control.audit import AuditLine, acting
from headrace.control.engine import insert_in, reading, writing
from headrace.control.remembered import Remembered
from headrace.control.types import now
from headrace.control.vault import Vault
from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

ALGORITHM: Final = "HS256"
_SECRET_BYTES: Final = 32

KeyState = Literal["active", "verify_only", "revoked"]

_ACTIVE = sa.select(signing_key).where(
    signing_key.c.visibility_group == sa.bindparam("group"), signing_key.c.state == "active"
)
_USABLE = sa.select(signing_key).where(
    signing_key.c.id == sa.bindparam("of_key"), signing_key.c.state != "revoked"
)


@cache
def _make(dialect: str) -> sa.Executable:
    # Of two that make the first key at once, one does.
    return insert_in(dialect, signing_key).values(made_at=now(), state="active").on_conflict_do_nothing()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLine:
    """A key as it is listed: without its secret."""

    id: str
    visibility_group: str
    algorithm: str
    state: KeyState
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key that may verify, and while it is the active one sign.

    Attributes:
        id: the `kid` of the tokens that it signs.
        algorithm: the only one that tokens of this key are verified by, whatever their header says.
    """

    id: str
    visibility_group: str
    algorithm: str
    secret: bytes = field(repr=False)


class SqlSigningKeys:
    """The signing keys of the control database. Thread-safe.

    Invariant: what was rotated or revoked through this object counts when that returns; what another process
    did, at most `remembered.FOR_S` later.
    """

    def __init__(self, engine: sa.Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault
        self._active: Remembered[str, SigningKey] = Remembered()
        self._usable: Remembered[str, SigningKey] = Remembered()

    def active(self, visibility_group: str) -> SigningKey:
        """The key that signs; made when the group has none."""
        found = self._active.get(visibility_group, lambda: self._read_active(visibility_group))
        if found is not None:
            return found
        with writing(self._engine) as connection:
            self._insert(connection, visibility_group)
        self._forget()
        return self.active(visibility_group)

    def known(self, kid: str) -> SigningKey | None:
        """As `usable`, if that was asked a moment ago; asks nothing of the database."""
        return self._usable.known(kid)

    def usable(self, kid: str) -> SigningKey | None:
        """The key of this id, if it may verify: active, or verify-only."""
        return self._usable.get(kid, lambda: self._read_usable(kid))

    def list(self, visibility_group: str | None = None) -> list[KeyLine]:
        """The oldest first, of one group or of all."""
        oldest = sa.select(signing_key).order_by(signing_key.c.made_at, signing_key.c.id)
        if visibility_group is not None:
            oldest = oldest.where(signing_key.c.visibility_group == visibility_group)
        with reading(self._engine) as connection:
            return [_line(row) for row in connection.execute(oldest)]

    def rotate(self, visibility_group: str, *, actor: str) -> KeyLine:
        """A new key signs; tokens of the one before stay good until they expire, or it is revoked. Audited as
        `actor`'s."""
        of_group = signing_key.c.visibility_group == visibility_group
        line = AuditLine(actor=actor, action="signing_key.rotate", visibility_group=visibility_group)
        with acting(self._engine, line) as act:
            connection = act.connection
            active = sa.and_(of_group, signing_key.c.state == "active")
            connection.execute(sa.update(signing_key).where(active).values(state="verify_only"))
            self._insert(connection, visibility_group)
            made = connection.execute(_ACTIVE, {"group": visibility_group}).one()
            act.note(detail={"kid": made.id})
        self._forget()
        return _line(made)

    def revoke(self, kid: str, *, actor: str, visibility_group: str | None = None) -> KeyLine:
        """No token of this key is good any more. Of an active one: the next token makes a new key. Audited as
        `actor`'s.

        Args:
            visibility_group: of this one alone; None: of any.

        Raises:
            RefusedError: there is none, or it is another group's (NOT_FOUND).
        """
        this = signing_key.c.id == kid
        if visibility_group is not None:
            this = sa.and_(this, signing_key.c.visibility_group == visibility_group)
        change = sa.update(signing_key).where(this).values(state="revoked").returning(signing_key)
        line = AuditLine(
            actor=actor,
            action="signing_key.revoke",
            visibility_group=visibility_group,
            detail={"kid": kid},
        )
        with acting(self._engine, line) as act:
            revoked = act.connection.execute(change).one_or_none()
            if revoked is None:
                raise RefusedError(Refusal.NOT_FOUND, f"there is no signing key {kid}")
            act.note(visibility_group=revoked.visibility_group)
        self._forget()
        return _line(revoked)

    def _insert(self, connection: sa.Connection, visibility_group: str) -> None:
        secret = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        row = {"id": secrets.token_hex(8), "visibility_group": visibility_group, "algorithm": ALGORITHM}
        sealed = {"sealed_secret": self._vault.seal(secret)}
        connection.execute(_make(connection.dialect.name), row | sealed)

    def _read_active(self, visibility_group: str) -> SigningKey | None:
        with reading(self._engine) as connection:
            return self._key(connection.execute(_ACTIVE, {"group": visibility_group}).one_or_none())

    def _read_usable(self, kid: str) -> SigningKey | None:
        with reading(self._engine) as connection:
            return self._key(connection.execute(_USABLE, {"of_key": kid}).one_or_none())

    def _key(self, row: sa.Row[Any] | None) -> SigningKey | None:
        if row is None:
            return None
        secret = self._vault.open(row.sealed_secret, what=f"signing_key {row.id}")
        return SigningKey(
            id=row.id,
            visibility_group=row.visibility_group,
            algorithm=row.algorithm,
            secret=base64.b64decode(secret),
        )

    def _forget(self) -> None:
        self._active.forget()
        self._usable.forget()


def _line(row: sa.Row[Any]) -> KeyLine:
    return KeyLine(
        id=row.id,
        visibility_group=row.visibility_group,
        algorithm=row.algorithm,
        state=row.state,
        made_at=row.made_at,
    )
