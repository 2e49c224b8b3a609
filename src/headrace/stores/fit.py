"""Whether a model's tables still are what was applied: what is more is fine, what lacks is drift."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from headrace.domain.shape import ModelShape
from headrace.errors import DataSourceDriftedError
from headrace.stores.dialect import Connections, Session
from headrace.stores.migration import find_migration

LOOK_EVERY_S: Final = 60.0
"""How long a connection works by what it last found."""


class Fit:
    """Looks at the catalogue once a minute on each connection (of SQLite: when it changed, too), so that no
    merge or read pays for it. What a statement finds missing in between ends its connection: the next one
    looks afresh, and can say why."""

    def __init__(
        self,
        connections: Connections,
        data_source_id: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connections = connections
        self._data_source_id = data_source_id
        self._monotonic = monotonic

    def check(self, session: Session, model: ModelShape) -> None:
        """The model's tables have what was applied.

        Tables that were made for other definitions are none of its business: a merge waits for `apply` then.

        Raises:
            DataSourceDriftedError: a table, key or column is missing, or of another type.
        """
        mark = self._connections.catalogue_mark(session)
        now, what = self._monotonic(), f"{model.id} fits at {mark}"
        if now < session.known.get(what, float("-inf")) + LOOK_EVERY_S:
            return
        lacking = find_migration(self._connections, session, model).drift
        if lacking:
            raise DataSourceDriftedError(self._data_source_id, model.id, lacking)
        session.known[what] = now
