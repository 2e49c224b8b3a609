from __future__ import annotations

import pytest

from headrace.control.vault import Vault
from headrace.errors import ConfigurationError

OLD, NEW = "an old passphrase", "a new passphrase"


def test_what_is_sealed_is_opened_by_the_same_key_and_shows_nothing() -> None:
    vault = Vault([NEW])
    sealed = vault.seal("postgresql://me:hunter2@db/x")
    assert vault.open(sealed) == "postgresql://me:hunter2@db/x"
    assert b"hunter2" not in sealed
    assert NEW not in repr(vault)


def test_every_key_opens_and_the_first_seals() -> None:
    sealed = Vault([OLD]).seal("secret")
    both = Vault([NEW, OLD])
    assert both.open(sealed) == "secret"
    assert Vault([NEW]).open(both.rotate(sealed)) == "secret"


def test_without_the_key_nothing_is_opened_and_the_error_says_which_and_how_to_mend_it() -> None:
    sealed = Vault([OLD]).seal("secret")
    for refused in (Vault([NEW]).open, Vault([NEW]).rotate):
        with pytest.raises(ConfigurationError, match="HEADRACE_SECRET_KEYS opens the URL of main: put"):
            refused(sealed, what="the URL of main")


def test_without_any_key_nothing_is_sealed() -> None:
    assert not Vault([]).has_keys
    with pytest.raises(ConfigurationError, match="set HEADRACE_SECRET_KEYS"):
        Vault([]).seal("secret")


def test_a_sealed_secret_that_was_altered_is_not_opened() -> None:
    sealed = bytearray(Vault([NEW]).seal("secret"))
    sealed[20] ^= 1
    with pytest.raises(ConfigurationError):
        Vault([NEW]).open(bytes(sealed))
