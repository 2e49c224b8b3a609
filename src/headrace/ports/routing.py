"""Where customers' rows go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.domain.vocabulary import DataSourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Where customers' rows go, at one routing version.

    Attributes:
        version: what the journal's transaction checks.
        data_sources: the data source by customer (`provided_id`).
        refused: why a customer leads nowhere, by customer: such rows are held.
    """

    version: int
    data_sources: Mapping[str, DataSourceId]
    refused: Mapping[str, str]


class Routes(Protocol):
    def resolve(
        self, *, schema: str, visibility_group: str, customers: Iterable[str], create_unknown: bool
    ) -> Routing:
        """Resolve each `provided_id`; unknown ones are made first when `create_unknown`."""
        ...
