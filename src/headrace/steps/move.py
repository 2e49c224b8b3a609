"""End a move: the new data source has all of the customers' rows, and from then on is theirs.

Everything before is done by feeds and merges (`move_reading`); each part may be cut off at any time and done
again, by whoever comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headrace import logs
from headrace.domain.coercion import canonical_text
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import ConfigurationError, StoreUnavailableError
from headrace.ports import Definitions, Moves, MoveUnderWay, Nudge, Stores

log = logs.get(__name__)

PAGE_RECORDS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveStep:
    """Brings moves to their end.

    Attributes:
        restored: looks whether a data source has less of a model than control knows to be merged; then its
            logs have begun anew.
    """

    moves: Moves
    stores: Stores
    catalogue: Definitions
    nudge: Nudge
    restored: Callable[[DataSourceId, ModelId], bool]

    def advance(self, into: DataSourceId) -> int:
        """Every move into this data source that can end has ended; how many. One whose other data source is
        away waits, and keeps no other one from its end."""
        ended = 0
        for move in self.moves.under_way(into=into):
            if move.read:
                try:
                    ended += self._advance(move)
                except (StoreUnavailableError, ConfigurationError) as error:
                    log.warning("a move cannot end now", move=move.id, source=move.source, error=str(error))
        return ended

    def ask_feeds(self) -> int:
        """Feeds that have rows to read for a move are polled, and merges that may end one are nudged; gives
        how many moves are under way."""
        moves = self.moves.under_way()
        for move in moves:
            self.moves.ask_for(move.unread)
            for feed_id in move.unread:
                self.nudge.poll(feed_id)
            models = self._models(move.schema)
            if move.read and models:
                # Any model will do: whoever merges into the data source ends its moves.
                self.nudge.merge(move.target, models[0])
            elif move.read:
                self._advance(move)
        return len(moves)

    def _advance(self, move: MoveUnderWay) -> int:
        models = self._models(move.schema)
        if not move.dated:
            if not all(self._date(move, model) for model in models):
                return 0
            self.moves.note_dated(move.id)
        # What was merged may be gone: the data source was put back from a backup, or is another one now.
        if any(self.restored(move.target, model) for model in models):
            return 0
        dropped = self.moves.flip(move.id)
        for data_source_id, model in dropped:
            self.nudge.merge(data_source_id, model)
        if not dropped:
            return 0
        log.info("customers have moved", move=move.id, source=move.source, target=move.target)
        return 1

    def _models(self, schema: str) -> Sequence[ModelId]:
        return self.catalogue().models_of(schema)

    def _date(self, move: MoveUnderWay, model_id: ModelId) -> bool:
        """The customers' records of a model in the new data source were created when the old one says. False:
        another merge has the lock, and whoever holds it comes back."""
        model = self.catalogue().model(model_id)
        return all(self._date_records(move, model, customer) for customer in move.customers)

    def _date_records(self, move: MoveUnderWay, model: ModelShape, customer: str) -> bool:
        source, target = self.stores.open(move.source), self.stores.open(move.target)
        after: tuple[str, ...] | None = None
        while (
            created := source.created_page(model, customer=customer, after=after, limit=PAGE_RECORDS)
        ).num_rows:
            with target.merging(model) as transaction:
                if transaction is None:
                    return False
                transaction.set_created(created)
            after = _last_key(created, model)
        return True


def _last_key(created: pa.Table, model: ModelShape) -> tuple[str, ...]:
    last = created.slice(created.num_rows - 1)
    return tuple(str(canonical_text(last.column(c.name))[0].as_py()) for c in model.key)
