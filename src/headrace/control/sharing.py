"""No two data sources share a database and namespace, and none is an app's or the control database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

import sqlalchemy as sa

from headrace.control.access_tables import data_source_secret
from headrace.control.tables import data_source, definition
from headrace.control.vault import Vault
from headrace.definition.location import Location, location_of
from headrace.definition.secrets import resolve
from headrace.domain.refusal import Refusal
from headrace.errors import ConfigurationError, RefusedError
from headrace.ports.registering import NewDataSource


@dataclass(frozen=True, slots=True)
class Urls:
    """Those of a data source of the API: secrets."""

    url: str = field(repr=False)
    read_url: str | None = field(repr=False)

    def sealed(self, vault: Vault) -> bytes:
        return vault.seal(json.dumps([self.url, self.read_url]))

    @classmethod
    def opened(cls, sealed: bytes, vault: Vault, *, what: str) -> Urls:
        """Raises ConfigurationError when no key opens them."""
        return cls(*json.loads(vault.open(sealed, what=what)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where everything is that has a URL.

    Attributes:
        environ: resolves the secrets of the config directory.
        given: where a URL that was given to the API leads.
        control_url: of the control database.
    """

    vault: Vault
    environ: Mapping[str, str]
    given: Callable[[str], Location | None]
    control_url: str

    def refuse_shared(self, connection: sa.Connection, new: NewDataSource, *, itself: str | None) -> None:
        """Raises RefusedError when the place is taken.

        What cannot be told here, as two names of one host, the stamp in the database tells when its tables
        are prepared.

        Args:
            itself: the id of the data source that is there already.
        """
        location = self.given(new.url)
        if location is None:
            raise RefusedError(Refusal.INVALID, "url: it names no database")
        if new.read_url is not None and (location.scheme == "sqlite" or self.given(new.read_url) != location):
            raise RefusedError(Refusal.INVALID, "read_url: it must name the same PostgreSQL database as url")
        if location == location_of(self.control_url):
            raise RefusedError(
                Refusal.DATA_SOURCE_EXISTS, "url: Headrace keeps its own tables there: give another database"
            )
        if location.scheme == "sqlite" and location in self._apps(connection):
            raise RefusedError(Refusal.DATA_SOURCE_EXISTS, "url: an app reads from this file: give another")
        place = (location, _namespace(new.type, new.namespace))
        if any(taken == place for id_, taken in self._taken(connection) if id_ != itself):
            raise RefusedError(
                Refusal.DATA_SOURCE_EXISTS,
                "another data source has this database and namespace already: give another one",
            )

    def _taken(self, connection: sa.Connection) -> Iterator[tuple[str, tuple[Location | None, str]]]:
        rows = sa.select(data_source.c.id, data_source.c.origin, data_source.c.body).add_columns(
            data_source_secret.c.sealed_url
        )
        joined = rows.outerjoin_from(
            data_source, data_source_secret, data_source_secret.c.data_source_id == data_source.c.id
        )
        for row in connection.execute(joined):
            namespace = _namespace(row.body["type"], row.body.get("namespace", "headrace"))
            if row.origin == "config":
                yield row.id, (self._defined(row.body["url"]), namespace)
            elif row.sealed_url is not None:
                urls = Urls.opened(row.sealed_url, self.vault, what=f"the URL of data source {row.id}")
                yield row.id, (self._located(urls.url), namespace)

    def _apps(self, connection: sa.Connection) -> set[Location | None]:
        apps = sa.select(definition.c.body).where(definition.c.kind == "apps")
        return {self._defined(body["url"]) for body in connection.execute(apps).scalars()} - {None}

    def _located(self, url: str) -> Location | None:
        try:
            return self.given(url)
        except RefusedError:  # what may be connected to has changed since
            return location_of(url)

    def _defined(self, template: str) -> Location | None:
        try:
            return location_of(resolve(template, self.environ))
        except ConfigurationError:  # this process lacks its secret
            return None


def _namespace(type_: str, namespace: str) -> str:
    return "" if type_ == "sqlite" else namespace


def with_known_password(url: str, known: str | None) -> str:
    """The URL, with the password of the one that is known where it has none.

    Raises:
        RefusedError: it leads to another server, or as another user: a password is not sent anywhere that
            it was not given for.
    """
    new, old = urlsplit(url), urlsplit(known or "")
    if new.scheme == "sqlite" or new.password is not None or old.password is None:
        return url
    if (new.hostname, new.port, new.username) != (old.hostname, old.port, old.username):
        raise RefusedError(
            Refusal.INVALID, "url: it leads to another server or user: give the password again, as part of it"
        )
    credentials = f"{new.username or ''}:{quote(unquote(old.password), safe='')}"
    return new._replace(netloc=f"{credentials}@{new.netloc.rpartition('@')[2]}").geturl()
