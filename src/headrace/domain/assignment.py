"""Which data sources somebody asks a customer to be bound to: decided whole, or refused.

A wrong explicit value is refused; it is never replaced by the default.
*Source:* facts of routing, "Assignment"; docs/multi-tenant.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.domain.refusal import Refusal
from headrace.domain.routing import State
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A data source by its id, its `provided_id`, or both, which then must be of the same one."""

    id: str | None = None
    provided_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for: any of the three forms, several, or none.

    Attributes:
        mapping: by schema.
    """

    data_source_id: str | None = None
    data_source_provided_id: str | None = None
    mapping: Mapping[str, Named] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A data source that the asker may name.

    Attributes:
        holders: the customers that are bound to it, or have records in it.
    """

    id: DataSourceId
    provided_id: str
    schema: str
    dedicated: bool = False
    state: State = State.ACTIVE
    holders: frozenset[str] = frozenset()


Bindings = Mapping[str, DataSourceId]
"""A data source by schema."""


def assigned(
    asked: Asked,
    candidates: Sequence[Candidate],
    *,
    customer: str | None = None,
    bound: Bindings | None = None,
) -> dict[str, DataSourceId]:
    """The bindings that are asked for; empty when nothing is, and the customer takes the defaults.

    Args:
        candidates: the data sources of the asker's visibility group, all of them.
        customer: who is among the holders already, if anybody.
        bound: its own bindings: what stays as it is may be draining.

    Raises:
        RefusedError: `not_found`, `data_source_unfit`, `data_source_conflict`, `data_source_dedicated`.
    """
    chosen: dict[str, Candidate] = {}
    single: set[DataSourceId] = set()
    for schema, named in _forms(asked):
        found = _find(named, candidates)
        if schema is None:
            single.add(found.id)
        elif found.schema != schema:
            detail = (
                f'data source "{named}" is of schema {found.schema}, not {schema}: name one of that schema'
            )
            raise RefusedError(Refusal.DATA_SOURCE_UNFIT, detail)
        if len(single) > 1 or chosen.setdefault(found.schema, found) != found:
            raise _conflict(found.schema)
    for found in chosen.values():
        _check_serves(found, customer=customer, already=(bound or {}).get(found.schema) == found.id)
    return {schema: found.id for schema, found in chosen.items()}


def refuse_other_mapping(asked: Bindings, bound: Bindings) -> None:
    """A customer that exists is what was asked for, or `customer_exists_with_different_mapping`.

    What was not asked for counts as agreed: only who names a data source is told that it is another.
    """
    other = sorted(schema for schema, id_ in asked.items() if bound.get(schema) != id_)
    if other:
        raise RefusedError(
            Refusal.CUSTOMER_EXISTS,
            f"the customer exists, and is bound otherwise in {', '.join(other)}: change it, or ask for it "
            "without naming data sources",
            schemas=other,
        )


def _forms(asked: Asked) -> Iterator[tuple[str | None, Named]]:
    if asked.data_source_id is not None:
        yield None, Named(id=asked.data_source_id)
    if asked.data_source_provided_id is not None:
        yield None, Named(provided_id=asked.data_source_provided_id)
    yield from sorted(asked.mapping.items(), key=lambda item: item[0])


def _find(named: Named, candidates: Sequence[Candidate]) -> Candidate:
    """What both names say. What is unknown and what is another group's is refused alike."""
    found = [
        next((c for c in candidates if getattr(c, name) == value), None)
        for name, value in (("id", named.id), ("provided_id", named.provided_id))
        if value is not None
    ]
    known = [candidate for candidate in found if candidate is not None]
    if len(known) < len(found) or not known:
        raise RefusedError(Refusal.NOT_FOUND, "there is no such data source")
    if any(candidate != known[0] for candidate in known):
        raise _conflict(known[0].schema)
    return known[0]


def _conflict(schema: str) -> RefusedError:
    return RefusedError(
        Refusal.DATA_SOURCE_CONFLICT,
        f"the request names two data sources (schema {schema}): name one, or the same in every form",
    )


def _check_serves(found: Candidate, *, customer: str | None, already: bool) -> None:
    if found.dedicated and found.holders - {customer}:
        raise RefusedError(
            Refusal.DATA_SOURCE_DEDICATED,
            f"data source {found.id} is dedicated and serves another customer: name another one",
        )
    if found.state is not State.ACTIVE and not already:
        raise RefusedError(
            Refusal.DATA_SOURCE_UNFIT, f"data source {found.id} is {found.state}: name one that is active"
        )
