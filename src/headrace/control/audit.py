"""Who did what, and what was refused to whom: a line each, written once and never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.access_tables import audit
from headrace.control.engine import reading, writing
from headrace.control.paging import Page, page_of, place_of
from headrace.control.types import now
from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

DONE: Final = "done"
REFUSED: Final = "refused"
BY_TOKEN: Final = "token:"  # noqa: S105 (the beginning of an actor's name)
BY_CLI: Final = "cli:"

_INSERT = sa.insert(audit).values(at=now())


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """What somebody did, or was refused.

    Attributes:
        actor: `token:<id of the API token>`, or `cli:<user>`.
        action: what was asked for: `customer.create`.
        outcome: `done` or `refused`; the detail of a refusal has its `code`.
        visibility_group: whose tokens may read the line; None: nobody's, only the command line.
        customer: its `provided_id`, or what was given for one.
        detail: JSON values; never a secret.
    """

    actor: str
    action: str
    outcome: str = DONE
    visibility_group: str | None = None
    customer: str | None = None
    schema: str | None = None
    data_source_id: str | None = None
    epoch: int | None = None
    via: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def token_id(self) -> str | None:
        return self.actor.removeprefix(BY_TOKEN) if self.actor.startswith(BY_TOKEN) else None

    def refused(self, error: RefusedError) -> AuditLine:
        """The line of the same act, refused."""
        return replace(self, outcome=REFUSED, detail={**self.detail, "code": str(error.code)})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A line as it was written."""

    id: int
    at: datetime
    line: AuditLine


def append_audit(connection: sa.Connection, line: AuditLine) -> None:
    """The line is there if the transaction commits."""
    values = {
        name: getattr(line, name)
        for name in ("actor", "token_id", "action", "outcome", "visibility_group", "customer", "schema")
    }
    values |= {name: getattr(line, name) for name in ("data_source_id", "epoch", "via")}
    connection.execute(_INSERT, {**values, "detail": dict(line.detail)})


class Act:
    """A change that is being made: the line that will tell it."""

    def __init__(self, connection: sa.Connection, line: AuditLine) -> None:
        self.connection = connection
        self.line = line

    def note(self, **fields: Any) -> None:
        """Fields of the line that only the change itself knows."""
        self.line = replace(self.line, **fields)


@contextmanager
def acting(engine: sa.Engine, line: AuditLine) -> Iterator[Act]:
    """A transaction that makes a change together with its line; a refusal rolls back and leaves a line that
    says so."""
    act: Act | None = None
    try:
        with writing(engine) as connection:
            act = Act(connection, line)
            yield act
            append_audit(connection, act.line)
    except RefusedError as error:
        with writing(engine) as connection:
            append_audit(connection, (act.line if act else line).refused(error))
        error.audited = True
        raise


class SqlAudit:
    """The audit, which only grows."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def append(self, line: AuditLine) -> None:
        """The line is there."""
        with writing(self._engine) as connection:
            append_audit(connection, line)

    def list(
        self,
        *,
        limit: int,
        visibility_group: str | None = None,
        customer: str | None = None,
        since: datetime | None = None,
        after: str | None = None,
    ) -> Page[AuditEntry]:
        """Lines, the newest first.

        Args:
            visibility_group: of this one alone; None: all, those of no group too.
            after: the `next` of the page before.
        """
        lines = sa.select(audit).order_by(audit.c.id.desc()).limit(limit + 1)
        if visibility_group is not None:
            lines = lines.where(audit.c.visibility_group == visibility_group)
        if customer is not None:
            lines = lines.where(audit.c.customer == customer)
        if since is not None:
            lines = lines.where(audit.c.at >= since)
        if after is not None:
            lines = lines.where(audit.c.id < _number(place_of(after)))
        with reading(self._engine) as connection:
            found = [_entry(row) for row in connection.execute(lines)]
        return page_of(found, limit, lambda entry: str(entry.id))


def _number(place: str) -> int:
    if not (place.isascii() and place.isdigit() and len(place) < 19):
        raise RefusedError(Refusal.INVALID, "after: it is no cursor of the audit")
    return int(place)


def _entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        line=AuditLine(
            actor=row.actor,
            action=row.action,
            outcome=row.outcome,
            visibility_group=row.visibility_group,
            customer=row.customer,
            schema=row.schema,
            data_source_id=row.data_source_id,
            epoch=row.epoch,
            via=row.via,
            detail=row.detail,
        ),
    )


@contextmanager
def telling_refusals(audit_log: SqlAudit, line: AuditLine) -> Iterator[None]:
    """What the block is refused has this line, unless it has one already; what it does writes its own."""
    try:
        yield
    except RefusedError as error:
        if not error.audited:
            audit_log.append(line.refused(error))
            error.audited = True
        raise
