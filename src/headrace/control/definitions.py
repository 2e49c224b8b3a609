"""The applied definitions: published in one transaction, with what follows for feeds and routing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from headrace.control.dropping import lock_feeds
from headrace.control.engine import insert_or, reading, writing
from headrace.control.feed_definition import change_feeds, stamp_feeds
from headrace.control.new_id import new_uuid
from headrace.control.routing_config import change_routing
from headrace.control.tables import definition, definition_history, definition_version, workspace
from headrace.control.types import now
from headrace.ports import AppliedFeed, Residents

Bodies = Mapping[tuple[str, str], Any]
"""Definitions as they were written (JSON), by kind and id: `("data_sources", "main")`."""

# Built once, as in `append`.
_LAST = sa.select(definition_version).order_by(definition_version.c.version.desc()).limit(1)
_LAST_VERSION = sa.select(sa.func.max(definition_version.c.version))
_BODIES = sa.select(definition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was applied last. `compiled` is the text that `publish` was given."""

    version: int
    compiled: str
    bodies: Bodies


class SqlDefinitions:
    """Definitions in the control database (the port `Registry`).

    Args:
        new_id: makes ids of feeds, logs and customers; random, never used twice.
    """

    def __init__(self, engine: sa.Engine, *, new_id: Callable[[], str] = new_uuid) -> None:
        self._engine = engine
        self._new_id = new_id

    def version(self) -> int:
        """The version applied last; 0 before the first. Cheap: ask as often as you like."""
        with reading(self._engine) as connection:
            return _version(connection)

    def compiled(self) -> str | None:
        """The text that `publish` was given last, None before the first time."""
        with reading(self._engine) as connection:
            return _compiled(connection, _version(connection))

    def bodies(self) -> Bodies:
        """The definitions that `publish` was given last; empty before the first time."""
        with reading(self._engine) as connection:
            return _bodies(connection)

    def current(self) -> Applied | None:
        """None before the first `publish`."""
        with reading(self._engine) as connection:
            last = connection.execute(_LAST).one_or_none()
            if last is None:
                return None
            return Applied(version=last.version, compiled=last.compiled, bodies=_bodies(connection))

    def publish(
        self,
        bodies: Bodies,
        compiled: str,
        feeds: Sequence[AppliedFeed],
        *,
        residents: Residents = Residents.REFUSE,
    ) -> int:
        """Make these the applied definitions, in one transaction; the version they have now.

        The version is raised only if something changed. Feeds are made, changed and ended as
        `change_feeds` says; data sources, defaults, customers and bindings as `change_routing` does.

        Raises:
            ConfigurationError: routing would lead a customer away from its records; nothing is changed.
        """
        with writing(self._engine) as connection:
            # One publication at a time; what follows locks feeds before the routing version.
            connection.execute(sa.select(workspace.c.id).with_for_update())
            lock_feeds(connection)
            before, version = _bodies(connection), _version(connection)
            feeds_changed = change_feeds(connection, feeds, version=version + 1, new_id=self._new_id)
            changed = _changed(before, bodies)
            if not (feeds_changed or changed or compiled != _compiled(connection, version)):
                return version
            stamp_feeds(connection, version + 1)
            change_routing(connection, bodies, residents=residents, new_id=self._new_id)
            _write(connection, changed, version=version + 1)
            connection.execute(
                sa.insert(definition_version).values(version=version + 1, compiled=compiled, applied_at=now())
            )
            return version + 1


def _version(connection: sa.Connection) -> int:
    return connection.execute(_LAST_VERSION).scalar() or 0


def _compiled(connection: sa.Connection, version: int) -> str | None:
    of_version = sa.select(definition_version.c.compiled).where(definition_version.c.version == version)
    return connection.execute(of_version).scalar_one_or_none()


def _bodies(connection: sa.Connection) -> dict[tuple[str, str], Any]:
    return {(row.kind, row.id): row.body for row in connection.execute(_BODIES)}


def _changed(before: Bodies, after: Bodies) -> dict[tuple[str, str], Any]:
    """Definitions that are new, differ (by their JSON), or are gone (None)."""
    changed: dict[tuple[str, str], Any] = dict.fromkeys(before.keys() - after.keys())
    for key, body in after.items():
        plain = json.loads(json.dumps(body))
        if before.get(key) != plain:
            changed[key] = plain
    return changed


def _write(connection: sa.Connection, changed: Mapping[tuple[str, str], Any], *, version: int) -> None:
    for (kind, id_), body in sorted(changed.items()):
        row = {"kind": kind, "id": id_, "version": version, "body": body}
        connection.execute(sa.insert(definition_history).values(row))
        if body is None:
            gone = sa.and_(definition.c.kind == kind, definition.c.id == id_)
            connection.execute(sa.delete(definition).where(gone))
            continue
        insert = insert_or(connection, definition).values(row)
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[definition.c.kind, definition.c.id],
                set_={"body": insert.excluded.body, "version": insert.excluded.version},
            )
        )
