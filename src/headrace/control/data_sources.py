"""Data sources: found, registered, changed, drained, removed; and the defaults of schemas.

`within` is the only visibility group that the asker may see; None, on the command line: all. What serves
other groups too is changed on the command line alone.

Order of locks: routing_version, then data_source.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.access_tables import data_source_secret
from headrace.control.applied_ids import groups_of, schemas_of
from headrace.control.assigning import holders_of
from headrace.control.audit import Act, AuditLine, acting
from headrace.control.data_source_view import (
    DataSourceView,
    Holders,
    data_source_views,
    find_data_source,
    groups_of_data_source,
    holders,
    in_group,
    write_groups,
)
from headrace.control.defaults import refuse_lost_defaults, write_default
from headrace.control.engine import reading, refusing_taken
from headrace.control.impact import Impact, foreseen
from headrace.control.other_groups import has_other_groups
from headrace.control.paging import Page, page_of, place_of
from headrace.control.routing_change import changing_routing
from headrace.control.sharing import Places, Urls, with_known_password
from headrace.control.tables import batch, data_source, default_data_source, feed_log
from headrace.definition.location import url_fault
from headrace.domain.refusal import Refusal
from headrace.domain.routing import State
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError
from headrace.ports.registering import DataSourceChange, NewDataSource

ID_PREFIX: Final = "api_"
_TAKEN: Final = "another data source has this provided_id: give another one"


def new_data_source_id() -> str:
    """An id that no file has: they would have to be guessed."""
    return ID_PREFIX + secrets.token_hex(10)


class SqlDataSources:
    """Data sources in the control database (the port `Registrations`). Each change leaves a line in the
    audit, each refusal too."""

    def __init__(
        self, engine: sa.Engine, places: Places, *, new_id: Callable[[], str] = new_data_source_id
    ) -> None:
        self._engine = engine
        self._places = places
        self._new_id = new_id

    # --- finding --------------------------------------------------------------------------------

    def get(self, id_: str, *, within: str | None = None) -> DataSourceView:
        """Raises RefusedError: `not_found`."""
        with reading(self._engine) as connection:
            return _view(connection, id_, within)

    def named(self, name: str, *, within: str | None = None) -> DataSourceView:
        """The data source with this id, else with this `provided_id`.

        Raises:
            RefusedError: `not_found`.
        """
        either = sa.or_(data_source.c.id == name, data_source.c.provided_id == name)
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(data_source).where(either, in_group(within))).all()
            found = data_source_views(connection, rows, within=within)
        if not found:
            raise RefusedError(Refusal.NOT_FOUND, "there is no such data source")
        return min(found, key=lambda view: view.id != name)

    def list(
        self, *, limit: int, within: str | None = None, schema: str | None = None, after: str | None = None
    ) -> Page[DataSourceView]:
        """Data sources in order of their ids."""
        rows = sa.select(data_source).where(in_group(within))
        if schema is not None:
            rows = rows.where(data_source.c.schema == schema)
        if after is not None:
            rows = rows.where(data_source.c.id > place_of(after))
        with reading(self._engine) as connection:
            found = connection.execute(rows.order_by(data_source.c.id).limit(limit + 1)).all()
            page = page_of(found, limit, lambda row: str(row.id))
            return Page(tuple(data_source_views(connection, page.items, within=within)), page.next)

    def schema_of(self, data_source_id: str, *, within: str | None) -> str:
        return self.get(data_source_id, within=within).schema

    def holders(self, id_: str, *, within: str | None = None) -> Holders:
        """What the data source is needed for."""
        with reading(self._engine) as connection:
            _view(connection, id_, within)
            return holders(connection, id_)

    # --- those of the API -------------------------------------------------------------------------

    def registered(self) -> dict[DataSourceId, Mapping[str, Any]]:
        """The bodies of all data sources that were not defined in the config directory, as stores are opened
        by; another `config_version` means another store."""
        rows = sa.select(data_source).where(data_source.c.origin == "api").order_by(data_source.c.id)
        with reading(self._engine) as connection:
            return {
                DataSourceId(row.id): {**row.body, "config_version": row.config_version}
                for row in connection.execute(rows)
            }

    def disabled(self) -> frozenset[DataSourceId]:
        """Those that serve nobody."""
        rows = sa.select(data_source.c.id).where(data_source.c.state == State.DISABLED.value)
        with reading(self._engine) as connection:
            return frozenset(DataSourceId(id_) for id_ in connection.execute(rows).scalars())

    def urls_of(self, data_source_id: str) -> Urls:
        """The URLs of one of the API: secrets.

        Raises:
            RefusedError: `not_found`.
            ConfigurationError: none of our keys opens it.
        """
        with reading(self._engine) as connection:
            return self._urls_of(connection, data_source_id)

    def _urls_of(self, connection: sa.Connection, id_: str) -> Urls:
        sealed = sa.select(data_source_secret.c.sealed_url).where(data_source_secret.c.data_source_id == id_)
        found = connection.execute(sealed).scalar_one_or_none()
        if found is None:
            raise RefusedError(Refusal.NOT_FOUND, "there is no such data source")
        return Urls.opened(found, self._places.vault, what=f"the URL of data source {id_}")

    # --- registering ------------------------------------------------------------------------------

    def check(self, new: NewDataSource) -> None:
        with reading(self._engine) as connection:
            self._check(connection, new, itself=None)

    def register(self, new: NewDataSource, *, actor: str, within: str | None) -> DataSourceId:
        sealed = Urls(new.url, new.read_url).sealed(self._places.vault)
        line = AuditLine(actor=actor, action="data_source.add", visibility_group=within, schema=new.schema)
        with acting(self._engine, line) as act:
            self._check(act.connection, new, itself=None)
            id_ = self._new_id()
            row = {
                "id": id_,
                "provided_id": new.provided_id or id_,
                "nickname": new.nickname,
                "schema": new.schema,
                "isolation": new.isolation,
                "state": State.DISABLED.value,
                "origin": "api",
                "body": new.body,
            }
            with refusing_taken(Refusal.DATA_SOURCE_EXISTS, _TAKEN):
                act.connection.execute(sa.insert(data_source).values(row))
            write_groups(act.connection, id_, new.visibility_groups)
            act.connection.execute(
                sa.insert(data_source_secret).values(data_source_id=id_, sealed_url=sealed)
            )
            act.note(data_source_id=id_, detail={"groups": sorted(new.visibility_groups)})
        return DataSourceId(id_)

    def forget(self, data_source_id: str, *, actor: str, reason: str) -> None:
        line = AuditLine(
            actor=actor, action="data_source.forget", data_source_id=data_source_id, detail={"reason": reason}
        )
        with acting(self._engine, line) as act:
            _remove(act.connection, data_source_id)

    def activate(self, data_source_id: str, *, actor: str, within: str | None) -> None:
        self._set_state(data_source_id, State.ACTIVE, actor=actor, within=within)

    def disable(self, data_source_id: str, *, actor: str, within: str | None) -> DataSourceView:
        """It serves nobody: whoever is led to it is refused, and their records stay."""
        self._set_state(data_source_id, State.DISABLED, actor=actor, within=within)
        return self.get(data_source_id, within=within)

    def _set_state(self, id_: str, state: State, *, actor: str, within: str | None) -> None:
        with self._changing(id_, f"data_source.{state}", actor=actor, within=within) as (act, _):
            _write_state(act.connection, id_, state)

    # --- changing -------------------------------------------------------------------------------

    def candidate(
        self, data_source_id: str, change: DataSourceChange, *, within: str | None
    ) -> NewDataSource:
        with reading(self._engine) as connection:
            row = find_data_source(connection, data_source_id, within=within)
            return self._candidate(connection, row, change)

    def _candidate(
        self, connection: sa.Connection, row: sa.Row[Any], change: DataSourceChange
    ) -> NewDataSource:
        """What it would be; refused for one of the config directory."""
        _refuse_config_owned(row)
        urls = self._urls_of(connection, row.id)
        url, read_url = urls.url, urls.read_url
        if change.url is not None:
            url = with_known_password(change.url, url)
        if change.read_url is not None:
            read_url = with_known_password(change.read_url, read_url)
        groups = change.visibility_groups
        return NewDataSource(
            nickname=change.nickname or row.nickname,
            provided_id=change.provided_id or row.provided_id,
            schema=row.schema,
            visibility_groups=tuple(sorted(groups_of_data_source(connection, row.id)))
            if groups is None
            else groups,
            type=row.body["type"],
            url=url,
            read_url=read_url,
            namespace=row.body.get("namespace", "headrace"),
            isolation=row.isolation,
        )

    def update(
        self, data_source_id: str, change: DataSourceChange, *, actor: str, within: str | None
    ) -> Mapping[str, Any]:
        whom = () if change.visibility_groups is None else None
        action = "data_source.update"
        with self._changing(data_source_id, action, actor=actor, within=within, whom=whom) as (act, row):
            changed = self._write(act.connection, row, change)
            act.note(detail={"changed": sorted(changed)})
            return changed

    def foresee(self, data_source_id: str, change: DataSourceChange, *, within: str | None) -> Impact:
        """Who would be led elsewhere by this change; nothing is changed."""
        return foreseen(
            self._engine,
            lambda connection: self._write(
                connection, find_data_source(connection, data_source_id, within=within), change
            ),
            group=within,
        )

    def foresee_disabled(self, data_source_id: str, *, within: str | None) -> Impact:
        """Who would have no data source if it served nobody; nothing is changed."""

        def disable(connection: sa.Connection) -> None:
            find_data_source(connection, data_source_id, within=within)
            _write_state(connection, data_source_id, State.DISABLED)

        return foreseen(self._engine, disable, group=within)

    def _write(self, connection: sa.Connection, row: sa.Row[Any], change: DataSourceChange) -> dict[str, Any]:
        new = self._candidate(connection, row, change)
        self._check(connection, new, itself=row.id)
        changed: dict[str, Any] = {
            name: getattr(new, name)
            for name in ("nickname", "provided_id")
            if getattr(new, name) != getattr(row, name)
        }
        values: dict[str, Any] = dict(changed)
        if changed:
            values["body"] = {**row.body, **{k: v for k, v in changed.items() if k in row.body}}
        if change.url is not None or change.read_url is not None:
            changed["url"] = True
            values["config_version"] = data_source.c.config_version + 1
            sealed = Urls(new.url, new.read_url).sealed(self._places.vault)
            secret = sa.update(data_source_secret).where(data_source_secret.c.data_source_id == row.id)
            connection.execute(secret.values(sealed_url=sealed))
        if values:
            with refusing_taken(Refusal.DATA_SOURCE_EXISTS, _TAKEN):
                connection.execute(sa.update(data_source).where(data_source.c.id == row.id).values(values))
        if set(new.visibility_groups) != groups_of_data_source(connection, row.id):
            changed["visibility_groups"] = sorted(new.visibility_groups)
            write_groups(connection, row.id, new.visibility_groups)
            refuse_lost_defaults(connection, row.id, new.visibility_groups)
        return changed

    # --- draining and removing ----------------------------------------------------------------------

    def drain(
        self, data_source_id: str, *, to: str | None, actor: str, within: str | None
    ) -> tuple[str, ...]:
        """It takes nobody any more, and is no default; gives control's ids of the customers that are bound to
        it, who are to be moved.

        Args:
            to: becomes the default where this one was it.

        Raises:
            RefusedError: `data_source_in_use`: it is a default, and `to` names no other.
        """
        with self._changing(data_source_id, "data_source.drain", actor=actor, within=within) as (act, row):
            connection = act.connection
            _write_state(connection, data_source_id, State.DRAINING)
            for group in holders(connection, data_source_id).default_for:
                if to is None:
                    raise RefusedError(
                        Refusal.DATA_SOURCE_IN_USE,
                        f"it is the default of {group}: name the data source that takes its place",
                        default_for=[group],
                    )
                write_default(connection, group, row.schema, to)
            act.note(detail={"to": to})
            return tuple(sorted(holders_of(connection, data_source_id)))

    def delete(
        self, data_source_id: str, *, actor: str, within: str | None, force: bool = False
    ) -> DataSourceView | None:
        """Its registration is gone, never what is stored in it.

        Args:
            force: where it is in use it is disabled instead, and given.

        Raises:
            RefusedError: `data_source_in_use`, with what holds it; `owned_by_config`.
        """
        with self._changing(data_source_id, "data_source.delete", actor=actor, within=within) as (act, row):
            connection = act.connection
            held = holders(connection, data_source_id)
            if force and (held or row.origin == "config"):
                _write_state(connection, data_source_id, State.DISABLED)
                act.note(action="data_source.disabled", detail=held.as_members())
                return _view(connection, data_source_id, within)
            _refuse_config_owned(row)
            if held:
                raise RefusedError(
                    Refusal.DATA_SOURCE_IN_USE,
                    f"it is in use ({held}): drain it, wait for the moves, and delete it then",
                    **held.as_members(),
                )
            _remove(connection, data_source_id)
        return None

    # --- defaults -------------------------------------------------------------------------------

    def set_default(self, group: str, schema: str, data_source_id: str | None, *, actor: str) -> None:
        """The default of (group, schema) is this one from now on, or there is none. Customers without records
        follow at once; those with records were pinned to the old one, and stay.

        Raises:
            RefusedError: `owned_by_config`, `not_found`, `data_source_unfit`, `customer_has_records`.
        """
        line = AuditLine(
            actor=actor,
            action="default.set",
            visibility_group=group,
            schema=schema,
            data_source_id=data_source_id,
        )
        with acting(self._engine, line) as act, changing_routing(act.connection):
            write_default(act.connection, group, schema, data_source_id)

    def foresee_default(self, group: str, schema: str, data_source_id: str | None) -> Impact:
        """Who would be led elsewhere; nothing is changed."""
        return foreseen(
            self._engine,
            lambda connection: write_default(connection, group, schema, data_source_id),
            group=group,
        )

    def defaults(self, group: str) -> dict[str, DataSourceId]:
        """The default of each schema that has one."""
        rows = sa.select(default_data_source).where(default_data_source.c.visibility_group == group)
        with reading(self._engine) as connection:
            return {row.schema: DataSourceId(row.data_source_id) for row in connection.execute(rows)}

    # --- what they share --------------------------------------------------------------------------

    @contextmanager
    def _changing(
        self,
        id_: str,
        action: str,
        *,
        actor: str,
        within: str | None,
        whom: Collection[str] | None = None,
    ) -> Iterator[tuple[Act, sa.Row[Any]]]:
        """As `acting` and `changing_routing`, on a data source that the asker may change."""
        line = AuditLine(actor=actor, action=action, visibility_group=within, data_source_id=id_)
        with acting(self._engine, line) as act, changing_routing(act.connection, whom=whom):
            row = find_data_source(act.connection, id_, within=within)
            groups = groups_of_data_source(act.connection, id_)
            act.note(schema=row.schema, visibility_group=within or _only(groups))
            if within is not None and has_other_groups(act.connection, id_, within):
                raise RefusedError(
                    Refusal.FORBIDDEN,
                    "it serves other visibility groups too, or has customers of theirs: change it on the "
                    "command line",
                )
            yield act, row

    def _check(self, connection: sa.Connection, new: NewDataSource, *, itself: str | None) -> None:
        if new.schema not in schemas_of(connection):
            raise RefusedError(Refusal.NOT_FOUND, f"there is no schema {new.schema}")
        unknown = sorted(set(new.visibility_groups) - set(groups_of(connection)))
        if unknown or not new.visibility_groups:
            raise RefusedError(
                Refusal.INVALID, f"visibility_groups: there is no {', '.join(unknown) or 'group in it'}"
            )
        for name, url in (("url", new.url), ("read_url", new.read_url)):
            if url is not None and (fault := url_fault(new.type, url)):
                raise RefusedError(Refusal.INVALID, f"{name}: {fault}")
        taken = sa.select(data_source.c.id).where(
            sa.or_(data_source.c.provided_id == new.provided_id, data_source.c.id == new.provided_id)
        )
        if new.provided_id is not None and set(connection.execute(taken).scalars()) - {itself}:
            raise RefusedError(Refusal.DATA_SOURCE_EXISTS, _TAKEN)
        self._places.refuse_shared(connection, new, itself=itself)


def _refuse_config_owned(row: sa.Row[Any]) -> None:
    if row.origin == "config":
        raise RefusedError(
            Refusal.OWNED_BY_CONFIG,
            f"the data source is defined in data_sources/{row.id}.json: change it there, and apply",
        )


def _only(groups: Collection[str]) -> str | None:
    """The one group, where there is only one: its tokens may read the line."""
    return next(iter(groups)) if len(groups) == 1 else None


def _write_state(connection: sa.Connection, id_: str, state: State) -> None:
    connection.execute(sa.update(data_source).where(data_source.c.id == id_).values(state=state.value))


def _remove(connection: sa.Connection, id_: str) -> None:
    """The registration and its logs are gone."""
    for table in (feed_log, batch):
        connection.execute(sa.delete(table).where(table.c.data_source_id == id_))
    connection.execute(sa.delete(data_source).where(data_source.c.id == id_))


def _view(connection: sa.Connection, id_: str, within: str | None) -> DataSourceView:
    query = sa.select(data_source).where(data_source.c.id == id_, in_group(within))
    rows = connection.execute(query).all()
    if not rows:
        raise RefusedError(Refusal.NOT_FOUND, "there is no such data source")
    return data_source_views(connection, rows, within=within)[0]
