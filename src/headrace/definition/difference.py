"""What an apply would change, definition by definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.definition.parsing import KINDS
from headrace.definition.wording import path_text

_Location = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One definition that is new, changed or no more.

    Attributes:
        paths: what changed inside, as faults write paths; empty unless `change` is changed.
    """

    kind: str
    id: str
    change: Literal["added", "changed", "removed"]
    paths: tuple[str, ...] = ()


def differences(
    old: Mapping[str, Mapping[str, Mapping[str, Any]]] | None,
    new: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> list[Difference]:
    """Differences between two sets of bodies (`Definitions.bodies`), by kind and id; values, which may
    hold secrets, are not told. `old` is None before the first apply."""
    found: list[Difference] = []
    for kind in KINDS:
        before, after = (old or {}).get(kind, {}), new.get(kind, {})
        for id_ in sorted({*before, *after}):
            if id_ not in before:
                found.append(Difference(kind, id_, "added"))
            elif id_ not in after:
                found.append(Difference(kind, id_, "removed"))
            elif paths := _changed_paths(before[id_], after[id_]):
                found.append(Difference(kind, id_, "changed", paths))
    return found


def _changed_paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(path_text(location) for location in _changed(old, new))


def _changed(old: Any, new: Any, location: _Location = ()) -> Iterator[_Location]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            if key not in old or key not in new:
                yield (*location, key)
            else:
                yield from _changed(old[key], new[key], (*location, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changed(before, after, (*location, index))
    elif type(old) is not type(new) or old != new:  # in Python, but not in JSON, 1 is True
        yield location
