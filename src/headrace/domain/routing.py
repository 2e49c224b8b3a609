"""Where a customer's records live: own binding, nearest ancestor's, the default, or refused.

What the control database answers for many customers at once by SQL, this says for one, with its
trace (`route explain`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from headrace.domain.vocabulary import DataSourceId

MAX_ANCESTORS: Final = 3


class Via(StrEnum):
    """Which step of the resolution answered."""

    OWN = "own"
    PARENT = "parent"
    DEFAULT = "default"


class State(StrEnum):
    """Whether a data source serves."""

    ACTIVE = "active"
    DRAINING = "draining"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A data source as routing sees it."""

    schema: str
    visibility_groups: frozenset[str]
    state: State = State.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer as routing sees it; all but parent and group by schema.

    Attributes:
        parent: a customer's `provided_id`.
        bindings: its own data sources.
        moving: where it is being moved to from the one that it is bound to.
        epochs: of its own bindings: each change of one raises it.
        homes: the data source that rows of it were journalled to.
        id: what control calls it.
    """

    visibility_group: str
    parent: str | None = None
    bindings: Mapping[str, DataSourceId] = field(default_factory=dict)
    moving: Mapping[str, DataSourceId] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)
    homes: Mapping[str, DataSourceId] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """All that resolution looks at: customers by id, data sources by id, and the default data source
    by (visibility group, schema)."""

    customers: Mapping[str, Tenant]
    data_sources: Mapping[DataSourceId, Target]
    defaults: Mapping[tuple[str, str], DataSourceId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The answer of `resolve`.

    Attributes:
        data_source: None when refused.
        via: the step that answered, even if its answer was refused; None when no step did.
        refusal: why, for a person; empty when there is a data source.
        trace: each step that was asked and what it said, in order.
        moving_to: rows go there too: the customer is being moved, or the one whose binding it inherits.
        bound_by: the customer (`provided_id`) whose binding answered; None when the default did.
        epoch: of that binding; 0 of a default.
        names: the data source that the answer names, though it may be refused.
    """

    data_source: DataSourceId | None
    via: Via | None
    refusal: str
    trace: tuple[str, ...]
    moving_to: DataSourceId | None = None
    bound_by: str | None = None
    epoch: int = 0
    names: DataSourceId | None = None


def resolve(customer: str, schema: str, table: RoutingTable) -> Route:
    """The route of the customer's records of this schema.

    Invariant: the first step that names a data source decides; when that one is unfit the route is
    refused and never falls through to the next step (tests/properties/test_routing.py).
    """
    tenant = table.customers.get(customer)
    if tenant is None:
        return _refused(f"there is no customer {customer}", None, ())
    trace: list[str] = []
    for name, ancestor in _lineage(customer, table):
        if ancestor.visibility_group != tenant.visibility_group:
            trace.append(f"{name}: not of visibility group {tenant.visibility_group}, passes nothing on")
            break
        bound = ancestor.bindings.get(schema)
        trace.append(f"{name}: {'no binding' if bound is None else f'bound to {bound}'}")
        if bound is not None:
            via = Via.OWN if ancestor is tenant else Via.PARENT
            route = _checked(bound, via, tenant=tenant, schema=schema, table=table, trace=trace)
            if route.data_source is None:
                return route
            return replace(
                route,
                moving_to=ancestor.moving.get(schema),
                bound_by=name,
                epoch=ancestor.epochs.get(schema, 0),
            )
    where = f"default of ({tenant.visibility_group}, {schema})"
    default = table.defaults.get((tenant.visibility_group, schema))
    trace.append(f"{where}: {default or 'none'}")
    if default is None:
        return _refused(f"no binding and no {where}", None, trace)
    return _checked(default, Via.DEFAULT, tenant=tenant, schema=schema, table=table, trace=trace)


def _lineage(customer: str, table: RoutingTable) -> Iterator[tuple[str, Tenant]]:
    """The customer, then at most `MAX_ANCESTORS` ancestors, nearest first."""
    name: str | None = customer
    for _ in range(1 + MAX_ANCESTORS):
        tenant = table.customers.get(name) if name is not None else None
        if name is None or tenant is None:
            return
        yield name, tenant
        name = tenant.parent


def _checked(
    data_source: DataSourceId,
    via: Via,
    *,
    tenant: Tenant,
    schema: str,
    table: RoutingTable,
    trace: list[str],
) -> Route:
    refusal = _unfit(data_source, via, tenant=tenant, schema=schema, table=table)
    if refusal:
        trace.append(f"{data_source}: {refusal}")
        refused = _refused(f"data source {data_source} {refusal}", via, trace)
        return replace(refused, names=data_source)
    return Route(data_source=data_source, via=via, refusal="", trace=tuple(trace), names=data_source)


def _unfit(data_source: DataSourceId, via: Via, *, tenant: Tenant, schema: str, table: RoutingTable) -> str:
    """Why the data source may not have the customer's records; empty when it may.

    One that drains still serves what is bound to it until that has moved; it is no default any more.
    """
    target = table.data_sources.get(data_source)
    if target is None:
        return "does not exist"
    if target.schema != schema:
        return f"is of schema {target.schema}"
    if tenant.visibility_group not in target.visibility_groups:
        return f"is not of visibility group {tenant.visibility_group}"
    if target.state is State.DISABLED or (target.state is State.DRAINING and via is Via.DEFAULT):
        return f"is {target.state}"
    return ""


def _refused(refusal: str, via: Via | None, trace: Sequence[str]) -> Route:
    return Route(data_source=None, via=via, refusal=refusal, trace=tuple(trace))
