"""The config directory as it is on disk: one JSON object a file, by kind and id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headrace.definition.parsing import KINDS
from headrace.definition.values import ID_PATTERN
from headrace.definition.wording import kind_of, path_text, suggestion
from headrace.errors import Fault

Bodies = dict[str, dict[str, dict[str, Any]]]
"""Kind, id, and the file's object as it was written."""

_RIGHT_NAME: Final = (
    "name it <id>.json, where an id is a small letter, then up to 39 small letters, digits and _"
)


@dataclass(frozen=True, slots=True)
class Written:
    """What a directory holds.

    Attributes:
        directory: as a person would type it, `/` between its parts.
        broken: (kind, id) of files that hold no object: they exist, but nothing is known of them.
    """

    directory: str
    bodies: Bodies = field(default_factory=lambda: {kind: {} for kind in KINDS})
    broken: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    faults: list[Fault] = field(default_factory=list)

    def file(self, kind: str, id_: str) -> str:
        return f"{self.directory}/{kind}/{id_}.json"

    def ids(self, kind: str) -> set[str]:
        """Every id of a kind that has a file, good or broken."""
        return set(self.bodies[kind]) | self.broken[kind]


class _Duplicates(dict[str, Any]):
    """An object that remembers which of its keys were written twice."""

    twice: tuple[str, ...] = ()


def read(directory: Path) -> Written:
    """Everything in the directory, with a fault for each file or directory that does not belong."""
    written = Written(shown_path(directory))
    if not directory.is_dir():
        message = "there is no such directory; make one with `headrace init`, or name it with --config"
        written.faults.append(Fault(written.directory, "", message))
        return written
    for entry in _visible(directory):
        if entry.is_dir():
            _read_kind(entry, written)
        elif entry.suffix == ".json":
            where = f"{written.directory}/{entry.name}"
            message = "definitions live one level down; move it to <kind>/<id>.json"
            written.faults.append(Fault(where, "", f"{message}, where kind is one of {', '.join(KINDS)}"))
    return written


def shown_path(directory: Path) -> str:
    """Relative to the current directory when it is inside it, else as given."""
    if directory.is_absolute() and directory.is_relative_to(Path.cwd()):
        directory = directory.relative_to(Path.cwd())
    return directory.as_posix()


def _visible(directory: Path) -> list[Path]:
    return sorted(e for e in directory.iterdir() if not e.name.startswith("."))


def _read_kind(directory: Path, written: Written) -> None:
    kind = directory.name
    where = f"{written.directory}/{kind}"
    if kind not in KINDS:
        meant = suggestion(kind, KINDS, listed=False) or f"; kinds are {', '.join(KINDS)}"
        written.faults.append(Fault(where, "", f"unknown kind of definition{meant}"))
        return
    for entry in _visible(directory):
        if entry.suffix == ".md" and entry.is_file():
            continue
        if entry.suffix != ".json" or entry.is_dir() or not re.fullmatch(ID_PATTERN, entry.stem):
            written.faults.append(Fault(f"{where}/{entry.name}", "", f"is no definition; {_RIGHT_NAME}"))
            continue
        _read_file(entry, written)


def _read_file(path: Path, written: Written) -> None:
    kind, id_ = path.parent.name, path.stem
    file = written.file(kind, id_)
    try:
        body = _object(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        written.faults.append(Fault(file, "", _unreadable(error)))
        written.broken[kind].add(id_)
        return
    for location in _repeated(body):
        message = "is written twice; keep one"
        written.faults.append(Fault(file, path_text(location), message))
    written.bodies[kind][id_] = json.loads(json.dumps(body))  # plain dictionaries again


def _object(content: bytes) -> dict[str, Any]:
    if not content.strip():
        raise ValueError("is empty; write one JSON object, or remove the file")
    body = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_pairs, parse_constant=_refuse_constant)
    if not isinstance(body, dict):
        raise ValueError(f"must hold one JSON object, not {kind_of(body)}")
    return body


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    found = _Duplicates(pairs)
    found.twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"holds {name}, which is not JSON; write a number or a text")


def _unreadable(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        reason = error.msg[:1].lower() + error.msg[1:]
        return f"invalid JSON at line {error.lineno}, column {error.colno}: {reason}"
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text; save it as UTF-8"
    if isinstance(error, RecursionError):
        return "is nested too deeply; a definition needs a few levels only"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return str(error)


def _repeated(value: Any, location: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    if isinstance(value, _Duplicates):
        yield from ((*location, name) for name in value.twice)
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _repeated(item, (*location, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, (*location, index))
