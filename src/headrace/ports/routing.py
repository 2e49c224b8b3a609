"""Where customers' rows go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from headrace.domain.vocabulary import DataSourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A customer of whom no row was journalled yet: with its first one, control notes where.

    Attributes:
        customer_id: control's own.
        pinned: it has no binding but the default's, which becomes its own: changing the default then cannot
            make its records vanish.
    """

    customer_id: str
    schema: str
    data_source_id: DataSourceId
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Where customers' rows go, at one routing version.

    Attributes:
        version: what the journal's transaction checks.
        data_sources: the data source by customer (`provided_id`).
        refused: why a customer leads nowhere, by customer: such rows are held.
        moving: the data source that a customer's rows go to as well, for it is being moved there.
        newcomers: those of the customers whose rows nobody has journalled yet.
    """

    version: int
    data_sources: Mapping[str, DataSourceId]
    refused: Mapping[str, str]
    moving: Mapping[str, DataSourceId] = field(default_factory=dict)
    newcomers: Mapping[str, Newcomer] = field(default_factory=dict)

    def leads_as(self, other: Routing) -> bool:
        """A page that was cut by the other is cut as by this one."""
        return replace(self, version=0, newcomers={}) == replace(other, version=0, newcomers={})


class Routes(Protocol):
    def resolve(
        self, *, schema: str, visibility_group: str, customers: Iterable[str], create_unknown: bool
    ) -> Routing:
        """Resolve each `provided_id`; unknown ones are made first when `create_unknown`."""
        ...
