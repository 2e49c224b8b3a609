"""Where apps and data sources are connected to: each with its secrets, found late and never shown."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace import logs
from headrace.control.sharing import Urls
from headrace.definition.location import Location, location_of
from headrace.definition.models import DataSource
from headrace.definition.secrets import resolve
from headrace.domain.vocabulary import AppId, DataSourceId
from headrace.ports import SourceReader
from headrace.ports.registering import ConnectionFacts, NewDataSource
from headrace.sources.connect import open_reader
from headrace.sources.shared_look import SharedLooks
from headrace.stores.allowed_host import AllowedHosts
from headrace.stores.connect import as_given, open_record_reader, open_store
from headrace.stores.pool import OpenReader, OpenStore

if TYPE_CHECKING:
    from headrace.sources.postgres_listen import Notification


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Opens what definitions and the API name.

    Attributes:
        workspace: the id of this installation: the stamp of its stores, the mark of its readers.
        urls_of: those of a data source that the API made. Where they lead is checked at each connect.
    """

    workspace: Callable[[], str]
    urls_of: Callable[[DataSourceId], Urls]
    allowed_hosts: AllowedHosts
    looks: SharedLooks = field(default_factory=SharedLooks)

    def app(self, app_id: AppId, url: str) -> SourceReader:
        """Args:
        url: as defined, with references to secrets.
        """
        return open_reader(app_id, _secret(url), nonce=self.workspace(), looks=self.looks)

    def notifications(
        self, app_id: AppId, url: str, channels: Collection[str]
    ) -> AsyncGenerator[Sequence[Notification], None]:
        """See `headrace.sources.postgres_listen.notifications`.

        Args:
            url: as defined, with references to secrets.
        """
        from headrace.sources.postgres_listen import notifications

        return notifications(app_id, _secret(url), channels)

    def store(self, data_source_id: DataSourceId, body: Mapping[str, Any]) -> OpenStore:
        """Args:
        body: as defined, or as registered by the API.
        """
        place = self._place(data_source_id, body)
        return open_store(
            data_source_id=data_source_id,
            url=place.url,
            namespace=place.namespace,
            workspace=self.workspace(),
            schema=place.schema,
            read_url=place.read_url,
            shared=place.shared,
            events=place.events,
            pinned=place.pinned,
        )

    def record_reader(self, data_source_id: DataSourceId, body: Mapping[str, Any]) -> OpenReader:
        """As `store`, for reads of records alone."""
        place = self._place(data_source_id, body)
        return open_record_reader(
            data_source_id=data_source_id,
            url=place.url,
            namespace=place.namespace,
            workspace=self.workspace(),
            schema=place.schema,
            read_url=place.read_url,
            pinned=place.pinned,
        )

    def trial(
        self, new: NewDataSource, data_source_id: DataSourceId, *, wanted: Collection[str]
    ) -> ConnectionFacts:
        """See `check_connection`."""
        from headrace.stores.connection_test import check_connection

        return check_connection(
            _kept_secret(new.url),
            namespace=new.namespace,
            identity=(self.workspace(), data_source_id, new.schema),
            pinned=self.allowed_hosts.pinned,
            wanted=wanted,
        )

    def _place(self, data_source_id: DataSourceId, body: Mapping[str, Any]) -> _Place:
        if body.get("origin") == "api":
            urls = self.urls_of(data_source_id)
            return _Place(
                url=_kept_secret(urls.url),
                read_url=None if urls.read_url is None else _kept_secret(urls.read_url),
                namespace=body["namespace"],
                schema=body["schema"],
                shared=body["isolation"] == "shared",
                events=False,
                pinned=self.allowed_hosts.pinned,
            )
        defined = DataSource.model_validate(dict(body))
        return _Place(
            url=_secret(defined.url.template),
            read_url=None if defined.read_url is None else _secret(defined.read_url.template),
            namespace=defined.namespace,
            schema=defined.schema_id,
            shared=defined.isolation == "shared",
            events=defined.events,
            pinned=as_given,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the tables of a data source are, and how they are read."""

    url: str = field(repr=False)
    read_url: str | None = field(repr=False)
    namespace: str
    schema: str
    shared: bool
    events: bool
    pinned: Callable[[str], str]


def given_location(allowed_hosts: AllowedHosts, url: str) -> Location | None:
    """Where a URL leads that the API was given: the paths of files are relative to the directory in which
    it may name some."""
    return location_of(allowed_hosts.pinned(url) if url.startswith("sqlite:") else url)


def _secret(url: str) -> str:
    """The URL with its secrets in place, which from now on no log line shows."""
    resolved = resolve(url, os.environ)
    if resolved != url:
        logs.keep_secret(resolved)
    return resolved


def _kept_secret(url: str) -> str:
    """The URL, of which from now on no log line shows the password, nor the whole."""
    logs.keep_secret(url, *(part for part in (urlsplit(url).password,) if part))
    return url
