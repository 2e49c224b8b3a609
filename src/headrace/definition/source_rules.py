"""Checks of one source by itself that need its app, or columns that its other properties type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headrace.definition.definitions import Definitions
from headrace.definition.filter_value import canonical_text, operator_fault
from headrace.definition.models import AppType
from headrace.definition.property import AnyOf, Clause, SecondaryProperty
from headrace.definition.source import (
    CustomerColumn,
    CustomerValue,
    SecondarySource,
    Source,
)
from headrace.definition.wording import shown
from headrace.domain.vocabulary import AppId, PropertyType, SourceId
from headrace.errors import Fault


def filter_faults(file: str, source: Source) -> Iterator[Fault]:
    """A fault for each filter whose operator or value does not suit the type of its column."""
    if not isinstance(source, SecondarySource):
        return
    for name, property_ in source.properties.items():
        for path, clause in _clauses(property_):
            wrong = _clause_fault(source, clause)
            if wrong:
                part, message = wrong
                yield Fault(file, f"properties.{name}.{path}.{part}", message)


def _clauses(property_: SecondaryProperty) -> Iterator[tuple[str, Clause]]:
    for index, item in enumerate(property_.filters):
        if isinstance(item, AnyOf):
            yield from ((f"filters[{index}].any[{i}]", clause) for i, clause in enumerate(item.any))
        else:
            yield f"filters[{index}]", item


def filter_type(source: SecondarySource, column: str) -> PropertyType:
    """The type that filters compare a column as: of the property that takes its values, else text."""
    return source.column_type(column) or PropertyType.STRING


def _clause_fault(source: SecondarySource, clause: Clause) -> tuple[str, str] | None:
    type_ = filter_type(source, clause.column)
    unfit = operator_fault(clause.op, type_)
    if unfit:
        return "op", unfit
    for value in clause.values:
        try:
            canonical_text(value, type_, source.schedule.time_zone)
        except ValueError as error:
            return (
                "value",
                f'{shown(value)} does not fit "{clause.column}", which is read as {type_}; {error}',
            )
    return None


def listen_faults(definitions: Definitions, source_id: SourceId) -> Iterator[Fault]:
    """A fault for a channel in a database that notifies nobody."""
    source = definitions.sources[source_id]
    if source.schedule.listen is None:
        return
    for app_id in source.app_ids:
        app = definitions.apps.get(app_id)
        if app is not None and app.type is not AppType.POSTGRES:
            message = f"app {app_id} is of type {app.type}, and only postgres notifies"
            mend = "remove it, and send a trigger instead"
            yield Fault(definitions.file("sources", source_id), "schedule.listen", f"{message}; {mend}")
            return


def customer_faults(definitions: Definitions, source_id: SourceId) -> Iterator[Fault]:
    """Faults of whose rows a source has: its apps' customers differ, and are of the apps' groups.

    Reads only definitions that are there; what is missing is another check's.
    """
    source = definitions.sources[source_id]
    file = definitions.file("sources", source_id)
    if source.apps is not None and source.customer is not None:
        part = "column" if isinstance(source.customer, CustomerColumn) else "value"
        message = "with apps the customer comes from each app; remove it, or read from one app"
        yield Fault(file, f"customer.{part}", message)
        return
    seen: dict[tuple[str, str], AppId] = {}
    for index, app_id in enumerate(source.app_ids):
        app = definitions.apps.get(app_id)
        customer = definitions.customer_of(source_id, app_id) if app else None
        if app is None or customer is None:
            continue
        if isinstance(source.customer, CustomerValue):
            yield from _group_fault(definitions, file, "customer.value", source.customer.value, app_id)
        other = seen.setdefault((app.visibility_group, customer), app_id)
        if other != app_id:
            message = f"apps {other} and {app_id} are both of customer {shown(customer)}"
            mend = "give each app a customer of its own"
            yield Fault(file, f"apps[{index}]", f"{message}; {mend}")


def app_customer_faults(definitions: Definitions) -> Iterator[Fault]:
    for app_id, app in sorted(definitions.apps.items()):
        if app.customer is not None:
            file = definitions.file("apps", app_id)
            yield from _group_fault(definitions, file, "customer", app.customer, app_id)


def _group_fault(
    definitions: Definitions, file: str, path: str, customer_id: str, app_id: AppId
) -> Iterator[Fault]:
    customer = definitions.customers.get(customer_id)
    app = definitions.apps[app_id]
    if customer is None or not customer.visibility_group or not app.visibility_group:
        return
    if customer.visibility_group != app.visibility_group:
        message = (
            f"customer {customer_id} is of visibility group {customer.visibility_group}, app {app_id} of"
        )
        yield Fault(file, path, f"{message} {app.visibility_group}; name a customer of that group")


def apps_type(apps: Mapping[str, Mapping[str, object]], body: Mapping[str, object]) -> AppType | None:
    """The type of a source's app, from bodies as written; None when not known."""
    named = body.get("app") or body.get("apps")
    first = named[0] if isinstance(named, list) and named else named
    type_ = apps.get(first, {}).get("type") if isinstance(first, str) else None
    return AppType(type_) if isinstance(type_, str) and type_ in set(AppType) else None
