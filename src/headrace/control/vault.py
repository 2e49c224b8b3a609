"""Secrets that the control database keeps: sealed with keys that only the processes' environment has.

Fernet (AES-128-CBC with HMAC-SHA-256). Each passphrase of `HEADRACE_SECRET_KEYS` becomes a key by HKDF with
SHA-256; that is no password hash, so the passphrases must be random ones, as `openssl rand -base64 32` gives.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from headrace.control.access_tables import data_source_secret, signing_key
from headrace.control.engine import writing
from headrace.errors import ConfigurationError, ErrorCode

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_PURPOSE: Final = b"headrace vault 1"
_NO_KEYS: Final = (
    "set HEADRACE_SECRET_KEYS: secrets are sealed with it before they are kept "
    "(`openssl rand -base64 32` makes one)"
)
_NONE_OPENS: Final = (
    "no key of HEADRACE_SECRET_KEYS opens {what}: put the key that it was sealed with back into the list, "
    "behind the new one, and run `headrace tokens reseal` before you take it out"
)


class Vault:
    """Seals with the first key, opens with any. Its repr shows no key.

    Errors: `ConfigurationError` when there is no key, or none opens what was sealed.
    """

    def __init__(self, passphrases: Sequence[str]) -> None:
        self._passphrases = tuple(passphrases)

    @property
    def has_keys(self) -> bool:
        return bool(self._passphrases)

    def seal(self, text: str) -> bytes:
        return self._keys.encrypt(text.encode())

    def open(self, sealed: bytes, *, what: str = "a secret") -> str:
        """
        Args:
            what: names the secret where none of the keys opens it.
        """
        from cryptography.fernet import InvalidToken  # within, as below: most installations seal nothing

        try:
            return self._keys.decrypt(sealed).decode()
        except InvalidToken:
            raise ConfigurationError(
                _NONE_OPENS.format(what=what), code=ErrorCode.SEALED_SECRET_CLOSED
            ) from None

    def rotate(self, sealed: bytes, *, what: str = "a secret") -> bytes:
        """The same secret, sealed with the first key."""
        from cryptography.fernet import InvalidToken

        try:
            return self._keys.rotate(sealed)
        except InvalidToken:
            raise ConfigurationError(
                _NONE_OPENS.format(what=what), code=ErrorCode.SEALED_SECRET_CLOSED
            ) from None

    @cached_property
    def _keys(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        if not self._passphrases:
            raise ConfigurationError(_NO_KEYS, code=ErrorCode.SEALED_SECRET_CLOSED)
        return MultiFernet([Fernet(_fernet_key(passphrase)) for passphrase in self._passphrases])


def _fernet_key(passphrase: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(passphrase.encode())
    return base64.urlsafe_b64encode(derived)


def reseal(engine: sa.Engine, vault: Vault) -> int:
    """Every stored secret is sealed with the first key, in one transaction; how many there are.

    Raises:
        ConfigurationError: none of the keys opens one of them; nothing was changed.
    """
    with writing(engine) as connection:
        return sum(
            _reseal(connection, vault, key, sealed)
            for key, sealed in (
                (signing_key.c.id, signing_key.c.sealed_secret),
                (data_source_secret.c.data_source_id, data_source_secret.c.sealed_url),
            )
        )


def _reseal(connection: sa.Connection, vault: Vault, key: sa.Column[str], sealed: sa.Column[bytes]) -> int:
    table = sealed.table
    # FOR UPDATE: a URL that is changed meanwhile must not come back.
    rows = connection.execute(sa.select(key, sealed).order_by(key).with_for_update()).all()
    for id_, before in rows:
        after = vault.rotate(before, what=f"{table.name} {id_}")
        change = sa.update(table).where(key == id_).values({sealed.name: after})
        connection.execute(change)
    return len(rows)
