"""The customers that tokens are about, and the version below which none of theirs counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.audit import AuditLine, acting
from headrace.control.engine import reading
from headrace.control.remembered import Remembered
from headrace.control.tables import customer
from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

PROVIDED: Final = "provided:"
"""Marks a customer's `provided_id` where else the id of control stands."""

_COLUMNS = (customer.c.id, customer.c.provided_id, customer.c.visibility_group, customer.c.token_version)
_BY_ID = sa.select(*_COLUMNS).where(customer.c.id == sa.bindparam("of_customer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSubject:
    """A customer as its tokens see it. `token_version`: tokens of another one are void."""

    id: str
    provided_id: str
    visibility_group: str
    token_version: int


class SqlTokenSubjects:
    """The customers of the control database. Thread-safe.

    Invariant: a revocation through this object counts when it returns; one by another process at most
    `remembered.FOR_S` later. Whoever deletes a customer calls `forget`.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._current: Remembered[str, TokenSubject] = Remembered()

    def find(self, reference: str, *, visibility_group: str) -> TokenSubject:
        """The customer of this group, by id or `provided:` and its `provided_id`; as it is now.

        Raises:
            RefusedError: there is none, or it is another group's (NOT_FOUND).
        """
        with reading(self._engine) as connection:
            return _find(connection, reference, visibility_group)

    def to_mint(self, reference: str, *, visibility_group: str, actor: str) -> TokenSubject:
        """As `find`, for a token that is made then: audited as `actor`'s, a refusal too."""
        line = _line("customer.mint_token", reference, visibility_group, actor)
        with acting(self._engine, line) as act:
            subject = _find(act.connection, reference, visibility_group)
            act.note(customer=subject.provided_id)
        return subject

    def known(self, customer_id: str) -> TokenSubject | None:
        """As `current`, if that was asked a moment ago; asks nothing of the database."""
        return self._current.known(customer_id)

    def current(self, customer_id: str) -> TokenSubject | None:
        """The customer of this id, as it was a moment ago."""
        return self._current.get(customer_id, lambda: self._read(customer_id))

    def revoke(self, reference: str, *, visibility_group: str, actor: str) -> TokenSubject:
        """No token of the customer that was made until now counts any more. Audited as `actor`'s.

        Raises:
            RefusedError: there is none, or it is another group's (NOT_FOUND).
        """
        change = sa.update(customer).where(_is(reference, visibility_group))
        raised = change.values(token_version=customer.c.token_version + 1).returning(*_COLUMNS)
        line = _line("customer.revoke_tokens", reference, visibility_group, actor)
        with acting(self._engine, line) as act:
            subject = _found(act.connection.execute(raised).one_or_none(), reference)
            act.note(customer=subject.provided_id)
        self.forget()
        return subject

    def forget(self) -> None:
        """A customer was changed or deleted: all are looked up again."""
        self._current.forget()

    def _read(self, customer_id: str) -> TokenSubject | None:
        with reading(self._engine) as connection:
            row = connection.execute(_BY_ID, {"of_customer": customer_id}).one_or_none()
        return None if row is None else _subject(row)


def _is(reference: str, visibility_group: str) -> sa.ColumnElement[bool]:
    provided = reference.removeprefix(PROVIDED)
    named = customer.c.id == reference if provided == reference else customer.c.provided_id == provided
    return sa.and_(named, customer.c.visibility_group == visibility_group)


def _line(action: str, reference: str, visibility_group: str, actor: str) -> AuditLine:
    return AuditLine(
        actor=actor,
        action=action,
        visibility_group=visibility_group,
        customer=reference.removeprefix(PROVIDED),
    )


def _find(connection: sa.Connection, reference: str, visibility_group: str) -> TokenSubject:
    customers = sa.select(*_COLUMNS).where(_is(reference, visibility_group))
    return _found(connection.execute(customers).one_or_none(), reference)


def _found(row: Any, reference: str) -> TokenSubject:
    if row is None:
        raise RefusedError(Refusal.NOT_FOUND, f"there is no customer {reference}")
    return _subject(row)


def _subject(row: Any) -> TokenSubject:
    return TokenSubject(
        id=row.id,
        provided_id=row.provided_id,
        visibility_group=row.visibility_group,
        token_version=row.token_version,
    )
