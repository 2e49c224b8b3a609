"""Records of one customer, from wherever its route leads: again and again until it holds still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from headrace import logs
from headrace.domain.record_query import RecordQuery
from headrace.domain.refusal import Refusal
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import ConfigurationError, RefusedError, RouteMovedError
from headrace.ports.records import CustomerRoutes, RecordPage, RecordReader, RecordReaders, ResolvedRoute

log = logs.get(__name__)

T = TypeVar("T")

_DOES_NOT_SERVE: Final = "the customer's data source does not serve now"
_TRIES: Final = 5
"""Each meets a move that ended after its route was resolved."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Whose records of which model: `customer` is a `provided_id` within the visibility group."""

    visibility_group: str
    customer: str
    schema: str
    model: ModelShape


@dataclass(frozen=True, slots=True)
class RecordsStep:
    """The only way to a customer's records, for the customer and for staff alike.

    Errors: `RefusedError` when the route is refused, or the data source is not what it should be; it names no
    data source. `RetryableError` when a database cannot be reached.
    """

    routes: CustomerRoutes
    readers: RecordReaders
    is_drifted: Callable[[DataSourceId, ModelId], bool]
    """The model's tables lack a part there, or have it in another type: what they hold is not to be told."""

    def page(self, reading: Reading, query: RecordQuery) -> tuple[ResolvedRoute, RecordPage]:
        """A page of records, and where it was read."""
        return self._read(
            reading,
            lambda reader, at: reader.page(reading.model, query, customer=reading.customer, routed_at=at),
            nothing=RecordPage(items=()),
        )

    def one(
        self, reading: Reading, key: Sequence[str], fields: Sequence[str] | None = None
    ) -> tuple[ResolvedRoute, str | None]:
        """The record with this key, as JSON, or None; and where it was looked for."""
        return self._read(
            reading,
            lambda reader, at: reader.one(
                reading.model, key, fields, customer=reading.customer, routed_at=at
            ),
            nothing=None,
        )

    def route(self, reading: Reading) -> ResolvedRoute:
        """Where the records would be read."""
        return self.routes.resolve(reading.visibility_group, reading.customer, reading.schema)

    def _read(
        self, reading: Reading, read: Callable[[RecordReader, int], T], *, nothing: T
    ) -> tuple[ResolvedRoute, T]:
        left = RouteMovedError(0)
        for _ in range(_TRIES):
            route = self.route(reading)
            if not route.resident:
                # A data source may serve two visibility groups, and a customer of the other one have the same
                # `provided_id` and records there (tests/acceptance/isolation/test_01_namesakes.py).
                return route, nothing
            # A mark is made after its flip: whoever resolves afresh and is older than it asks a control
            # database that was put back from a backup, by which the records are here again.
            routed_at = max(route.version, left.epoch)
            if self.is_drifted(route.data_source, reading.model.id):
                raise RefusedError(Refusal.DATA_SOURCE_UNAVAILABLE, _DOES_NOT_SERVE)
            try:
                reader = self.readers.reader(route.data_source)
                return route, read(reader, routed_at)
            except RouteMovedError as error:
                left = error
                self.routes.invalidate()
            except ConfigurationError as error:
                log.error("data source cannot be read", data_source=route.data_source, error=str(error))
                raise RefusedError(Refusal.DATA_SOURCE_UNAVAILABLE, _DOES_NOT_SERVE) from error
        raise left
