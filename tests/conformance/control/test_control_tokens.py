"""API tokens, signing keys and sealed secrets, in control databases of both dialects."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.control.access_tables import api_token, data_source_secret, signing_key
from headrace.control.audit import SqlAudit
from headrace.control.engine import reading, writing
from headrace.control.signing_keys import SqlSigningKeys
from headrace.control.tables import customer, data_source
from headrace.control.token_subjects import SqlTokenSubjects
from headrace.control.tokens import SqlTokens
from headrace.control.types import from_now, now
from headrace.control.vault import Vault, reseal
from headrace.domain.refusal import Refusal
from headrace.errors import ConfigurationError, RefusedError
from tests.conformance.control.project import Control

ME = "cli:me"


@contextmanager
def refused(code: Refusal) -> Iterator[None]:
    with pytest.raises(RefusedError) as caught:
        yield
    assert caught.value.code == code


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """What the database is asked while the context is open."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def test_a_token_is_known_by_its_whole_text_and_by_nothing_less(bare: Control) -> None:
    tokens = SqlTokens(bare.engine)
    made = tokens.create("backend", visibility_group="production", access="write", actor=ME)
    assert tokens.authenticate(made.text) == made.token
    _, id_, secret = made.text.split("_", 2)
    parts = ("", "hrt", id_, secret, f"hrt_{id_}_", f"hrt__{secret}")
    altered = (f"hrt_{id_}_{secret}x", f"hrt_{id_}_{secret[:-1]}", f"HRT_{id_}_{secret}", made.text + "\0")
    for wrong in (*parts, *altered, f"hrt_%_{secret}", "hrt_\0_x"):
        assert tokens.authenticate(wrong) is None, wrong


def test_the_text_of_a_token_is_kept_nowhere(bare: Control) -> None:
    made = SqlTokens(bare.engine).create("backend", visibility_group="g", access="read", actor=ME)
    secret = made.text.split("_", 2)[2]
    with reading(bare.engine) as connection:
        rows = [str(row) for row in connection.execute(sa.select(api_token))]
    lines = [str(entry) for entry in SqlAudit(bare.engine).list(limit=10).items]
    assert rows
    assert lines
    assert not [text for text in (*rows, *lines, repr(made)) if secret in text]


def test_a_known_token_is_authenticated_without_a_question(bare: Control) -> None:
    tokens = SqlTokens(bare.engine)
    made = tokens.create("backend", visibility_group="g", access="read", actor=ME)
    tokens.authenticate(made.text)
    with statements(bare.engine) as asked:
        assert tokens.authenticate(made.text) == tokens.known(made.text) == made.token
    assert asked == []


def test_a_revoked_token_is_refused_at_once_here_and_by_whoever_asks_anew(bare: Control) -> None:
    tokens = SqlTokens(bare.engine)
    made = tokens.create("backend", visibility_group="g", access="read", actor=ME)
    kept = tokens.create("other", visibility_group="g", access="read", actor=ME)
    tokens.authenticate(made.text)
    tokens.revoke(made.token.id, actor=ME)
    assert tokens.known(made.text) is None
    assert tokens.authenticate(made.text) is None
    assert SqlTokens(bare.engine).authenticate(made.text) is None
    assert tokens.authenticate(kept.text) == kept.token
    (line, _) = tokens.list()
    assert line.revoked_at is not None
    tokens.revoke(made.token.id, actor=ME)
    assert tokens.list()[0].revoked_at == line.revoked_at
    with refused(Refusal.NOT_FOUND):
        tokens.revoke("nobody", actor=ME)


def test_the_use_of_a_token_is_noted_once_a_minute(bare: Control) -> None:
    made = SqlTokens(bare.engine).create("backend", visibility_group="g", access="read", actor=ME)

    def used_at() -> Any:
        SqlTokens(bare.engine).authenticate(made.text)
        return SqlTokens(bare.engine).list()[0].last_used_at

    first = used_at()
    assert first is not None
    assert used_at() == first
    with writing(bare.engine) as connection:
        connection.execute(sa.update(api_token).values(last_used_at=from_now(-61)))
    assert used_at() >= first


def test_making_and_revoking_tokens_is_audited(bare: Control) -> None:
    tokens = SqlTokens(bare.engine)
    made = tokens.create("backend", visibility_group="g", access="read", actor=ME)
    tokens.revoke(made.token.id, actor=ME)
    with refused(Refusal.NOT_FOUND):
        tokens.revoke("nobody", actor=ME)
    lines = [entry.line for entry in reversed(SqlAudit(bare.engine).list(limit=10).items)]
    assert [(line.action, line.outcome, line.visibility_group) for line in lines] == [
        ("token.create", "done", "g"),
        ("token.revoke", "done", "g"),
        ("token.revoke", "refused", None),
    ]


# --- signing keys -------------------------------------------------------------------------------


@pytest.fixture
def keys(bare: Control) -> SqlSigningKeys:
    return SqlSigningKeys(bare.engine, Vault(["passphrase"]))


def test_the_first_use_makes_a_key_and_each_group_has_its_own(keys: SqlSigningKeys) -> None:
    key = keys.active("production")
    assert keys.active("production") == key
    assert keys.active("testing").id != key.id
    assert keys.usable(key.id) == key
    assert (len(key.secret), key.algorithm) == (32, "HS256")
    assert repr(key.secret) not in repr(key)


