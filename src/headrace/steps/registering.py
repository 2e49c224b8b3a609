"""Data sources that are made while Headrace runs: tried, registered, their tables made, and only then in use.

A data source is disabled until its tables are there. A crash in between leaves it so: it is activated, or
deleted, by whoever made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from headrace.domain.refusal import Refusal
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import HeadraceError, RefusedError
from headrace.ports import Stores
from headrace.ports.registering import ConnectionFacts, DataSourceChange, NewDataSource, Registrations

NOBODY = DataSourceId("")
"""Whom a data source would be stamped for that has no id yet: no stamp is its own."""


class Trial(Protocol):
    """Tries a data source as it was given, and leaves nothing there.

    Errors: `RefusedError`: `connection_failed`, `host_not_allowed`.
    """

    def __call__(self, new: NewDataSource, data_source_id: DataSourceId) -> ConnectionFacts: ...


@dataclass(frozen=True, slots=True)
class RegisterStep:
    """
    Attributes:
        models_of: the models of a schema, as applied.
        changed: told of each change of a data source, before its store is opened.
    """

    registrations: Registrations
    stores: Stores
    models_of: Callable[[str], Sequence[ModelShape]]
    trial: Trial
    changed: Callable[[], None]

    def add(self, new: NewDataSource, *, actor: str, within: str | None) -> DataSourceId:
        """It is registered, its tables are there, and it serves.

        Raises:
            RefusedError: nothing of it is kept, unless its tables were begun: then it stays, disabled.
        """
        self.registrations.check(new)
        self.trial(new, NOBODY)
        data_source_id = self.registrations.register(new, actor=actor, within=within)
        self.changed()
        try:
            # Its stamp alone, in one transaction.
            self.stores.open(data_source_id).prepare([])
        except HeadraceError as error:
            self.registrations.forget(data_source_id, actor=actor, reason=type(error).__name__)
            self.changed()
            raise _unprepared(error) from error
        self.activate(data_source_id, actor=actor, within=within)
        return data_source_id

    def activate(self, data_source_id: DataSourceId, *, actor: str, within: str | None) -> None:
        """Its tables are as the applied models want them, and it serves."""
        self.prepare(data_source_id, self.registrations.schema_of(data_source_id, within=within))
        self.registrations.activate(data_source_id, actor=actor, within=within)

    def update(
        self, data_source_id: DataSourceId, change: DataSourceChange, *, actor: str, within: str | None
    ) -> Mapping[str, Any]:
        """It is as the change says; where it is another database now, its tables are there."""
        if change.url is None and change.read_url is None:
            return self.registrations.update(data_source_id, change, actor=actor, within=within)
        new = self.registrations.candidate(data_source_id, change, within=within)
        self.trial(new, data_source_id)
        change = replace(change, url=new.url, read_url=new.read_url)
        done = self.registrations.update(data_source_id, change, actor=actor, within=within)
        self.changed()
        self.prepare(data_source_id, new.schema)
        return done

    def prepare(self, data_source_id: DataSourceId, schema: str) -> None:
        """Raises RefusedError: `connection_failed`: its tables are not as the applied models want them."""
        try:
            self.stores.open(data_source_id).prepare(self.models_of(schema))
        except HeadraceError as error:
            raise _unprepared(error, data_source_id) from error


def _unprepared(error: HeadraceError, kept: DataSourceId | None = None) -> RefusedError:
    if isinstance(error, RefusedError):
        return error
    if kept is None:
        return RefusedError(Refusal.CONNECTION_FAILED, "its tables could not be made: nothing of it is kept")
    return RefusedError(
        Refusal.CONNECTION_FAILED,
        f"the tables of data source {kept} could not be made or changed: `headrace doctor` says why; "
        "activate it when that is mended",
        data_source_id=kept,
    )
