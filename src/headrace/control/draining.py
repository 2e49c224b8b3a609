"""A data source is emptied: it takes nobody any more, and whoever is bound to it moves."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.control.data_sources import SqlDataSources
from headrace.control.moves import Move, SqlMoves
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Drained:
    """What came of it: the moves that began or were not needed, and why others could not begin."""

    moves: tuple[Move, ...]
    refused: tuple[RefusedError, ...]


def drain(
    data_sources: SqlDataSources,
    moves: SqlMoves,
    data_source_id: DataSourceId,
    *,
    to: DataSourceId | None,
    actor: str,
    within: str | None,
) -> Drained:
    """It is draining; with `to`, which becomes the default in its place, each customer bound to it is on its
    way there.

    Raises:
        RefusedError: as `SqlDataSources.drain`, or `to` is none that could have its customers.
    """
    if to is not None:
        _check(data_sources, data_source_id, to, within)
    bound = data_sources.drain(data_source_id, to=to, actor=actor, within=within)
    if to is None:
        return Drained((), ())
    schema = data_sources.schema_of(data_source_id, within=within)
    begun: list[Move] = []
    refused: list[RefusedError] = []
    for customer_id in bound:
        try:
            moves.refuse_owned_by_config(customer_id)
            begun.append(moves.start(customer_id, schema, to, actor=actor))
        except RefusedError as error:  # told: the others move all the same
            refused.append(error)
    return Drained(tuple(begun), tuple(refused))


def _check(
    data_sources: SqlDataSources, data_source_id: DataSourceId, to: DataSourceId, within: str | None
) -> None:
    old, new = (data_sources.get(id_, within=within) for id_ in (data_source_id, to))
    if new.id == old.id or new.schema != old.schema:
        raise RefusedError(
            Refusal.DATA_SOURCE_UNFIT, f"to: name another data source of schema {old.schema}, not {to}"
        )