def test_of_two_that_need_the_first_key_at_once_both_get_the_same(bare: Control) -> None:
    together = Barrier(4)

    def first() -> str:
        keys = SqlSigningKeys(bare.engine, Vault(["passphrase"]))
        together.wait()
        return keys.active("production").id

    with ThreadPoolExecutor(4) as pool:
        found = {future.result() for future in [pool.submit(first) for _ in range(4)]}
    assert len(found) == 1


def test_a_rotated_key_verifies_until_it_is_revoked(bare: Control, keys: SqlSigningKeys) -> None:
    before = keys.active("production")
    made = keys.rotate("production", actor=ME)
    assert keys.active("production").id == made.id != before.id
    assert keys.usable(before.id) == before
    assert [key.state for key in keys.list("production")] == ["verify_only", "active"]
    keys.revoke(before.id, actor=ME)
    assert keys.known(before.id) is None
    assert keys.usable(before.id) is None
    keys.revoke(made.id, actor=ME)
    assert keys.active("production").id not in {before.id, made.id}


def test_a_key_of_another_group_is_not_there(keys: SqlSigningKeys) -> None:
    key = keys.active("production")
    with refused(Refusal.NOT_FOUND):
        keys.revoke(key.id, actor=ME, visibility_group="testing")
    assert keys.list("testing") == []
    assert keys.usable(key.id) == key


def test_the_secret_of_a_key_is_kept_sealed(bare: Control, keys: SqlSigningKeys) -> None:
    key = keys.active("production")
    with reading(bare.engine) as connection:
        sealed = connection.execute(sa.select(signing_key.c.sealed_secret)).scalar_one()
    assert key.secret not in sealed
    with pytest.raises(ConfigurationError, match=f"opens signing_key {key.id}"):
        SqlSigningKeys(bare.engine, Vault(["another"])).usable(key.id)


# --- sealed secrets -----------------------------------------------------------------------------


def _with_url(control: Control, vault: Vault) -> None:
    row = {"id": "api_made", "provided_id": "p", "nickname": "N", "schema": "s", "isolation": "shared",
           "origin": "api", "body": {}}  # fmt: skip
    with writing(control.engine) as connection:
        connection.execute(sa.insert(data_source).values(row))
        sealed = {"data_source_id": "api_made", "sealed_url": vault.seal("postgresql://me:pw@db/x")}
        connection.execute(sa.insert(data_source_secret).values(sealed))


def test_resealing_lets_the_old_key_go(bare: Control) -> None:
    old, both, new = Vault(["old"]), Vault(["new", "old"]), Vault(["new"])
    key = SqlSigningKeys(bare.engine, old).active("production")
    _with_url(bare, old)
    assert reseal(bare.engine, both) == 2
    assert SqlSigningKeys(bare.engine, new).usable(key.id) == key
    with reading(bare.engine) as connection:
        sealed = connection.execute(sa.select(data_source_secret.c.sealed_url)).scalar_one()
    assert new.open(sealed) == "postgresql://me:pw@db/x"


def test_resealing_changes_nothing_when_one_secret_cannot_be_opened(bare: Control) -> None:
    old = Vault(["old"])
    key = SqlSigningKeys(bare.engine, old).active("production")
    _with_url(bare, Vault(["lost"]))
    with pytest.raises(ConfigurationError, match="opens data_source_secret api_made: put"):
        reseal(bare.engine, Vault(["new", "old"]))
    assert SqlSigningKeys(bare.engine, old).usable(key.id) == key


# --- customers ----------------------------------------------------------------------------------


@pytest.fixture
def subjects(bare: Control) -> SqlTokenSubjects:
    with writing(bare.engine) as connection:
        for id_, group in (("c1", "production"), ("c2", "testing")):
            row = {"id": id_, "provided_id": "acme", "visibility_group": group, "name": "A", "properties": {}}
            connection.execute(sa.insert(customer).values(**row, origin="api", made_at=now()))
    return SqlTokenSubjects(bare.engine)


def test_a_customer_is_found_by_id_or_provided_id_in_its_group_alone(subjects: SqlTokenSubjects) -> None:
    for reference in ("c1", "provided:acme"):
        assert subjects.find(reference, visibility_group="production").id == "c1"
    assert subjects.find("provided:acme", visibility_group="testing").id == "c2"
    for reference in ("c2", "acme", "provided:c1", "provided:", ""):
        with refused(Refusal.NOT_FOUND):
            subjects.find(reference, visibility_group="production")


def test_a_revocation_counts_at_once_for_this_customer_alone(subjects: SqlTokenSubjects) -> None:
    before = subjects.current("c1"), subjects.current("c2")
    subjects.revoke("provided:acme", visibility_group="production", actor=ME)
    assert subjects.known("c1") is None
    after = subjects.current("c1"), subjects.current("c2")
    assert before[0] is not None
    assert after[0] is not None
    assert after[0].token_version == before[0].token_version + 1
    assert after[1] == before[1]


def test_a_refused_token_of_a_customer_is_audited_by_the_name_that_was_given(
    bare: Control, subjects: SqlTokenSubjects
) -> None:
    subjects.to_mint("provided:acme", visibility_group="production", actor="token:t")
    for refusing in (subjects.to_mint, subjects.revoke):
        with refused(Refusal.NOT_FOUND):
            refusing("provided:stranger", visibility_group="production", actor="token:t")
    lines = [entry.line for entry in reversed(SqlAudit(bare.engine).list(limit=10).items)]
    assert [(line.action, line.outcome, line.customer) for line in lines] == [
        ("customer.mint_token", "done", "acme"),
        ("customer.mint_token", "refused", "stranger"),
        ("customer.revoke_tokens", "refused", "stranger"),
    ]
