"""What is in the tables of a data source, for staff: as it is stored, a few rows at a time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from headrace import logs
from headrace.control.audit import AuditLine
from headrace.control.data_source_view import DataSourceView
from headrace.control.other_groups import serves_other_groups
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import ConfigurationError, RefusedError
from headrace.ports.records import Preview, PreviewRows, PreviewTable
from headrace.web.auth import STAFF_PATH, Staff, StaffContext
from headrace.web.context import App
from headrace.web.problem import problems
from headrace.web.texts import Answer, IdPath, Reference
from headrace.wiring import Application

log = logs.get(__name__)

router = APIRouter(
    prefix=STAFF_PATH, tags=["data sources"], responses=problems(Refusal.DATA_SOURCE_UNAVAILABLE)
)

MOST_ROWS = 100
_MOST_SIBLINGS = 1000
_NOBODY = ""
"""No customer's `provided_id`."""

Rows = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Rows to show, at most.")]
OfCustomer = Annotated[
    Reference | None,
    Query(
        alias="customer",
        description="The rows of this customer alone: its `id`, or `provided:<provided_id>`. Needed where "
        "the data source serves other visibility groups too.",
    ),
]
TableName = Annotated[str, Path(min_length=1, max_length=200)]


class ColumnAnswer(Answer):
    """A column, with its type as the database names it."""

    name: str
    type: str


class TableAnswer(Answer):
    """A table of the data source's namespace."""

    name: str
    columns: tuple[ColumnAnswer, ...]


class SiblingAnswer(Answer):
    """Another data source of the schema, which has the same tables."""

    id: str
    nickname: str


class TablesAnswer(Answer):
    """All tables; and where else the same ones are."""

    items: tuple[TableAnswer, ...]
    siblings: tuple[SiblingAnswer, ...]


class RowsAnswer(Answer):
    """The first rows, each value as a text or null, in the order of the columns. `truncated`: there are more;
    `cut`: some values are longer than is told."""

    table: str
    columns: tuple[ColumnAnswer, ...]
    rows: tuple[tuple[str | None, ...], ...]
    truncated: bool
    cut: bool
    siblings: tuple[SiblingAnswer, ...]


@router.get("/data-sources/{data_source}/tables", summary="List the tables of a data source")
def list_tables(app: App, staff: Staff, data_source: IdPath) -> TablesAnswer:
    view = app.data_sources.get(data_source, within=staff.visibility_group)
    try:
        tables = _preview(app, view).tables()
    except ConfigurationError as error:
        raise _unavailable(view, error) from error
    return TablesAnswer(items=tuple(map(_table, tables)), siblings=_siblings(app, staff, view))


@router.get("/data-sources/{data_source}/tables/{table}/rows", summary="Show rows of a table")
def show_rows(
    app: App,
    staff: Staff,
    data_source: IdPath,
    table: TableName,
    limit: Rows = 20,
    customer: OfCustomer = None,
) -> RowsAnswer:
    """By primary key. The same table of a sibling is at the same path of it."""
    view = app.data_sources.get(data_source, within=staff.visibility_group)
    line = AuditLine(
        actor=staff.actor,
        action="data_source.preview",
        visibility_group=staff.visibility_group,
        customer=customer,
        schema=view.schema,
        data_source_id=view.id,
        detail={"table": table},
    )
    try:
        found = _rows(app, staff, view, table, limit=limit, customer=customer)
    except RefusedError as error:
        app.audit.append(line.refused(error))
        raise
    app.audit.append(line)
    return RowsAnswer(
        table=found.table.name,
        columns=_table(found.table).columns,
        rows=found.rows,
        truncated=found.truncated,
        cut=found.cut,
        siblings=_siblings(app, staff, view),
    )


def _rows(
    app: Application,
    staff: StaffContext,
    view: DataSourceView,
    table: str,
    *,
    limit: int,
    customer: str | None,
) -> PreviewRows:
    """Raises RefusedError: `not_found`; `invalid_request` where rows of another group's would be shown."""
    named = None if customer is None else app.customers.get(staff.visibility_group, customer).provided_id
    if serves_other_groups(app.engine, view.id, staff.visibility_group):
        if named is None:
            raise RefusedError(
                Refusal.INVALID,
                "customer: the data source serves other visibility groups too: name a customer",
            )
        if not _resides(app, staff, view, named):
            named = _NOBODY  # a customer of another group may have the same provided_id, and records here
    try:
        found = _preview(app, view).rows(table, limit=limit, customer=named)
    except ConfigurationError as error:
        raise _unavailable(view, error) from error
    if found is None:
        raise RefusedError(Refusal.NOT_FOUND, "the data source has no such table")
    return found


def _resides(app: Application, staff: StaffContext, view: DataSourceView, customer: str) -> bool:
    try:
        route = app.route_cache.resolve(staff.visibility_group, customer, view.schema)
    except RefusedError:
        return False
    return route.resident and route.data_source == view.id


def _preview(app: Application, view: DataSourceView) -> Preview:
    return app.stores.open(DataSourceId(view.id)).preview()


def _unavailable(view: DataSourceView, error: ConfigurationError) -> RefusedError:
    log.error("data source cannot be looked at", data_source=view.id, error=str(error))
    return RefusedError(
        Refusal.DATA_SOURCE_UNAVAILABLE, "the data source cannot be looked at as it is: see the log"
    )


def _table(table: PreviewTable) -> TableAnswer:
    columns = tuple(ColumnAnswer(name=name, type=type_) for name, type_ in table.columns)
    return TableAnswer(name=table.name, columns=columns)


def _siblings(app: Application, staff: StaffContext, view: DataSourceView) -> tuple[SiblingAnswer, ...]:
    listed = app.data_sources.list(within=staff.visibility_group, schema=view.schema, limit=_MOST_SIBLINGS)
    return tuple(SiblingAnswer(id=one.id, nickname=one.nickname) for one in listed.items if one.id != view.id)
