"""Data sources of the token's visibility group: tried, added, changed, drained, deleted; never their URL."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from headrace.control.audit import AuditLine, telling_refusals
from headrace.control.data_source_view import DataSourceView
from headrace.control.draining import drain as drain_data_source
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.ports.registering import ConnectionFacts, DataSourceChange, NewDataSource
from headrace.steps.registering import NOBODY
from headrace.web.auth import STAFF_PATH, Staff, StaffContext, StaffWriter
from headrace.web.context import App
from headrace.web.impact import ImpactAnswer
from headrace.web.listing import After, Limit, Listed
from headrace.web.moves import MoveAnswer
from headrace.web.problem import problems
from headrace.web.texts import Answer, Body, Id, IdPath, Namespace, Text, Url

router = APIRouter(prefix=STAFF_PATH, tags=["data sources"])

_TRYING = (Refusal.HOST_REFUSED, Refusal.CONNECTION_FAILED)
_ROUTING = (Refusal.CUSTOMER_HAS_RECORDS, Refusal.MOVE_UNDER_WAY)
_CHANGING = (Refusal.DATA_SOURCE_EXISTS, Refusal.OWNED_BY_CONFIG, *_ROUTING)


class TrialBody(Body):
    """A database that could be a data source of the schema."""

    schema_: Id = Field(alias="schema")
    type: Literal["postgres", "sqlite"]
    url: Annotated[Url, Field(description="With user and password. Shown to nobody any more.")]
    namespace: Annotated[Namespace, Field(description="The PostgreSQL schema; SQLite has none.")] = "headrace"

    def as_new(self, group: str) -> NewDataSource:
        return NewDataSource(
            nickname="",
            schema=self.schema_,
            visibility_groups=(group,),
            type=self.type,
            url=self.url,
            namespace=self.namespace,
        )


class DataSourceBody(TrialBody):
    """A data source to add, to the token's visibility group."""

    nickname: Text
    provided_id: Annotated[Text | None, Field(description="Your own id for it; else its id.")] = None
    read_url: Annotated[
        Url | None,
        Field(description="The same database for a role that only reads, which records are read with."),
    ] = None
    isolation: Annotated[
        Literal["shared", "dedicated"], Field(description="dedicated: it serves one customer alone.")
    ] = "shared"

    def as_new(self, group: str) -> NewDataSource:
        return NewDataSource(
            nickname=self.nickname,
            provided_id=self.provided_id,
            schema=self.schema_,
            visibility_groups=(group,),
            type=self.type,
            url=self.url,
            read_url=self.read_url,
            namespace=self.namespace,
            isolation=self.isolation,
        )


class DataSourcePatch(Body):
    """What is to change; what is left out stays."""

    nickname: Text | None = None
    provided_id: Text | None = None
    url: Annotated[
        Url | None,
        Field(description="Without a password, the known one is kept if server and user are the same."),
    ] = None

    read_url: Annotated[Url | None, Field(description="Of the role that only reads; likewise.")] = None

    def as_change(self) -> DataSourceChange:
        return DataSourceChange(
            nickname=self.nickname, provided_id=self.provided_id, url=self.url, read_url=self.read_url
        )


class DrainBody(Body):
    """Where its customers move, and what becomes the default in its place."""

    to: Annotated[Text | None, Field(description="A data source's id.")] = None


class DataSourceAnswer(Answer):
    """A data source, with those of its visibility groups and defaults that the token may see."""

    id: str
    provided_id: str
    nickname: str
    schema_: str = Field(alias="schema")
    visibility_groups: tuple[str, ...]
    default_for: tuple[str, ...]
    type: Literal["postgres", "sqlite"]
    namespace: str | None
    isolation: Literal["shared", "dedicated"]
    state: Literal["active", "draining", "disabled"]
    origin: Literal["config", "api"]
    config_version: int

    @classmethod
    def of(cls, view: DataSourceView) -> DataSourceAnswer:
        fields = {
            name: getattr(view, name)
            for name in (
                *("id", "provided_id", "nickname", "schema", "visibility_groups", "default_for", "type"),
                *("namespace", "isolation", "origin", "config_version"),
            )
        }
        return cls.model_validate({**fields, "state": view.state.value})


class TrialAnswer(Answer):
    """What was found. `foreign_tables`: tables in the namespace that are not Headrace's, and are let be."""

    server_version: str
    encrypted: bool | None
    namespace_exists: bool
    foreign_tables: tuple[str, ...]

    @classmethod
    def of(cls, facts: ConnectionFacts) -> TrialAnswer:
        return cls(
            server_version=facts.server_version,
            encrypted=facts.encrypted,
            namespace_exists=facts.namespace_exists,
            foreign_tables=facts.foreign_tables,
        )


class DrainAnswer(Answer):
    """`moves`: of the customers that were bound to it. `refused`: why others could not begin."""

    data_source: DataSourceAnswer
    moves: tuple[MoveAnswer, ...]
    refused: tuple[str, ...]


class DeletedAnswer(Answer):
    """`deleted`: the registration is gone, and nothing of what is stored. Else the data source was in use,
    and is disabled now."""

    deleted: bool
    data_source: DataSourceAnswer | None


