"""What was done in the token's visibility group, and what was refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from headrace.control.audit import AuditEntry
from headrace.web.auth import STAFF_PATH, Staff
from headrace.web.context import App
from headrace.web.listing import After, Limit, Listed
from headrace.web.texts import Answer

router = APIRouter(prefix=STAFF_PATH, tags=["audit"])


class AuditAnswer(Answer):
    """A line of the audit. `actor`: `token:` and an API token's id, or `cli:` and a user."""

    id: int
    at: datetime
    actor: str
    action: str
    outcome: str
    customer: str | None
    schema_: str | None = Field(alias="schema")
    data_source: str | None
    epoch: int | None
    via: str | None
    detail: dict[str, Any]

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditAnswer:
        line = entry.line
        return cls(
            id=entry.id,
            at=entry.at,
            actor=line.actor,
            action=line.action,
            outcome=line.outcome,
            customer=line.customer,
            schema_=line.schema,
            data_source=line.data_source_id,
            epoch=line.epoch,
            via=line.via,
            detail=dict(line.detail),
        )


@router.get("/audit", summary="List the audit, the newest first")
def list_audit(
    app: App,
    staff: Staff,
    customer: Annotated[str | None, Query(max_length=220, description="Of this provided id alone.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Not older than this.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Listed[AuditAnswer]:
    page = app.audit.list(
        visibility_group=staff.visibility_group, customer=customer, since=since, limit=limit, after=after
    )
    return Listed(items=tuple(AuditAnswer.of(entry) for entry in page.items), next=page.next)
