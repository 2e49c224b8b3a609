"""Sources, their runs, and polls that somebody asks for: of the apps of the token's visibility group."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from headrace import traces
from headrace.control.audit import AuditLine
from headrace.control.paging import page_of, place_of
from headrace.control.runs import Run
from headrace.control.status import FeedStatus
from headrace.domain.refusal import Refusal
from headrace.domain.trigger import TriggerRequest
from headrace.errors import RefusedError
from headrace.ports import Ask, FeedPlan
from headrace.steps.trigger import Asker
from headrace.web.auth import STAFF_PATH, Staff, StaffContext, StaffWriter
from headrace.web.context import App
from headrace.web.listing import After, Limit, Listed
from headrace.web.problem import problems
from headrace.wiring import Application

router = APIRouter(prefix=STAFF_PATH, tags=["sources"])


class FeedLine(BaseModel):
    """A source as it is read from one app. `class`: what it promises; null before its first poll."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    app: str
    class_: str | None = Field(serialization_alias="class")
    class_reason: str
    polling: bool
    paused: bool
    paused_reason: str | None
    next_due: datetime | None
    checked_at: datetime | None
    last_success_at: datetime | None
    last_error: str | None
    pending_batches: int
    rejected: int


class SourceLine(BaseModel):
    """A source, with its feeds from apps of the group."""

    model_config = ConfigDict(frozen=True)

    id: str
    model: str
    schema_: str = Field(serialization_alias="schema")
    primary: bool
    feeds: tuple[FeedLine, ...]


class RunLine(BaseModel):
    """A poll that found something, or failed."""

    model_config = ConfigDict(frozen=True)

    id: str
    source: str
    app: str
    trigger: str
    state: str
    rows_read: int
    rows_journalled: int
    rows_merged: int
    rejected: int
    error: str | None
    started_at: datetime
    ended_at: datetime | None


class Triggered(BaseModel):
    """Asked for: workers begin it at once, where they run."""

    model_config = ConfigDict(frozen=True)

    source: str
    apps: tuple[str, ...]
    keys: int

    @classmethod
    def of(cls, ask: Ask) -> Self:
        return cls(source=ask.source, apps=tuple(app for _, app in ask.feeds), keys=len(ask.keys or ()))


def of_path(request: TriggerRequest, source: str) -> TriggerRequest:
    """The request, of the source that the path names.

    Raises:
        RefusedError: the body names another one.
    """
    if request.source not in (None, source):
        raise RefusedError(Refusal.INVALID, "body.source: it is not the source that the path names")
    return request.model_copy(update={"source": source})


@router.get("/sources", summary="List sources with their feeds")
def list_sources(app: App, staff: Staff, limit: Limit = 100, after: After = None) -> Listed[SourceLine]:
    plans = _plans(app, staff)
    beyond = "" if after is None else place_of(after)
    ids = sorted({plan.source.id for plan in plans if plan.source.id > beyond})
    page = page_of(ids, limit, str)
    status = {(feed.source_id, feed.app_id): feed for feed in app.status.feed_status()}
    items = tuple(
        _source_line([plan for plan in plans if plan.source.id == id_], status) for id_ in page.items
    )
    return Listed(items=items, next=page.next)


@router.get("/runs", summary="List runs, the newest first")
def list_runs(
    app: App,
    staff: Staff,
    source: Annotated[str | None, Query(max_length=40, description="Of this source alone.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Listed[RunLine]:
    mine = {(plan.source.id, plan.app_id) for plan in _plans(app, staff)}
    feeds = {
        feed.feed_id
        for feed in app.status.feed_status()
        if (feed.source_id, feed.app_id) in mine and source in (None, feed.source_id)
    }
    place = None if after is None else _run_place(after)
    found = app.runs.runs(limit=limit + 1, feed_ids=feeds, after=place)
    page = page_of(found, limit, lambda run: json.dumps([run.started_at.isoformat(), run.id]))
    return Listed(items=tuple(_run_line(run) for run in page.items), next=page.next)


@router.post(
    "/sources/{source}/trigger",
    summary="Ask for a source to be read now",
    status_code=202,
    responses=problems(Refusal.SOURCE_PAUSED),
)
def trigger(
    app: App,
    staff: StaffWriter,
    source: str,
    body: TriggerRequest | None = None,
    traceparent: Annotated[
        str | None, Header(max_length=100, description="A trace to go on from (W3C Trace Context).")
    ] = None,
) -> Triggered:
    """Workers that run begin it at once; it is done when a run of the trigger has ended."""
    asked = of_path(body or TriggerRequest(), source)
    asker = Asker(by=staff.actor, visibility_group=staff.visibility_group)
    with traces.span("trigger", parent=traceparent, source=source):
        ask = app.triggering.ask(asked, asker).ask
    triggered = Triggered.of(ask)
    app.audit.append(
        AuditLine(
            actor=staff.actor,
            action="source.trigger",
            visibility_group=staff.visibility_group,
            customer=ask.customer,
            detail=triggered.model_dump(),
        )
    )
    return triggered


def _plans(app: Application, staff: StaffContext) -> list[FeedPlan]:
    """Those of the group's apps: a source belongs to the groups of its apps."""
    plans = app.catalogue().plans.values()
    return [plan for plan in plans if plan.visibility_group == staff.visibility_group]


def _source_line(plans: Sequence[FeedPlan], status: Mapping[tuple[Any, Any], FeedStatus]) -> SourceLine:
    source = plans[0].source
    found = (status.get((source.id, plan.app_id)) for plan in plans)
    return SourceLine(
        id=source.id,
        model=source.model,
        schema_=plans[0].schema,
        primary=source.primary,
        feeds=tuple(_feed_line(feed) for feed in found if feed is not None),
    )


def _feed_line(feed: FeedStatus) -> FeedLine:
    return FeedLine(
        app=feed.app_id,
        class_=feed.feed_class,
        class_reason=feed.class_reason,
        polling=feed.polling,
        paused=feed.paused,
        paused_reason=feed.paused_reason,
        next_due=feed.next_due,
        checked_at=feed.checked_at,
        last_success_at=feed.last_success_at,
        last_error=feed.last_error,
        pending_batches=feed.pending_batches,
        rejected=feed.rejected,
    )


def _run_line(run: Run) -> RunLine:
    return RunLine(
        id=run.id,
        source=run.source_id,
        app=run.app_id,
        trigger=run.trigger,
        state=run.state,
        rows_read=run.rows_read,
        rows_journalled=run.rows_journalled,
        rows_merged=run.rows_merged,
        rejected=run.rejected,
        error=run.error,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def _run_place(after: str) -> tuple[datetime, str]:
    try:
        at, run_id = json.loads(place_of(after))
        started_at = datetime.fromisoformat(at)
        if started_at.tzinfo is not None and isinstance(run_id, str):
            return started_at, run_id
    except (ValueError, TypeError):
        pass
    raise RefusedError(Refusal.INVALID, "after: it is no cursor of the runs")
