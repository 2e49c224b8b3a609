"""What reading records asks of a connection, whatever its dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from headrace.stores.dialect import Dialect


class ReadingConnections(Protocol):
    """Runs single statements that only read. Errors come out translated."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def in_use(self) -> int:
        """Connections that read now."""
        ...

    def fetch(
        self, sql: str, values: Mapping[str, Any], *, customer: str, prepare: bool = False
    ) -> list[tuple[Any, ...]]:
        """The rows of one statement, in one snapshot, by a connection whose tables are this data source's.

        Args:
            customer: whose rows it reads: the database itself is told, where it has a role for reading.
            prepare: its text comes again and again.
        """
        ...

    def close(self) -> None: ...
