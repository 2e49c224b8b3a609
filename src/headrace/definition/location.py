"""Which database a URL leads to, so that two definitions cannot share one by accident."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

SCHEMES: Final = {"postgres": "postgresql", "sqlite": "sqlite", "mysql": "mysql", "files": "file"}
"""The URL scheme of each type of app and data source."""

_ALIASES: Final = {"mariadb": "mysql"}
"""Other names of a scheme."""
_DEFAULT_PORTS: Final = {"postgresql": 5432, "mysql": 3306}


@dataclass(frozen=True, slots=True)
class Location:
    """A database: for a file its absolute path, else host, port and database."""

    scheme: str
    place: str


def url_fault(type_: str, url: str) -> str | None:
    """Why a resolved URL does not suit a type, or None. Never tells the URL."""
    scheme = SCHEMES[type_]
    given, separator, _ = url.partition("://")
    if not separator or _ALIASES.get(given, given) != scheme:
        return f'must begin with "{scheme}://" for type {type_}'
    if scheme == "sqlite" and not _file_of(url):
        return 'must name a file, such as "sqlite:///shop.db" (or four slashes before an absolute path)'
    if scheme == "file" and not _directory_of(url):
        return 'must name a directory: "file:///directory", or "file://./directory" below the current one'
    try:
        urlsplit(url).port  # noqa: B018  reading it is what raises
    except ValueError:
        return "has a port that is no number from 0 to 65535"
    return None


def _file_of(url: str) -> str:
    """The path of `sqlite:///path`, without query; empty for a database in memory, or no path."""
    start = "sqlite:///"
    path = url.removeprefix(start).partition("?")[0] if url.startswith(start) else ""
    return "" if path == ":memory:" else path


def _directory_of(url: str) -> str:
    """The path of `file:///directory` or `file://./directory`; empty for another host, or no path."""
    host, _, path = url.removeprefix("file://").partition("/")
    return path if host in {"", "localhost", ".", ".."} else ""


def location_of(url: str) -> Location | None:
    """The database of a resolved URL; None for one that `url_fault` refuses, or of another scheme.

    Two names of one host, and two links to one directory, are not known to be the same.
    """
    scheme = url.partition("://")[0].partition("+")[0]
    scheme = _ALIASES.get(scheme, scheme)
    if scheme == "sqlite":
        path = _file_of(url)
        return Location(scheme, str(Path(unquote(path)).resolve())) if path else None
    if scheme not in _DEFAULT_PORTS:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS[scheme]
    except ValueError:
        return None
    host = "127.0.0.1" if parts.hostname in {None, "localhost", "::1"} else str(parts.hostname)
    return Location(scheme, f"{host}:{port}/{unquote(parts.path.strip('/'))}")
