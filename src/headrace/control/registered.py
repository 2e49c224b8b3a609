"""The bodies of data sources of the API, as they were a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace.control.remembered import Remembered
from headrace.domain.vocabulary import DataSourceId

_ALL: Final = "all"

Bodies = Mapping[DataSourceId, Mapping[str, Any]]


class RegisteredBodies:
    """All of them by id, at most a second old. Thread-safe."""

    def __init__(self, look_up: Callable[[], Bodies]) -> None:
        self._look_up = look_up
        self._kept: Remembered[str, Bodies] = Remembered()

    def all(self) -> Bodies:
        return self._kept.get(_ALL, self._look_up) or {}

    def get(self, data_source_id: DataSourceId) -> Mapping[str, Any] | None:
        """One of them; what is not known is looked up again, for another process may just have made it."""
        found = self.all().get(data_source_id)
        if found is None:
            self.forget()
            found = self.all().get(data_source_id)
        return found

    def forget(self) -> None:
        """They are looked up again: one has changed."""
        self._kept.forget()
