"""Data sources that are made while Headrace runs, by the API or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from headrace.domain.vocabulary import DataSourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDataSource:
    """A data source to be registered.

    Attributes:
        provided_id: None: its id.
        type: `postgres` or `sqlite`.
        url: with its password; shown to nobody any more.
        read_url: of the same database, for a role that only reads; None: the owner reads.
    """

    nickname: str
    provided_id: str | None = None
    schema: str
    visibility_groups: tuple[str, ...]
    type: str
    url: str = field(repr=False)
    read_url: str | None = field(default=None, repr=False)
    namespace: str = "headrace"
    isolation: Literal["shared", "dedicated"] = "shared"

    @property
    def body(self) -> dict[str, Any]:
        """What is kept of it in plain."""
        return {
            "nickname": self.nickname,
            "schema": self.schema,
            "type": self.type,
            "namespace": self.namespace,
            "isolation": self.isolation,
            "origin": "api",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSourceChange:
    """What is to change of a data source; None: it stays.

    Attributes:
        url, read_url: without a password, the one that is known is kept, if server and user are the same.
    """

    nickname: str | None = None
    provided_id: str | None = None
    visibility_groups: tuple[str, ...] | None = None
    url: str | None = field(default=None, repr=False)
    read_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFacts:
    """What a trial of a data source found.

    Attributes:
        server_version: as people write it: `15.4`.
        encrypted: the connection is TLS; None of a file.
        namespace_exists: else it can be made.
        stamped: its tables are this data source's already.
        foreign_tables: tables in the namespace that Headrace did not make, by name.
    """

    server_version: str
    encrypted: bool | None
    namespace_exists: bool
    stamped: bool
    foreign_tables: tuple[str, ...]


class Registrations(Protocol):
    """The registered data sources, in the control database. `within` is the only visibility group that the
    asker may see and change; None: all."""

    def check(self, new: NewDataSource) -> None:
        """Raises RefusedError where it could not be registered, whatever its database says."""
        ...

    def register(self, new: NewDataSource, *, actor: str, within: str | None) -> DataSourceId:
        """It is registered, and disabled."""
        ...

    def forget(self, data_source_id: DataSourceId, *, actor: str, reason: str) -> None:
        """What was registered and never used is not any more."""
        ...

    def activate(self, data_source_id: DataSourceId, *, actor: str, within: str | None) -> None:
        """It serves."""
        ...

    def schema_of(self, data_source_id: DataSourceId, *, within: str | None) -> str:
        """Raises RefusedError: `not_found`."""
        ...

    def candidate(
        self, data_source_id: DataSourceId, change: DataSourceChange, *, within: str | None
    ) -> NewDataSource:
        """What the data source would be with the change."""
        ...

    def update(
        self, data_source_id: DataSourceId, change: DataSourceChange, *, actor: str, within: str | None
    ) -> Mapping[str, Any]:
        """It is as the change says; what changed."""
        ...