@router.get("/data-sources", summary="List data sources")
def list_data_sources(
    app: App,
    staff: Staff,
    schema: Annotated[str | None, Query(max_length=40, description="Of this schema alone.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Listed[DataSourceAnswer]:
    page = app.data_sources.list(within=staff.visibility_group, schema=schema, limit=limit, after=after)
    return Listed(items=tuple(DataSourceAnswer.of(view) for view in page.items), next=page.next)


@router.post("/data-sources/test", summary="Try a database", responses=problems(*_TRYING, *_CHANGING))
def try_it(app: App, staff: StaffWriter, body: TrialBody) -> TrialAnswer:
    """It is connected to, and a table is made there and rolled back. Nothing is kept."""
    new = body.as_new(staff.visibility_group)
    with telling_refusals(app.audit, _line(staff, "data_source.try", schema=new.schema)):
        app.data_sources.check(new)
        return TrialAnswer.of(app.try_data_source(new, NOBODY))


@router.post(
    "/data-sources",
    summary="Add a data source",
    status_code=201,
    responses=problems(*_TRYING, Refusal.DATA_SOURCE_EXISTS),
)
def add(app: App, staff: StaffWriter, body: DataSourceBody) -> DataSourceAnswer:
    """It is tried as it is given, its tables are made, and it serves."""
    group = staff.visibility_group
    with telling_refusals(app.audit, _line(staff, "data_source.add", schema=body.schema_)):
        id_ = app.registering.add(body.as_new(group), actor=staff.actor, within=group)
    return DataSourceAnswer.of(app.data_sources.get(id_, within=group))


@router.get("/data-sources/{data_source}", summary="Get a data source")
def get(app: App, staff: Staff, data_source: IdPath) -> DataSourceAnswer:
    return DataSourceAnswer.of(app.data_sources.get(data_source, within=staff.visibility_group))


@router.patch(
    "/data-sources/{data_source}", summary="Change a data source", responses=problems(*_TRYING, *_CHANGING)
)
def update(app: App, staff: StaffWriter, data_source: IdPath, body: DataSourcePatch) -> DataSourceAnswer:
    """With another URL it is tried first. Where that is another database, all is read anew into it."""
    group, id_ = staff.visibility_group, DataSourceId(data_source)
    with telling_refusals(app.audit, _line(staff, "data_source.update", data_source_id=id_)):
        app.registering.update(id_, body.as_change(), actor=staff.actor, within=group)
    return DataSourceAnswer.of(app.data_sources.get(id_, within=group))


@router.delete(
    "/data-sources/{data_source}",
    summary="Delete a data source",
    responses=problems(Refusal.DATA_SOURCE_IN_USE, Refusal.OWNED_BY_CONFIG, *_ROUTING),
)
def delete(
    app: App,
    staff: StaffWriter,
    data_source: IdPath,
    force: Annotated[bool, Query(description="Disable it where it is in use.")] = False,
) -> DeletedAnswer:
    """Its registration alone: what is stored in it stays. What is in use is refused, with what holds it."""
    kept = app.data_sources.delete(data_source, actor=staff.actor, within=staff.visibility_group, force=force)
    return DeletedAnswer(
        deleted=kept is None, data_source=None if kept is None else DataSourceAnswer.of(kept)
    )


@router.post(
    "/data-sources/{data_source}/drain",
    summary="Empty a data source",
    responses=problems(
        Refusal.DATA_SOURCE_IN_USE,
        Refusal.DATA_SOURCE_UNFIT,
        Refusal.OWNED_BY_CONFIG,
        *_ROUTING,
    ),
)
def drain(app: App, staff: StaffWriter, data_source: IdPath, body: DrainBody | None = None) -> DrainAnswer:
    """It takes no more customers; with `to`, those bound to it move there."""
    to = None if body is None or body.to is None else DataSourceId(body.to)
    id_, group = DataSourceId(data_source), staff.visibility_group
    with telling_refusals(app.audit, _line(staff, "data_source.drain", data_source_id=id_)):
        drained = drain_data_source(app.data_sources, app.moves, id_, to=to, actor=staff.actor, within=group)
    return DrainAnswer(
        data_source=DataSourceAnswer.of(app.data_sources.get(id_, within=group)),
        moves=tuple(MoveAnswer.of(move) for move in drained.moves),
        refused=tuple(error.detail for error in drained.refused),
    )


@router.post(
    "/data-sources/{data_source}/activate",
    summary="Let a data source serve again",
    responses=problems(*_TRYING, *_CHANGING),
)
def activate(app: App, staff: StaffWriter, data_source: IdPath) -> DataSourceAnswer:
    """Its tables are made or changed as the models want them."""
    id_, group = DataSourceId(data_source), staff.visibility_group
    with telling_refusals(app.audit, _line(staff, "data_source.activate", data_source_id=id_)):
        app.registering.activate(id_, actor=staff.actor, within=group)
    app.fetch_held()
    return DataSourceAnswer.of(app.data_sources.get(id_, within=group))


@router.get("/data-sources/{data_source}/impact", summary="See who needs a data source")
def impact(app: App, staff: Staff, data_source: IdPath) -> ImpactAnswer:
    """Who would have no data source if it were disabled."""
    return ImpactAnswer.of(app.data_sources.foresee_disabled(data_source, within=staff.visibility_group))


def _line(
    staff: StaffContext, action: str, schema: str | None = None, data_source_id: str | None = None
) -> AuditLine:
    """Of what is refused before anything is written; what comes further writes its own line."""
    return AuditLine(
        actor=staff.actor,
        action=action,
        visibility_group=staff.visibility_group,
        schema=schema,
        data_source_id=data_source_id,
    )
