"""All records of the demo at two moments, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from headrace.cli.record import find_records
from headrace.wiring import Application

_BOOKKEEPING: Final = frozenset({"_created_at", "_updated_at", "_customer_id"})
_ALL: Final = 1_000_000


class Place(NamedTuple):
    """Which record, and where it is."""

    model: str
    data_source: str
    key: int
    customer: str


Records = dict[Place, dict[str, Any]]
"""What each record says, without when that was written."""


def snapshot(app: Application) -> Records:
    """Every record of every model, in all data sources."""
    found: Records = {}
    for model in app.catalogue().models.values():
        for record in find_records(app, model, key=(), customer=None, limit=_ALL):
            place = Place(model.id, record.data_source, record.values[model.key[0].name], record.customer)
            found[place] = {name: v for name, v in record.values.items() if name not in _BOOKKEEPING}
    return found


@dataclass(slots=True)
class Change:
    """What records of one model in one data source have in common: what changed in them.

    Attributes:
        values: before and after, by property; empty when the records are gone.
    """

    model: str
    data_source: str
    values: dict[str, tuple[Any, Any]]
    places: list[Place] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def is_gone(self) -> bool:
        return not self.values


def changes(before: Records, after: Records) -> list[Change]:
    """Every difference, records that changed alike together; users first."""
    found: dict[tuple[str, str, tuple[Any, ...]], Change] = {}
    for place, old in sorted(before.items(), key=lambda item: (item[0].model != "users", item[0])):
        new = after.get(place)
        if new == old:
            continue
        values = {} if new is None else dict(_changed(old, new))
        change = found.setdefault(
            (place.model, place.data_source, tuple(values.items())),
            Change(place.model, place.data_source, values),
        )
        change.places.append(place)
        change.names.append((new or old)["name"])
    return list(found.values())


def touched(before: Records, after: Records) -> set[tuple[str, int]]:
    """Model and key of every record that is new, gone or different."""
    places = before.keys() | after.keys()
    return {(place.model, place.key) for place in places if before.get(place) != after.get(place)}


def _changed(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    return ((name, (value, new[name])) for name, value in old.items() if value != new[name])
